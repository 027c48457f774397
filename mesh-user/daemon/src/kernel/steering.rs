//! The socket programs of one device: they choose the TUN queue of a packet and the socket of a message.
//!
//! `mesh_common::spread` has the rules. The programs and their maps live as long as the TUN device and the sockets that
//! they are attached to; nothing is pinned, and a restarted daemon attaches its own in their place.

use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{
        Array, MapData, ReusePortSockArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{SkReuseport, SocketFilter},
};
use ipnet::IpNet;
use mesh_common::spread::{FLOW_SLOTS, MAX_QUEUES, name};

use super::{
    bpf::{ALL_MAPS, OBJECT, loader},
    tun::Tun,
    udp::{Family, UdpSockets},
};

/// Chooses queues and sockets for one device, from [`Steering::load`] until the device is gone.
pub struct Steering {
    ebpf: Ebpf,
    queues: Array<MapData, u32>,
    owners: LpmTrie<MapData, [u8; 16], u32>,
    sockets: ReusePortSockArray<MapData>,
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").finish_non_exhaustive()
    }
}

impl Steering {
    /// Loads the programs; all flows are in queue 0, and no destination has an owner.
    pub fn load() -> Result<Steering> {
        let mut loader = loader(false);
        // The maps of the other programs are made too, and go at once: as small as may be.
        for map in ALL_MAPS {
            loader.map_max_entries(map, 1);
        }
        let mut ebpf = loader.load(OBJECT).context("load the socket programs: CAP_BPF is needed")?;
        let queues = Array::try_from(ebpf.take_map(name::QUEUES).context("the object has no queues")?)?;
        let owners = LpmTrie::try_from(ebpf.take_map(name::OWNERS).context("the object has no owners")?)?;
        let sockets = ReusePortSockArray::try_from(ebpf.take_map(name::SOCKETS).context("the object has no sockets")?)?;
        Ok(Steering { ebpf, queues, owners, sockets })
    }

    /// From now on the device asks the program which queue a packet goes to. Any queue of the device will do.
    pub fn attach_tun(&mut self, tun: &Tun) -> Result<()> {
        let program: &mut SocketFilter =
            self.ebpf.program_mut("tun_queue").context("the object has no queue program")?.try_into()?;
        program.load().context("load the program that chooses a TUN queue")?;
        tun.set_steering(Some(program.fd()?.as_fd())).context("attach the program that chooses a TUN queue")
    }

    /// From now on the port asks the program which of its sockets gets a message: the one at the place that the message
    /// names. The sockets are of one port, from [`UdpSockets::bind_shared`].
    pub fn attach_sockets(&mut self, sockets: &[&UdpSockets]) -> Result<()> {
        let program: &mut SkReuseport =
            self.ebpf.program_mut("port_socket").context("the object has no socket program")?.try_into()?;
        if program.fd().is_err() {
            program.load().context("load the program that chooses a socket")?;
        }
        for (family, first) in [(Family::V4, 0), (Family::V6, MAX_QUEUES)] {
            let mut of_family = sockets.iter().map_while(|sockets| sockets.of(family)).peekable();
            if let Some(group) = of_family.peek() {
                program.attach(group).context("attach the program that chooses a socket")?;
            }
            for (place, socket) in (first..).zip(of_family) {
                self.sockets.set(place, &socket.as_fd().as_raw_fd(), 0).context("give a socket to its program")?;
            }
        }
        Ok(())
    }

    /// Says which queue each slot of flows is from now on.
    pub fn set_queues(&mut self, queues: &[u8; FLOW_SLOTS as usize]) -> Result<()> {
        for (slot, queue) in (0..).zip(queues) {
            self.queues.set(slot, u32::from(*queue), 0).context("write the queue of a flow slot")?;
        }
        Ok(())
    }

    /// What goes to `prefix` goes to this queue, longest prefix first.
    pub fn set_owner(&mut self, prefix: IpNet, queue: u8) -> Result<()> {
        let inserted = self.owners.insert(&key(prefix), u32::from(queue), 0);
        inserted.with_context(|| format!("write the queue of {prefix}"))
    }

    pub fn remove_owner(&mut self, prefix: IpNet) -> Result<()> {
        self.owners.remove(&key(prefix)).with_context(|| format!("forget the queue of {prefix}"))
    }
}

/// IPv4 in its mapped form, as the program has it.
fn key(prefix: IpNet) -> Key<[u8; 16]> {
    match prefix.trunc() {
        IpNet::V4(net) => Key::new(96 + u32::from(net.prefix_len()), net.network().to_ipv6_mapped().octets()),
        IpNet::V6(net) => Key::new(net.prefix_len().into(), net.network().octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_load() {
        let mut steering = Steering::load().unwrap();
        steering.set_queues(&[1; FLOW_SLOTS as usize]).unwrap();
        for (prefix, queue) in [("10.0.0.0/8", 3), ("fd00::/8", 4)] {
            steering.set_owner(prefix.parse().unwrap(), queue).unwrap();
            steering.remove_owner(prefix.parse().unwrap()).unwrap();
        }
        let sockets = UdpSockets::bind_shared(0, 2).unwrap();
        steering.attach_sockets(&sockets.iter().collect::<Vec<_>>()).unwrap();
    }
}
