//! The device as `wg` configures it: what was asked for, on the shards that do it.

use std::{collections::BTreeMap, io, num::NonZeroUsize, sync::Arc};

use anyhow::Result;
use mesh_core::{
    plan::{self, DeviceName, PublicKey},
    tunnel::{AllowedIps, StaticSecret},
    uapi::{Change, Configuration, Errno, Live, Outcome, PrivateKey, Refusal, Session, Step, print, print_errno},
};

use super::{clock::Clock, conversation::Reply};
use crate::{
    kernel::{tun::Tun, udp::UdpSockets},
    shard::{Admission, Command, PeerStatistics, Queue, Routing, Shards, Spread},
};

#[derive(Debug)]
pub(super) struct Engine {
    /// What the shards call the device, whatever others call it by now.
    device: DeviceName,
    shards: Shards,
    configuration: Configuration,
    /// The port in use.
    port: u16,
    queues: NonZeroUsize,
    speaks: bool,
    clock: Clock,
}

impl Engine {
    /// An unconfigured device on these queues.
    pub(super) fn start(device: DeviceName, mtu: u16, tuns: Vec<Tun>, shards: Shards) -> Result<Engine> {
        let queues = NonZeroUsize::new(tuns.len()).unwrap_or(NonZeroUsize::MIN);
        let sockets = bind(0, queues)?;
        let port = port(&sockets);
        let queue = |(tun, sockets)| Queue { tun, sockets };
        shards.apply(Command::AddTunnel {
            device: device.clone(),
            mtu,
            secret: None,
            spread: Spread::Peers,
            queues: tuns.into_iter().zip(sockets).map(queue).collect(),
            routing: Routing::AllowedIps(Arc::new(AllowedIps::default()), Admission::default()),
        })?;
        Ok(Engine {
            device,
            shards,
            configuration: Configuration::default(),
            port,
            queues,
            speaks: true,
            clock: Clock::new(),
        })
    }

    /// A device that was taken down says nothing more and answers nobody; its sessions end. It begins anew when it is up.
    pub(super) fn set_speaking(&mut self, speaks: bool) -> Result<()> {
        self.speaks = speaks;
        let secret = self.configuration.private_key().filter(|_| speaks).map(secret);
        self.shards.apply(Command::SetSecret(self.device.clone(), secret))
    }

    pub(super) fn set_mtu(&self, mtu: u16) -> Result<()> {
        self.shards.apply(Command::SetMtu(self.device.clone(), mtu))
    }

    /// New sockets after the old ones became useless. The old ones may still hold the port; peers follow to another one.
    pub(super) fn renew_sockets(&mut self) -> Result<()> {
        let sockets = bind(self.port, self.queues).or_else(|_| bind(0, self.queues))?;
        self.use_sockets(sockets)
    }

    pub(super) fn answer(&mut self, asked: Outcome) -> Reply {
        let mut reply = Reply::default();
        let refused = match asked {
            Outcome::Get => {
                self.get(&mut reply);
                None
            }
            Outcome::Set(change) => self.set(change).err(),
            Outcome::Refused(refusal) | Outcome::Lost(refusal) => Some(refusal),
        };
        if let Some(refusal) = &refused {
            tracing::error!("a request over UAPI was refused: {refusal}");
        }
        print_errno(refused.map(|refusal| refusal.errno), &mut *reply).expect("a vector takes every byte");
        reply
    }

    /// What carrying cost more than it could, as lines to read.
    pub(super) fn notices(&self) -> Vec<String> {
        self.shards.statistics().notices().collect()
    }

    fn get(&mut self, reply: &mut Reply) {
        self.clock.refresh();
        let statistics = self.shards.statistics();
        let known: BTreeMap<PublicKey, &PeerStatistics> =
            statistics.peers.iter().map(|peer| (peer.peer, peer)).collect();
        let live = |key: &PublicKey| known.get(key).map(|peer| live(peer, &self.clock)).unwrap_or_default();
        let device = self.configuration.device(self.port, live);
        print(&device, &mut **reply).expect("a vector takes every byte");
    }

    /// What can fail comes first and is undone, so that a refused request changes nothing. The steps behind it fail only
    /// with the shards themselves, and nothing is undone then.
    fn set(&mut self, change: Change) -> Result<(), Refusal> {
        self.configuration.check(&change)?;
        let sockets = self.sockets_for(&change)?;
        let old = self.configuration.fwmark();
        let mark = change.fwmark.filter(|mark| *mark != old);
        let begun = mark.map_or(Ok(()), |mark| self.set_mark(mark));
        let begun = begun.and_then(|()| sockets.map_or(Ok(()), |sockets| self.use_sockets(sockets)));
        if let Err(error) = begun {
            // One queue may have taken the mark before another one refused it.
            if mark.is_some()
                && let Err(error) = self.set_mark(old)
            {
                tracing::warn!("the mark of before could not be set again: {error:#}");
            }
            return Err(failed(&error));
        }
        let steps = self.configuration.apply(change);
        self.shards.apply_all(steps.into_iter().map(|step| self.command(step))).map_err(|error| failed(&error))
    }

