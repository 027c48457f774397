//! Data messages of one peer, many at once: sealed where they are sent from, opened where they were received.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Instant,
};

use mesh_common::{
    datapath::DropReason,
    wire::{
        ipv4, ipv6, version,
        wireguard::{DATA, DATA_OVERHEAD},
    },
};

use super::{
    super::{
        index::SessionIndex,
        keypair::{HEADER, receiver},
        keys::Keys,
        noise::primitives::TAG,
        peer::Path,
        replay::Fresh,
    },
    Device, Opened, PeerSlot, Slot,
};

/// As many messages as are sealed or opened at once: what one system call sends or receives.
pub const BATCH: usize = 64;
/// Bytes of a data message in front of its packet.
pub const DATA_HEADER: usize = HEADER;

impl Device {
    /// A session is in force that messages can be sealed with now, and it is known where the peer is.
    #[inline]
    pub fn can_seal(&self, now: Instant, slot: PeerSlot) -> bool {
        let peer = self.peer(slot).filter(|peer| peer.path.is_some());
        let session = peer.and_then(|peer| peer.session.as_ref());
        session.is_some_and(|session| session.keys.is_live(now, &self.gate.limits))
    }

    /// Encrypts messages in place: each has its packet behind [`DATA_HEADER`] bytes for the header, and room for 16 bytes of
    /// tag behind it. Says how many it sealed, which is all of them unless the session came to its end; the others are left as
    /// they were.
    pub fn seal_batch(&mut self, now: Instant, slot: PeerSlot, buffer: &mut [u8], messages: &[Range<usize>]) -> usize {
        let Device { gate, slots, wheel, .. } = self;
        let Some(Slot { peer: Some(peer), .. }) = slots.get_mut(slot.index()) else { return 0 };
        let Some(session) = peer.session.as_mut().filter(|_| peer.path.is_some()) else { return 0 };
        let (sealed, timer) = session.seal_batch(now, &gate.limits, &mut gate.random, buffer, messages);
        if let Some(at) = timer {
            wheel.set(slot.0, at);
        }
        sealed
    }

    /// Decrypts data messages in place, as many of the first as name the same session; 0: the first is no data message.
    /// The packet of a message is behind its [`DATA_HEADER`] bytes, and `opened` says of each what it is.
    pub fn open_batch(
        &mut self,
        now: Instant,
        from: SocketAddr,
        hit: Option<IpAddr>,
        buffer: &mut [u8],
        datagrams: &[Range<usize>],
        opened: &mut [Opened; BATCH],
    ) -> usize {
        let Some(index) = datagrams.first().and_then(|first| names(&buffer[first.clone()])) else { return 0 };
        let same = |at: &&Range<usize>| names(&buffer[(*at).clone()]) == Some(index);
        let count = datagrams.iter().take(BATCH).take_while(same).count();
        let (datagrams, opened) = (&datagrams[..count], &mut opened[..count]);
        opened.fill(Opened::Refused(DropReason::NoSession));
        if let Some(slot) = self.named(SessionIndex(index)) {
            self.open_all(now, slot, Path { to: from, from: hit }, buffer, datagrams, opened);
        }
        count
    }

    fn open_all(
        &mut self,
        now: Instant,
        slot: PeerSlot,
        path: Path,
        buffer: &mut [u8],
        datagrams: &[Range<usize>],
        opened: &mut [Opened],
    ) {
        let Device { gate, slots, wheel, .. } = self;
        let Some(peer) = slots[slot.index()].peer.as_mut() else { return };
        let Some(session) = peer.session.as_mut() else { return };
        let mut fresh = [Err(DropReason::NoSession); BATCH];
        let fresh = &mut fresh[..datagrams.len()];
        let arrival = session.open_batch(now, &gate.limits, buffer, datagrams, fresh);
        if let Some(at) = arrival.timer {
            wheel.set(slot.0, at);
        }
        if fresh.iter().any(Result::is_ok) {
            peer.heard();
        }
        let is_elsewhere = fresh.contains(&Ok(Fresh::Newest)) && peer.path != Some(path);
        let moved = is_elsewhere && peer.follow(path);
        if arrival.confirms {
            // The pair that was confirmed is as old as our response.
            let keys = peer.session.as_ref().map(|session| &session.keys);
            let response = keys.and_then(Keys::current).map(|pair| now.saturating_duration_since(pair.born));
            peer.complete(now, gate, response);
        }
        for ((opened, fresh), at) in opened.iter_mut().zip(fresh).zip(datagrams) {
            *opened = match fresh {
                Ok(_) => content(&buffer[at.start + HEADER..at.end - TAG], slot),
                Err(reason) => Opened::Refused(*reason),
            };
        }
        if arrival.confirms || moved {
            self.after_change(now, slot);
        }
    }
}

/// The session that a data message names.
fn names(datagram: &[u8]) -> Option<u32> {
    let header = datagram.first_chunk::<HEADER>().filter(|_| datagram.len() >= DATA_OVERHEAD)?;
    (header[..4] == [DATA, 0, 0, 0]).then(|| receiver(header))
}

/// What an authentic message carries. What the padding is, the header of the packet says.
fn content(plain: &[u8], peer: PeerSlot) -> Opened {
    let Some(first) = plain.first() else { return Opened::Empty { peer } };
    let len = match version(*first) {
        4 => plain.first_chunk().map(|header| usize::from(ipv4::Header::from(*header).total_len())),
        6 => plain.first_chunk().map(|header| ipv6::LEN + usize::from(ipv6::Header::from(*header).payload_len())),
        0 => return Opened::Probe { peer, len: plain.len() },
        _ => return Opened::Refused(DropReason::UnknownVersion),
    };
    match len {
        Some(len @ ipv4::LEN..) if len <= plain.len() => Opened::Packet { peer, len },
        Some(..ipv4::LEN) => Opened::Refused(DropReason::Malformed),
        Some(_) | None => Opened::Refused(DropReason::Truncated),
    }
}
