//! Which Slack channel a `BirdWatch` may choose. A name is the same with and without its `#`.

/// Allows every channel.
const ANY: &str = "*";

/// The administrator's word on channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    default: String,
    allowed: Vec<String>,
}

impl Channels {
    /// The default channel, which is always allowed, and further ones; `*` among them allows any.
    #[must_use]
    pub fn new(default: &str, allowed: &[String]) -> Self {
        Self {
            default: default.to_owned(),
            allowed: allowed.to_vec(),
        }
    }

    /// Where to post what `asked` wants to have: the default where nothing is asked, or nothing that is allowed.
    #[must_use]
    pub fn choose<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        asked.filter(|asked| self.allows(asked)).unwrap_or(&self.default)
    }

    /// What to tell somebody who asks for a channel that is not allowed.
    #[must_use]
    pub fn warning(&self, asked: &str) -> Option<String> {
        let text = || {
            format!(
                "notify.channel: \"{asked}\" is not allowed, notices go to \"{}\"; the administrator allows it with \
                 slackAllowedChannels",
                self.default
            )
        };
        (!self.allows(asked)).then(text)
    }

    fn allows(&self, asked: &str) -> bool {
        let is = |channel: &str| plain(channel) == plain(asked);
        is(&self.default) || self.allowed.iter().any(|channel| channel == ANY || is(channel))
    }
}

fn plain(channel: &str) -> &str {
    channel.strip_prefix('#').unwrap_or(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(allowed: &[&str]) -> Channels {
        let allowed: Vec<_> = allowed.iter().map(|&channel| channel.to_owned()).collect();
        Channels::new("deployment", &allowed)
    }

    #[test]
    fn a_channel_is_chosen_where_it_is_allowed_and_the_default_elsewhere() {
        for (allowed, asked, chosen) in [
            (&[][..], None, "deployment"),
            (&[], Some("ops"), "deployment"),
            (&[], Some("#deployment"), "#deployment"),
            (&["ops"], Some("ops"), "ops"),
            (&["ops"], Some("#ops"), "#ops"),
            (&["#ops"], Some("ops"), "ops"),
            (&["ops"], Some("ops2"), "deployment"),
            (&["ops", "*"], Some("#other"), "#other"),
            (&["*"], None, "deployment"),
        ] {
            let warned = asked.is_some_and(|asked| channels(allowed).warning(asked).is_some());
            assert_eq!(channels(allowed).choose(asked), chosen, "{allowed:?} {asked:?}");
            assert_eq!(
                warned,
                asked.is_some_and(|asked| asked != chosen),
                "{allowed:?} {asked:?}"
            );
        }
    }
}