    fn set_mark(&self, mark: u32) -> Result<()> {
        self.shards.apply(Command::SetMark(self.device.clone(), mark))
    }

    /// Bound before anything is applied. `None`: those in use serve.
    fn sockets_for(&self, change: &Change) -> Result<Option<Vec<UdpSockets>>, Refusal> {
        let asked = change.listen_port.filter(|asked| *asked != self.configuration.listen_port());
        let Some(asked) = asked.filter(|asked| *asked != self.port) else { return Ok(None) };
        bind(asked, self.queues).map(Some).map_err(|error| {
            let is_in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
            let errno = match error.chain().find_map(|cause| cause.downcast_ref()) {
                Some(error) if is_in_use(error) => Errno::PortInUse,
                _ => Errno::Io,
            };
            Refusal::new(errno, format!("{error:#}"))
        })
    }

    fn use_sockets(&mut self, sockets: Vec<UdpSockets>) -> Result<()> {
        let port = port(&sockets);
        self.shards.apply(Command::SetSockets(self.device.clone(), sockets))?;
        self.port = port;
        Ok(())
    }

    fn command(&self, step: Step) -> Command {
        let device = self.device.clone();
        match step {
            Step::SetSecret(key) => Command::SetSecret(device, key.filter(|_| self.speaks).map(|key| secret(&key))),
            Step::AddPeer(key, session) => Command::AddPeer(device, key, peer(session)),
            Step::UpdatePeer(key, session) => Command::UpdatePeer(device, key, peer(session)),
            Step::MovePeer(key, endpoint) => Command::MovePeer(device, key, endpoint),
            Step::RemovePeer(key) => Command::RemovePeer(device, key),
            Step::SetAllowedIps(allowed) => Command::SetAllowedIps(device, Arc::new(allowed), Admission::default()),
        }
    }
}

fn bind(port: u16, queues: NonZeroUsize) -> Result<Vec<UdpSockets>> {
    match queues.get() {
        1 => UdpSockets::bind(port).map(|sockets| vec![sockets]),
        several => UdpSockets::bind_shared(port, several),
    }
}

fn port(sockets: &[UdpSockets]) -> u16 {
    sockets.first().map_or(0, UdpSockets::port)
}

fn secret(key: &PrivateKey) -> StaticSecret {
    StaticSecret::from_bytes(*key.bytes())
}

/// Where the peer is comes with [`Command::MovePeer`]: candidates would be called without a packet for them.
fn peer(session: Session) -> plan::Peer {
    plan::Peer {
        connection: session.connection,
        endpoints: Vec::new(),
        lane_ports: Vec::new(),
        keepalive_seconds: Some(session.keepalive).filter(|seconds| *seconds > 0),
        preshared_key: session.preshared_key,
        reserved: Vec::new(),
        announced: BTreeMap::new(),
    }
}

pub(super) fn live(peer: &PeerStatistics, clock: &Clock) -> Live {
    Live {
        endpoint: peer.endpoint,
        last_handshake: peer.last_handshake.map(|at| clock.at(at)),
        sent: peer.sent.bytes,
        received: peer.received.bytes,
    }
}

fn failed(error: &anyhow::Error) -> Refusal {
    Refusal::new(Errno::Io, format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use mesh_lab::Lab;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::*;

    /// Threads that this one starts may not mark sockets.
    fn give_up_marking() {
        let mut held = capabilities(None).unwrap();
        held.effective -= CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        set_capabilities(None, held).unwrap();
    }

    #[test]
    fn what_the_system_refuses_changes_nothing() {
        let lab = Lab::new().unwrap();
        let work = || {
            let device = DeviceName("mesh-engine".to_owned());
            let tuns = Tun::create(&device, NonZeroUsize::MIN)?;
            give_up_marking();
            let (shards, _events) = Shards::start(NonZeroUsize::MIN)?;
            let mut engine = Engine::start(device, 1_420, tuns, shards)?;
            let ask = |engine: &mut Engine, outcome| String::from_utf8(engine.answer(outcome).to_vec());
            let before = ask(&mut engine, Outcome::Get)?;
            let key = PrivateKey::new(&[7; 32]);
            let change = Change { private_key: Some(key), listen_port: Some(0), fwmark: Some(5), ..Change::default() };
            assert_eq!(ask(&mut engine, Outcome::Set(change.clone()))?, "errno=-5\n\n");
            assert_eq!(ask(&mut engine, Outcome::Get)?, before);
            // Without the mark it is taken.
            assert_eq!(ask(&mut engine, Outcome::Set(Change { fwmark: None, ..change }))?, "errno=0\n\n");
            assert_ne!(ask(&mut engine, Outcome::Get)?, before);
            Ok(())
        };
        lab.namespace("a").unwrap().enter(work).unwrap();
    }
}
