//! What goes through a device: packets out, datagrams in, and time.

use std::{
    net::{IpAddr, SocketAddr},
    slice,
    time::Instant,
};

use mesh_common::{
    datapath::DropReason,
    wire::wireguard::{COOKIE_REPLY, DATA, DATA_OVERHEAD, INITIATION, RESPONSE, is_message},
};

use super::{
    super::{
        gate::Refusal,
        index::SessionIndex,
        keypair::HEADER,
        peer::{Path, Peer},
        waiting::Room,
    },
    BATCH, Caller, Device, Identified, Opened, PeerSlot, Sealed, Slot, Transmit,
};

impl Device {
    /// Encrypts a packet into `out`, which holds [`super::super::MESSAGE_ROOM`] and 32 bytes more than the packet.
    ///
    /// # Errors
    /// A packet was dropped: this one, or with [`DropReason::Congested`] the oldest of those that wait.
    #[inline]
    pub fn seal(&mut self, now: Instant, slot: PeerSlot, packet: &[u8], out: &mut [u8]) -> Result<Sealed, DropReason> {
        if !self.can_seal(now, slot) {
            return self.hold(now, slot, packet, out);
        }
        let len = packet.len() + DATA_OVERHEAD;
        out[HEADER..HEADER + packet.len()].copy_from_slice(packet);
        self.seal_batch(now, slot, out, slice::from_ref(&(0..len)));
        Ok(Sealed::Data(len))
    }

    /// Keeps a packet for the session that is not there yet.
    fn hold(&mut self, now: Instant, slot: PeerSlot, packet: &[u8], out: &mut [u8]) -> Result<Sealed, DropReason> {
        let Device { gate, slots, .. } = self;
        let Some(Slot { peer: Some(peer), .. }) = slots.get_mut(slot.index()) else {
            return Err(DropReason::NoSession);
        };
        if peer.path.is_none() || gate.identity.is_none() {
            return Err(DropReason::NoSession);
        }
        let session = peer.session(now);
        let room = session.waiting.push(packet);
        session.timers.ask(now, &gate.limits);
        session.timers.insist(now);
        let mut sealed = Ok(Sealed::Waiting);
        if session.timers.is_handshake_due(now) {
            sealed = peer.initiate(now, gate, out).map(Sealed::Handshake).ok_or(DropReason::NoSession);
        } else if let Room::MadeFor(packets) = room {
            gate.abandoned += packets as u64 - 1;
            sealed = Err(DropReason::Congested);
        }
        self.look_at(slot);
        sealed
    }

