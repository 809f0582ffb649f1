//! What must differ between beds on one machine: a block of ports and a loopback network for pods.
//! A slot is held by a locked file, so it is free again the moment its owner ends, however it ends.

use std::{
    fs::{File, OpenOptions},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

/// How many beds may run side by side.
const SLOTS: u16 = 128;
/// Ports of a slot.
const PORTS: u16 = 32;
/// First port of slot 0. All blocks end below 32768, where Linux starts to hand out ports to clients:
/// a part can then be stopped and started again on the port it had.
const FIRST_PORT: u16 = 24_000;
const _: () = assert!(FIRST_PORT + SLOTS * PORTS < 32_768);
/// Second number of the first slot's pod network, clear of what systems use near 127.0.0.1.
const FIRST_NET: u8 = 100;

/// No slot is free.
#[derive(Debug, thiserror::Error)]
#[error("all {SLOTS} places for a bed on this machine are taken (files {} are locked)", lock_path("N").display())]
pub struct NoSlot;

/// A claim on one block of ports and one pod network, held while this lives.
#[derive(Debug)]
pub struct Slot {
    index: u16,
    next: u16,
    _lock: File,
}

impl Slot {
    /// Takes the first slot that nobody holds and whose ports are all free.
    pub fn claim() -> Result<Self, NoSlot> {
        (0..SLOTS).find_map(Self::try_claim).ok_or(NoSlot)
    }

    fn try_claim(index: u16) -> Option<Self> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_path(index))
            .ok()?;
        lock.try_lock().ok()?;
        let slot = Self {
            index,
            next: 0,
            _lock: lock,
        };
        let free =
            (0..PORTS).all(|n| TcpListener::bind((Ipv4Addr::LOCALHOST, slot.first_port() + n)).is_ok());
        free.then_some(slot)
    }

    fn first_port(&self) -> u16 {
        FIRST_PORT + self.index * PORTS
    }

    /// The next port of this slot that was not handed out yet; a bed needs about half of what there is.
    ///
    /// # Errors
    /// When the slot's ports are used up.
    pub fn port(&mut self) -> Result<u16, NoSlot> {
        if self.next == PORTS {
            return Err(NoSlot);
        }
        self.next += 1;
        Ok(self.first_port() + self.next - 1)
    }

    /// The network address of the /24 that belongs to this bed's pods alone; `.1` to `.254` may be bound.
    #[must_use]
    pub fn pod_net(&self) -> Ipv4Addr {
        let [high, low] = self.index.to_be_bytes();
        Ipv4Addr::new(127, FIRST_NET + high, low, 0)
    }
}

fn lock_path(index: impl std::fmt::Display) -> PathBuf {
    std::env::temp_dir().join(format!("birdwatch-bed-slot-{index}.lock"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_beds_share_neither_a_port_nor_a_pod_address() {
        let (mut one, mut two) = (Slot::claim().unwrap(), Slot::claim().unwrap());
        assert_ne!(one.pod_net(), two.pod_net());
        let ports = |slot: &mut Slot| (0..PORTS).map(|_| slot.port().unwrap()).collect::<HashSet<_>>();
        let (a, b) = (ports(&mut one), ports(&mut two));
        assert_eq!(a.len(), usize::from(PORTS));
        assert!(a.is_disjoint(&b));
        assert!(one.port().is_err(), "a slot hands out its own ports only");
    }

    #[test]
    fn a_slot_with_a_port_in_use_is_passed_over() {
        let slot = Slot::claim().unwrap();
        let (index, port) = (slot.index, slot.first_port() + 3);
        drop(slot);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(Slot::try_claim(index).is_none());
    }
}
