//! Does the other end of one way answer, and how fast: a state machine fed by sent probes, replies and time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::api::ConnectionState;

/// What is known of one way from its probes.
#[derive(Clone, Debug)]
pub struct Prober {
    interval: Duration,
    loss: usize,
    state: ConnectionState,
    latency: Option<Duration>,
    /// Replies since the last error.
    replies: u32,
    next_sequence: u64,
    next_send: Instant,
    /// Sent and not answered, oldest first; never more than `loss`.
    outstanding: VecDeque<(u64, Instant)>,
}

impl Prober {
    /// `Connecting`, with the first probe due at once. `first_sequence` should not repeat soon, so that a reply to an
    /// earlier run of the daemon is not taken for one of this run.
    pub fn new(now: Instant, first_sequence: u64, interval: Duration, loss: u16) -> Self {
        Prober {
            interval,
            loss: usize::from(loss.max(1)),
            state: ConnectionState::Connecting,
            latency: None,
            replies: 0,
            next_sequence: first_sequence,
            next_send: now,
            outstanding: VecDeque::new(),
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
        if self.outstanding.len() >= self.loss {
            self.state = ConnectionState::Error;
            self.latency = None;
            self.replies = 0;
            self.outstanding.pop_front();
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.outstanding.push_back((sequence, now));
        // After a pause of the process the missed probes are not made up for.
        self.next_send = (self.next_send + self.interval).max(now + self.interval / 2);
        Some(sequence)
    }

    /// A reply came; `true` if it was awaited. Replies to what was never sent, answered already or given up are ignored.
    pub fn handle_reply(&mut self, sequence: u64, now: Instant) -> bool {
        let Some(at) = self.outstanding.iter().position(|(sent, _)| *sent == sequence) else {
            return false;
        };
        let sent = self.outstanding[at].1;
        // Earlier ones are lost or overtaken: either way the connection lives.
        self.outstanding.drain(..=at);
        self.latency = Some(now.saturating_duration_since(sent));
        self.state = ConnectionState::Connected;
        self.replies = self.replies.saturating_add(1);
        true
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// It answered more than once since it did not: what was sent along with the first is answered too by now, or lost.
    pub(super) fn is_settled(&self) -> bool {
        self.replies > 1
    }

    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// Round trip of the last probe that was answered; `None` while the connection is not up.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Probes sent since the last reply, up to the loss that is an error.
    pub fn unanswered(&self) -> usize {
        self.outstanding.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);
    const LOSS: u16 = 5;

    fn prober(now: Instant, first: u64) -> Prober {
        Prober::new(now, first, INTERVAL, LOSS)
    }

    fn tick(prober: &mut Prober, now: &mut Instant) -> u64 {
        *now = (*now).max(prober.poll_timeout());
        prober.poll_transmit(*now).unwrap()
    }

    #[test]
    fn connects_with_the_first_reply_and_measures_it() {
        let start = Instant::now();
        let mut now = start;
        let mut prober = prober(start, 7);
        assert_eq!(prober.state(), ConnectionState::Connecting);
        let sequence = tick(&mut prober, &mut now);
        assert_eq!(sequence, 7);
        assert!(prober.handle_reply(sequence, now + Duration::from_millis(3)));
        assert_eq!(prober.state(), ConnectionState::Connected);
        assert_eq!(prober.latency(), Some(Duration::from_millis(3)));
        assert_eq!(prober.poll_transmit(now), None, "one probe an interval");
        assert_eq!(prober.poll_timeout(), start + INTERVAL);
    }

    #[test]
    fn so_many_lost_make_an_error_and_one_reply_ends_it() {
        let mut now = Instant::now();
        for loss in [1, 3, LOSS] {
            let mut prober = Prober::new(now, 0, INTERVAL, loss);
            let first = tick(&mut prober, &mut now);
            prober.handle_reply(first, now);
            for _ in 0..loss {
                tick(&mut prober, &mut now);
                assert_eq!(prober.state(), ConnectionState::Connected);
            }
            let last = tick(&mut prober, &mut now);
            assert_eq!(prober.state(), ConnectionState::Error);
            assert_eq!(prober.latency(), None);
            prober.handle_reply(last, now);
            assert_eq!(prober.state(), ConnectionState::Connected);
        }
    }

    #[test]
    fn never_connected_also_ends_in_error() {
        let mut now = Instant::now();
        let mut prober = prober(now, 0);
        for _ in 0..=LOSS {
            tick(&mut prober, &mut now);
        }
        assert_eq!(prober.state(), ConnectionState::Error);
    }

    #[test]
    fn replies_nobody_asked_for_change_nothing() {
        let mut now = Instant::now();
        let mut prober = prober(now, 100);
        let sequence = tick(&mut prober, &mut now);
        assert!(!prober.handle_reply(sequence + 1, now));
        assert!(!prober.handle_reply(sequence.wrapping_sub(1), now));
        assert_eq!(prober.state(), ConnectionState::Connecting);
    }

    #[test]
    fn a_stopped_process_does_not_send_a_burst() {
        let start = Instant::now();
        let mut prober = prober(start, 0);
        assert!(prober.poll_transmit(start).is_some());
        let later = start + INTERVAL * 100;
        assert!(prober.poll_transmit(later).is_some());
        assert!(prober.poll_transmit(later).is_none());
    }
}