    /// Decrypts a datagram into `out`, which is as long as the datagram and [`super::super::MESSAGE_ROOM`].
    pub fn open(
        &mut self,
        now: Instant,
        from: SocketAddr,
        hit: Option<IpAddr>,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Opened {
        let Some(head) = datagram.first_chunk::<4>().filter(|head| is_message(**head, datagram.len())) else {
            return Opened::Refused(DropReason::NotWireguard);
        };
        let path = Path { to: from, from: hit };
        let opened = match head[0] {
            DATA => Ok(self.open_data(now, path, datagram, out)),
            INITIATION => self.open_initiation(now, from, datagram, out),
            RESPONSE => self.open_response(now, path, datagram, out),
            COOKIE_REPLY => self.open_cookie(now, datagram),
            _ => Err(Refusal::Drop(DropReason::NotWireguard)),
        };
        match opened {
            Ok(opened) => opened,
            Err(Refusal::Cookie(len)) => Opened::Cookie { len },
            Err(Refusal::Drop(reason)) => Opened::Refused(reason),
        }
    }

    /// Finds out who sent an initiation, so that it can be answered by the device that has this peer.
    pub fn identify(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Identified {
        match self.gate.introduce(now, from, datagram, out) {
            Ok(introduced) => Identified::Caller(Box::new(Caller(introduced))),
            Err(Refusal::Cookie(len)) => Identified::Cookie { len },
            Err(Refusal::Drop(reason)) => Identified::Refused(reason),
        }
    }

    /// Answers an initiation; the output is the response, for where it came from. The peer is not moved there: what it
    /// sends in the new session does that. The initiation may be one that somebody else kept back, or, when this node was
    /// restarted, one of long ago.
    pub fn answer(&mut self, now: Instant, caller: Caller, out: &mut [u8]) -> Opened {
        self.accept(now, caller, out).unwrap_or_else(Opened::Refused)
    }

    fn open_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<Opened, Refusal> {
        let introduced = self.gate.introduce(now, from, datagram, out)?;
        self.accept(now, Caller(introduced), out).map_err(Refusal::Drop)
    }

    fn accept(&mut self, now: Instant, caller: Caller, out: &mut [u8]) -> Result<Opened, DropReason> {
        let slot = self.slot(caller.key()).map_err(|_| DropReason::Unauthenticated)?;
        let Device { gate, slots, .. } = self;
        let peer = slots[slot.index()].peer.as_mut().ok_or(DropReason::NoSession)?;
        let len = peer.accept(now, gate, caller.0, out)?;
        self.look_at(slot);
        Ok(Opened::Reply { peer: slot, len })
    }

    fn open_response(&mut self, now: Instant, path: Path, datagram: &[u8], out: &mut [u8]) -> Result<Opened, Refusal> {
        let receiver = number(datagram, 8);
        let slot = self.named(SessionIndex(receiver)).ok_or(Refusal::Drop(DropReason::NoSession))?;
        if !self.peer(slot).is_some_and(|peer| peer.awaits(receiver)) {
            return Err(Refusal::Drop(DropReason::NoSession));
        }
        self.gate.admit(now, path.to, datagram, out)?;
        let Device { gate, slots, .. } = self;
        let peer = slots[slot.index()].peer.as_mut().ok_or(Refusal::Drop(DropReason::NoSession))?;
        let message = datagram.try_into().map_err(|_| Refusal::Drop(DropReason::NotWireguard))?;
        peer.finish(now, gate, message).map_err(Refusal::Drop)?;
        peer.follow(path);
        // The peer may not send before it hears from us: packets that wait do, else an empty message.
        let confirmation = peer.session.as_mut().filter(|session| session.waiting.is_empty());
        let sealed = confirmation.and_then(|session| session.seal(now, &gate.limits, &mut gate.random, &[], out));
        self.after_change(now, slot);
        Ok(match sealed {
            Some((len, _)) => Opened::Reply { peer: slot, len },
            None => Opened::Empty { peer: slot },
        })
    }

    fn open_cookie(&mut self, now: Instant, datagram: &[u8]) -> Result<Opened, Refusal> {
        let receiver = number(datagram, 4);
        let slot = self.named(SessionIndex(receiver)).ok_or(Refusal::Drop(DropReason::NoSession))?;
        let reply = datagram.try_into().map_err(|_| Refusal::Drop(DropReason::NotWireguard))?;
        let peer = self.peer_mut(slot).ok_or(Refusal::Drop(DropReason::NoSession))?;
        peer.take_cookie(now, receiver, reply).map_err(Refusal::Drop)?;
        Ok(Opened::Empty { peer: slot })
    }

    fn open_data(&mut self, now: Instant, path: Path, datagram: &[u8], out: &mut [u8]) -> Opened {
        out[..datagram.len()].copy_from_slice(datagram);
        let mut opened = [Opened::Refused(DropReason::NotWireguard); BATCH];
        self.open_batch(now, path.to, path.from, out, slice::from_ref(&(0..datagram.len())), &mut opened);
        out.copy_within(HEADER..datagram.len(), 0);
        opened[0]
    }

    /// Packets wait that [`Device::flush`] can now seal.
    pub fn can_flush(&self, slot: PeerSlot) -> bool {
        let session = self.peer(slot).filter(|peer| peer.was_live && peer.path.is_some());
        session.and_then(|peer| peer.session.as_ref()).is_some_and(|session| !session.waiting.is_empty())
    }

    /// Seals one packet that waited for a session. `None`: that was the last.
    pub fn flush(&mut self, now: Instant, slot: PeerSlot, out: &mut [u8]) -> Option<usize> {
        let Device { gate, slots, wheel, .. } = self;
        let Peer { session, .. } = &mut **slots.get_mut(slot.index())?.peer.as_mut()?;
        let session = session.as_mut().filter(|session| session.keys.is_live(now, &gate.limits))?;
        let packet = session.waiting.pop()?;
        let (len, timer) = session.seal(now, &gate.limits, &mut gate.random, &packet, out)?;
        if let Some(at) = timer {
            wheel.set(slot.0, at);
        }
        Some(len)
    }

    /// The next message that time asks for. `None`: nothing more is due.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        while let Some(id) = self.wheel.pop(now) {
            let slot = PeerSlot(id);
            let Device { gate, slots, .. } = self;
            let Some(Slot { peer: Some(peer), .. }) = slots.get_mut(slot.index()) else { continue };
            let path = peer.path;
            let message = peer.run_timers(now, gate, out);
            if peer.settle(now, gate) || peer.path != path {
                self.tell(slot);
            }
            self.look_at(slot);
            if let Some(len) = message {
                return Some(Transmit { peer: slot, len });
            }
        }
        None
    }

    /// When [`Device::poll_transmit`] has to be called. `None`: no session wants anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// Packets that waited in vain, since this was asked last.
    pub fn take_abandoned(&mut self) -> u64 {
        std::mem::take(&mut self.gate.abandoned)
    }

    /// The session of a peer began or was renewed, or the peer is elsewhere.
    pub(super) fn after_change(&mut self, now: Instant, slot: PeerSlot) {
        let Device { gate, slots, .. } = self;
        if let Some(peer) = &mut slots[slot.index()].peer {
            peer.settle(now, gate);
        }
        self.tell(slot);
        self.look_at(slot);
    }

    pub(super) fn tell(&mut self, slot: PeerSlot) {
        if let Some(Slot { peer: Some(peer), .. }) = self.slots.get_mut(slot.index())
            && !std::mem::replace(&mut peer.is_told, true)
        {
            self.events.push_back(peer.key);
        }
    }
}

/// 0 where the datagram is too short, and no session has that by chance.
fn number(datagram: &[u8], at: usize) -> u32 {
    datagram.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
