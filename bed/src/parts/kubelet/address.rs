//! Addresses for pods: who has which of the bed's block on loopback. No I/O.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A /24 whose addresses the kubelet may give to pods.
#[derive(Debug)]
pub(super) struct Addresses {
    net: Ipv4Addr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u8,
    taken: BTreeSet<u8>,
}

/// An address in use by one pod; free again when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    last: u8,
    owner: Arc<Addresses>,
}

const FIRST: u8 = 1;
const LAST: u8 = 254;

impl Addresses {
    /// The block of this network address; its last number is not used.
    pub(super) fn new(net: Ipv4Addr) -> Arc<Self> {
        Arc::new(Self {
            net,
            state: Mutex::new(State {
                next: FIRST,
                taken: BTreeSet::new(),
            }),
        })
    }

    /// The next free address. One just given back comes last, so that nobody mistakes a new pod for an old one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state();
        let last = (state.next..=LAST)
            .chain(FIRST..state.next)
            .find(|last| !state.taken.contains(last))?;
        state.taken.insert(last);
        state.next = if last == LAST { FIRST } else { last + 1 };
        Some(Lease {
            last,
            owner: Arc::clone(self),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The address.
    pub(super) fn ip(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.owner.net.octets();
        Ipv4Addr::new(a, b, c, self.last)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.owner.state().taken.remove(&self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_gets_an_address_of_its_own_until_none_is_left() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 7, 9, 0));
        let leases: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        let ips: BTreeSet<_> = leases.iter().map(Lease::ip).collect();
        assert_eq!(ips.len(), 254);
        assert_eq!(ips.first(), Some(&Ipv4Addr::new(127, 7, 9, 1)));
        assert_eq!(ips.last(), Some(&Ipv4Addr::new(127, 7, 9, 254)));
        drop(leases);
        assert!(addresses.take().is_some());
    }

    #[test]
    fn an_address_given_back_is_used_again_only_when_its_turn_comes() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 7, 9, 0));
        let first = addresses.take().unwrap().ip();
        let others: Vec<_> = (0..253).map(|_| addresses.take().unwrap()).collect();
        assert!(others.iter().all(|lease| lease.ip() != first));
        assert_eq!(addresses.take().unwrap().ip(), first);
    }
}
