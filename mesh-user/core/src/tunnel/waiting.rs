//! Packets that wait for a session.

use std::collections::VecDeque;

use super::limits::{WAITING_BYTES, WAITING_PACKETS};

/// In order of their coming. Costs nothing while it is empty and never used.
#[derive(Default)]
pub(super) struct Waiting {
    packets: VecDeque<Box<[u8]>>,
    bytes: usize,
}

/// Whether there was room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// That many of the oldest packets had to go.
    MadeFor(usize),
}

impl Waiting {
    /// The newest packets are the ones that are kept: who sent the oldest has sent them again by now.
    pub(super) fn push(&mut self, packet: &[u8]) -> Room {
        self.packets.push_back(packet.into());
        self.bytes += packet.len();
        let mut dropped = 0;
        while self.packets.len() > WAITING_PACKETS || self.bytes > WAITING_BYTES {
            let Some(oldest) = self.packets.pop_front() else { break };
            self.bytes -= oldest.len();
            dropped += 1;
        }
        if dropped == 0 { Room::Enough } else { Room::MadeFor(dropped) }
    }

    pub(super) fn pop(&mut self) -> Option<Box<[u8]>> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Forgets all, and its memory. Gives how many there were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).packets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many_packets_or_bytes() {
        let mut waiting = Waiting::default();
        for number in 0..WAITING_PACKETS {
            assert_eq!(waiting.push(&[number as u8]), Room::Enough);
        }
        assert_eq!(waiting.push(&[7; 100]), Room::MadeFor(1));
        assert_eq!(waiting.pop().as_deref(), Some(&[1][..]));
        assert_eq!(waiting.clear(), WAITING_PACKETS - 1);
        for _ in 0..WAITING_BYTES / 65_536 {
            assert_eq!(waiting.push(&[0; 65_536]), Room::Enough);
        }
        assert_eq!(waiting.push(&[0; 65_537]), Room::MadeFor(2));
    }
}
