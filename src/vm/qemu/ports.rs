//! Ports of this host that stand for a machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::vm::failure::TestFailure;

/// How often a machine is started when its ports are taken from under it.
const START_TRIES: u32 = 5;

/// Starts anew, with other ports, if somebody took one between its choice and QEMU's start.
pub(super) fn with_other_ports<T>(
    mut start: impl FnMut() -> Result<T, TestFailure>,
) -> Result<T, TestFailure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match start() {
            Err(TestFailure::Qemu { words, .. })
                if words.contains("host forwarding") && tries < START_TRIES => {}
            result => return result,
        }
    }
}

/// What holds a port of 127.0.0.1.
pub(super) trait Hold: Sized {
    fn hold(port: u16) -> io::Result<Self>;
    fn port(&self) -> io::Result<u16>;
}

impl Hold for TcpListener {
    fn hold(port: u16) -> io::Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, port))
    }
    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }
}

impl Hold for UdpSocket {
    fn hold(port: u16) -> io::Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, port))
    }
    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }
}

/// A free port of 127.0.0.1 for each port of the guest: the one wished for, if it is free.
pub(super) fn free_ports<H: Hold>(
    guest: &BTreeSet<u16>,
    wished: &BTreeMap<u16, u16>,
) -> io::Result<BTreeMap<u16, u16>> {
    let hold = |&port: &u16| {
        let wish = wished.get(&port).and_then(|wish| H::hold(*wish).ok());
        Ok((port, wish.map_or_else(|| H::hold(0), Ok)?))
    };
    // All are held until the last is chosen, so that none is chosen twice.
    let held: Vec<(u16, H)> = guest.iter().map(hold).collect::<io::Result<_>>()?;
    held.iter().map(|(port, held)| Ok((*port, held.port()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_taken_meanwhile_is_tried_again_but_not_for_ever() {
        let taken = || TestFailure::Qemu {
            what: "ended with exit status: 1".to_owned(),
            words: "Could not set up host forwarding rule 'tcp:127.0.0.1:40001-:443'".to_owned(),
        };
        let mut tries = 0;
        let mut start = |free_at| {
            tries += 1;
            if tries < free_at { Err(taken()) } else { Ok(tries) }
        };
        assert_eq!(with_other_ports(|| start(2)).expect("starts"), 2);
        assert!(with_other_ports(|| start(100)).is_err());
        let mut tries = 0;
        let other = with_other_ports(|| {
            tries += 1;
            Err::<(), _>(TestFailure::Interrupted(crate::interrupt::Interrupted))
        });
        assert!(other.is_err() && tries == 1);
    }

    #[test]
    fn each_port_gets_its_own() {
        let guest = BTreeSet::from([443, 80, 2222]);
        let ports = free_ports::<TcpListener>(&guest, &BTreeMap::new()).expect("ports");
        assert_eq!(ports.keys().copied().collect::<Vec<_>>(), [80, 443, 2222]);
        let hosts: BTreeSet<_> = ports.values().collect();
        assert_eq!(hosts.len(), 3);
    }

    #[test]
    fn a_port_wished_for_is_taken_if_it_is_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let taken_port = taken.local_addr().expect("address").port();
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let free_port = free.local_addr().expect("address").port();
        drop(free);
        let wished = BTreeMap::from([(443, taken_port)]);
        let ports = free_ports::<TcpListener>(&BTreeSet::from([443]), &wished).expect("ports");
        assert!(ports[&443] != taken_port && ports[&443] != 0);
        let wished = BTreeMap::from([(3478, free_port)]);
        let ports = free_ports::<UdpSocket>(&BTreeSet::from([3478]), &wished).expect("ports");
        assert_eq!(ports[&3478], free_port);
    }
}
