//! The shards that namespaces are split into, each with a Lease of its own. Pure: no I/O, no clock.

/// How many shards there are, 1 to [`Shards::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shards(u16);

/// One of them, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shards {
    /// One for everything.
    pub const ONE: Self = Self(1);

    /// The most: each costs a watch and a renewal every third of the lease's duration.
    pub const MOST: u16 = 64;

    /// So many; none where there cannot be so many.
    #[must_use]
    pub const fn new(count: u16) -> Option<Self> {
        match count {
            1..=Self::MOST => Some(Self(count)),
            _ => None,
        }
    }

    /// All of them, in their order.
    pub fn all(self) -> impl Iterator<Item = Shard> {
        (0..self.0).map(Shard)
    }

    /// The shard of a namespace. A `BirdWatch`, its objects and all who may claim these are in one namespace, so none of
    /// them is ever of two shards.
    #[must_use]
    pub fn of(self, namespace: &str) -> Shard {
        // FNV-1a, 64 bits (RFC 9923): every replica must find the same, whatever its version.
        let hash = namespace.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Shard(u16::try_from(hash % u64::from(self.0)).unwrap_or_default())
    }

    /// Name of a shard's Lease in the installation `base`: `birdwatch`, or `birdwatch-2-of-8`.
    #[must_use]
    pub fn lease_name(self, base: &str, shard: Shard) -> String {
        if self == Self::ONE {
            base.to_owned()
        } else {
            format!("{base}-{}-of-{}", shard.0, self.0)
        }
    }

    /// Whose Lease this is the name of in the installation `base`, if it is one.
    #[must_use]
    pub fn named(base: &str, name: &str) -> Option<(Self, Shard)> {
        let rest = name.strip_prefix(base)?;
        if rest.is_empty() {
            return Some((Self::ONE, Shard(0)));
        }
        let (shard, count) = rest.strip_prefix('-')?.split_once("-of-")?;
        let (shard, count) = (shard.parse().ok()?, Self::new(count.parse().ok()?)?);
        (count != Self::ONE && shard < count.0).then_some((count, Shard(shard)))
    }

    /// Whether this is the name of a Lease of the same installation, split into another number of shards.
    #[must_use]
    pub fn is_of_other_split(self, base: &str, name: &str) -> bool {
        Self::named(base, name).is_some_and(|(count, _)| count != self)
    }

    /// Whether a namespace can be of this shard here and of that one there.
    #[must_use]
    pub fn may_share(self, shard: Shard, (others, other): (Self, Shard)) -> bool {
        // Both are what is left of one hash: they agree on what is left of it by every common divisor.
        let (mut common, mut rest) = (self.0, others.0);
        while rest != 0 {
            (common, rest) = (rest, common % rest);
        }
        shard.0 % common == other.0 % common
    }
}

impl Shard {
    /// Its place among all, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_hash_is_the_published_one_and_stays_so() {
        // From the test vectors of RFC 9923: "" and "foobar".
        let of_all = |namespace: &str, count: u16| Shards(count).of(namespace).0;
        assert_eq!(u64::from(of_all("", 64)), 0xcbf2_9ce4_8422_2325 % 64);
        assert_eq!(u64::from(of_all("foobar", 61)), 0x8594_4171_f739_67e8 % 61);
    }

    #[test]
    fn namespaces_are_spread_over_all_shards() {
        let shards = Shards::new(6).unwrap();
        let mut counts = [0_usize; 6];
        for number in 0..6000 {
            counts[shards.of(&format!("team-{number}")).index()] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn which_shards_of_two_splits_may_share_a_namespace() {
        for (ours, theirs) in [(1, 6), (6, 1), (6, 3), (6, 4), (6, 6), (5, 7), (64, 48)] {
            let (ours, theirs) = (Shards(ours), Shards(theirs));
            let names: Vec<_> = (0..20_000).map(|number| format!("team-{number}")).collect();
            let together: HashSet<_> = names
                .iter()
                .map(|name| (ours.of(name), theirs.of(name)))
                .collect();
            for (one, other) in ours
                .all()
                .flat_map(|one| theirs.all().map(move |other| (one, other)))
            {
                let may = ours.may_share(one, (theirs, other));
                assert_eq!(
                    may,
                    together.contains(&(one, other)),
                    "{one:?} of {ours:?}, {other:?} of {theirs:?}"
                );
            }
        }
    }

    #[test]
    fn there_are_1_to_64() {
        for (count, can_be) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!(Shards::new(count).is_some(), can_be, "{count}");
        }
    }

    #[test]
    fn each_shard_has_a_lease_and_others_are_told_from_it() {
        let (one, three) = (Shards::ONE, Shards::new(3).unwrap());
        let names = |shards: Shards| {
            shards
                .all()
                .map(|shard| shards.lease_name("bird", shard))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(one), ["bird"]);
        assert_eq!(names(three), ["bird-0-of-3", "bird-1-of-3", "bird-2-of-3"]);
        // name, of another split than one, than three
        let cases = [
            ("bird", false, true),
            ("bird-0-of-3", true, false),
            ("bird-1-of-2", true, true),
            ("bird-2-of-2", false, false),
            ("bird-0-of-1", false, false),
            ("bird-0-of-65", false, false),
            ("bird-of-2", false, false),
            ("birds", false, false),
            ("other", false, false),
        ];
        for (name, than_one, than_three) in cases {
            let found = (
                one.is_of_other_split("bird", name),
                three.is_of_other_split("bird", name),
            );
            assert_eq!(found, (than_one, than_three), "{name}");
        }
    }
}
