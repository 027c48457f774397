//! Is the other end of a connection alive, and how far away: a state machine fed by sent probes, replies and time.
//!
//! The message is here too, since both ends must agree on it. Sockets and the clock are the daemon's.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::api::ConnectionState;

/// A probe is sent this often.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// So many probes in a row without a reply make an [`ConnectionState::Error`].
pub const LOST_LIMIT: usize = 5;

/// A request and its reply, 32 bytes each, so that a responder never amplifies.
///
/// Layout, big-endian: magic (8), kind (4), connection (4), sequence (8), reserved zero (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// The sender's own number of the connection, returned as it came.
    pub connection: u32,
    pub sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Reply,
}

pub const MESSAGE_LENGTH: usize = 32;
const MAGIC: [u8; 8] = *b"meshping";
const REQUEST: u32 = 1;
const REPLY: u32 = 2;

impl Message {
    pub fn encode(self) -> [u8; MESSAGE_LENGTH] {
        let kind = match self.kind {
            Kind::Request => REQUEST,
            Kind::Reply => REPLY,
        };
        let mut bytes = [0; MESSAGE_LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&kind.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.connection.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// `None`: not a message of this form; it deserves no answer.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MESSAGE_LENGTH] = bytes.try_into().ok()?;
        if bytes[..8] != MAGIC || bytes[24..] != [0; 8] {
            return None;
        }
        let kind = match u32::from_be_bytes(bytes[8..12].try_into().ok()?) {
            REQUEST => Kind::Request,
            REPLY => Kind::Reply,
            _ => return None,
        };
        let connection = u32::from_be_bytes(bytes[12..16].try_into().ok()?);
        let sequence = u64::from_be_bytes(bytes[16..24].try_into().ok()?);
        Some(Message { kind, connection, sequence })
    }
}

/// What is known of one connection from its probes.
#[derive(Clone, Debug)]
pub struct Prober {
    state: ConnectionState,
    latency: Option<Duration>,
    next_sequence: u64,
    next_send: Instant,
    /// Sent and not answered, oldest first; never more than [`LOST_LIMIT`].
    outstanding: VecDeque<(u64, Instant)>,
}

impl Prober {
    /// `Connecting`, with the first probe due at once. `first_sequence` should not repeat soon, so that a reply to an
    /// earlier run of the daemon is not taken for one of this run.
    pub fn new(now: Instant, first_sequence: u64) -> Self {
        Prober {
            state: ConnectionState::Connecting,
            latency: None,
            next_sequence: first_sequence,
            next_send: now,
            outstanding: VecDeque::with_capacity(LOST_LIMIT),
        }
    }

    /// When [`Prober::poll_transmit`] wants to be called next.
    pub fn poll_timeout(&self) -> Instant {
        self.next_send
    }

    /// The sequence number to send now, if one is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<u64> {
        if now < self.next_send {
            return None;
        }
        if self.outstanding.len() == LOST_LIMIT {
            self.state = ConnectionState::Error;
            self.latency = None;
            self.outstanding.pop_front();
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.outstanding.push_back((sequence, now));
        // After a pause of the process the missed probes are not made up for.
        self.next_send = (self.next_send + INTERVAL).max(now + INTERVAL / 2);
        Some(sequence)
    }

    /// A reply came. Replies to what was never sent, answered already or given up are ignored.
    pub fn handle_reply(&mut self, sequence: u64, now: Instant) {
        let Some(at) = self.outstanding.iter().position(|(sent, _)| *sent == sequence) else {
            return;
        };
        let sent = self.outstanding[at].1;
        // Earlier ones are lost or overtaken: either way the connection lives.
        self.outstanding.drain(..=at);
        self.latency = Some(now.saturating_duration_since(sent));
        self.state = ConnectionState::Connected;
    }

    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// Round trip of the last probe that was answered; `None` while the connection is not up.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Probes sent since the last reply, up to [`LOST_LIMIT`].
    pub fn unanswered(&self) -> usize {
        self.outstanding.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(prober: &mut Prober, now: &mut Instant) -> u64 {
        *now = (*now).max(prober.poll_timeout());
        prober.poll_transmit(*now).unwrap()
    }

    #[test]
    fn connects_with_the_first_reply_and_measures_it() {
        let start = Instant::now();
        let mut now = start;
        let mut prober = Prober::new(start, 7);
        assert_eq!(prober.state(), ConnectionState::Connecting);
        let sequence = tick(&mut prober, &mut now);
        assert_eq!(sequence, 7);
        prober.handle_reply(sequence, now + Duration::from_millis(3));
        assert_eq!(prober.state(), ConnectionState::Connected);
        assert_eq!(prober.latency(), Some(Duration::from_millis(3)));
        assert_eq!(prober.poll_transmit(now), None, "one probe an interval");
        assert_eq!(prober.poll_timeout(), start + INTERVAL);
    }

    #[test]
    fn five_lost_make_an_error_and_one_reply_ends_it() {
        let mut now = Instant::now();
        let mut prober = Prober::new(now, 0);
        let first = tick(&mut prober, &mut now);
        prober.handle_reply(first, now);
        for _ in 0..LOST_LIMIT {
            tick(&mut prober, &mut now);
            assert_eq!(prober.state(), ConnectionState::Connected);
        }
        let last = tick(&mut prober, &mut now);
        assert_eq!(prober.state(), ConnectionState::Error);
        assert_eq!(prober.latency(), None);
        prober.handle_reply(last, now);
        assert_eq!(prober.state(), ConnectionState::Connected);
    }

    #[test]
    fn never_connected_also_ends_in_error() {
        let mut now = Instant::now();
        let mut prober = Prober::new(now, 0);
        for _ in 0..=LOST_LIMIT {
            tick(&mut prober, &mut now);
        }
        assert_eq!(prober.state(), ConnectionState::Error);
    }

    #[test]
    fn replies_nobody_asked_for_change_nothing() {
        let mut now = Instant::now();
        let mut prober = Prober::new(now, 100);
        let sequence = tick(&mut prober, &mut now);
        prober.handle_reply(sequence + 1, now);
        prober.handle_reply(sequence.wrapping_sub(1), now);
        assert_eq!(prober.state(), ConnectionState::Connecting);
    }

    #[test]
    fn a_stopped_process_does_not_send_a_burst() {
        let start = Instant::now();
        let mut prober = Prober::new(start, 0);
        assert!(prober.poll_transmit(start).is_some());
        let later = start + INTERVAL * 100;
        assert!(prober.poll_transmit(later).is_some());
        assert!(prober.poll_transmit(later).is_none());
    }

    #[test]
    fn messages_survive_the_wire_and_others_are_refused() {
        let message = Message { kind: Kind::Request, connection: 0x0102_0304, sequence: u64::MAX - 1 };
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Some(message));
        assert_eq!(Message::decode(&bytes[..31]), None);
        assert_eq!(Message::decode(&[bytes.as_slice(), &[0]].concat()), None);
        for at in (0..12).chain(24..32) {
            let mut wrong = bytes;
            wrong[at] ^= 0x80;
            assert_eq!(Message::decode(&wrong), None, "byte {at} is checked");
        }
    }
}
