//! When a lane is given up and taken back, with the clock in hand.

use proptest::prelude::*;

use super::*;

/// A lane under load for a while; `is_answered` says which probes come back. The condition after each step of 10 ms.
struct Run {
    watch: Watch,
    now: Instant,
    probes: u64,
}

impl Run {
    fn new() -> Run {
        let mut watch = Watch::new();
        watch.session(true);
        Run { watch, now: Instant::now(), probes: 0 }
    }

    /// Sends all the while; answers come after `round_trip`. Returns when the lane last became dead.
    fn load(&mut self, time: Duration, round_trip: Duration, is_answered: impl Fn(u64) -> bool) -> Option<Duration> {
        let (start, mut died) = (self.now, None);
        let mut answers = Vec::new();
        while self.now < start + time {
            self.now += Duration::from_millis(10);
            self.watch.loaded(self.now);
            let before = self.watch.condition();
            if let Some(number) = self.watch.poll_probe(self.now) {
                self.probes += 1;
                if is_answered(number) {
                    answers.push((self.now + round_trip, number));
                }
            }
            if before == Condition::Live && self.watch.condition() == Condition::Dead {
                died = Some(self.now - start);
            }
            let due: Vec<_> = answers.extract_if(.., |(at, _)| *at <= self.now).collect();
            due.into_iter().for_each(|(_, number)| self.watch.answered(self.now, number));
        }
        died
    }
}

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(1);

#[test]
fn an_unused_lane_asks_for_nothing() {
    let mut run = Run::new();
    assert_eq!(run.watch.poll_timeout(), None);
    run.load(SECOND, FAST, |_| true);
    // Some time after the last packet it is quiet again.
    for _ in 0..3 {
        run.now += SECOND;
        run.watch.poll_probe(run.now);
        let outstanding = run.watch.number - 1;
        run.watch.answered(run.now, outstanding);
    }
    assert_eq!((run.watch.poll_timeout(), run.watch.condition()), (None, Condition::Live));
}

#[test]
fn a_loaded_lane_is_probed_five_times_a_second() {
    let mut run = Run::new();
    assert_eq!(run.load(10 * SECOND, FAST, |_| true), None);
    assert!((45..=50).contains(&run.probes), "{} probes in 10 s", run.probes);
}

#[test]
fn loss_kills_within_a_second_and_an_answer_revives() {
    let mut run = Run::new();
    run.load(SECOND, FAST, |_| true);
    let died = run.load(2 * SECOND, FAST, |_| false).unwrap();
    assert!(died < Duration::from_millis(900), "{died:?}");
    assert_eq!(run.watch.condition(), Condition::Dead);
    run.load(SECOND, FAST, |_| true);
    assert_eq!(run.watch.condition(), Condition::Live);
}

#[test]
fn a_dead_lane_is_asked_without_load() {
    let mut run = Run::new();
    run.load(2 * SECOND, FAST, |_| false);
    let number = (0..100).find_map(|_| {
        run.now += Duration::from_millis(10);
        run.watch.poll_probe(run.now)
    });
    run.watch.answered(run.now, number.expect("it is asked within a second"));
    assert_eq!(run.watch.condition(), Condition::Live);
}

#[test]
fn two_lost_probes_in_a_row_kill_nothing() {
    let mut run = Run::new();
    assert_eq!(run.load(60 * SECOND, FAST, |number| number % 3 == 0), None);
}

#[test]
fn a_long_way_is_no_loss() {
    let mut run = Run::new();
    // The first answers may come too late, before it is known how long the way is.
    run.load(5 * SECOND, 900 * FAST, |_| true);
    assert_eq!(run.load(60 * SECOND, 900 * FAST, |_| true), None);
    assert_eq!(run.watch.condition(), Condition::Live);
}

#[test]
fn a_refusal_of_the_way_out_kills_at_once() {
    let mut run = Run::new();
    run.watch.failed(run.now);
    assert_eq!(run.watch.condition(), Condition::Dead);
    run.load(SECOND, FAST, |_| true);
    assert_eq!(run.watch.condition(), Condition::Live);
}

#[test]
fn a_session_is_what_a_lane_lives_by() {
    let mut run = Run::new();
    run.watch.session(false);
    run.watch.loaded(run.now);
    run.watch.failed(run.now);
    run.watch.answered(run.now, 0);
    assert_eq!((run.watch.condition(), run.watch.poll_timeout()), (Condition::Idle, None));
    run.watch.session(true);
    assert_eq!(run.watch.condition(), Condition::Live);
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut run = Run::new();
    run.load(2 * SECOND, FAST, |_| false);
    for number in [run.watch.number, u64::MAX] {
        run.watch.answered(run.now, number);
        assert_eq!(run.watch.condition(), Condition::Dead, "number {number}");
    }
}

#[test]
fn a_probe_is_no_ip_packet_and_is_read_back() {
    for probe in [Probe::Ask(7), Probe::Answer(u64::MAX)] {
        assert_eq!(probe.bytes()[0] >> 4, 0);
        assert_eq!(Probe::parse(&probe.bytes()), Some(probe));
        assert_eq!(Probe::parse(&probe.bytes()[..15]), None);
    }
    assert_eq!(Probe::parse(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    assert_eq!(Probe::parse(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]), None);
}

proptest! {
    #[test]
    fn slots_are_shared_by_what_is_usable(lanes in 1..=MAX_LANES, dead in any::<u64>(), now_dead in 0..64_u8) {
        let is_usable = |lane: Lane| dead >> lane.0 & 1 == 0;
        let before = slots(lanes, is_usable);
        let usable = (0..lanes as u8).filter(|lane| is_usable(Lane(*lane))).count();
        for slot in before {
            prop_assert!(usize::from(slot) < lanes && (usable == 0 || is_usable(Lane(slot))));
        }
        let whole = slots(lanes, |_| true);
        for lane in 0..lanes as u8 {
            let share = whole.iter().filter(|slot| **slot == lane).count();
            let least = FLOW_SLOTS as usize / lanes;
            prop_assert!((least..=least + 1).contains(&share), "lane {} of {} has {} slots", lane, lanes, share);
        }
        // What was on a lane that still is usable stays there.
        let after = slots(lanes, |lane| lane.0 != now_dead);
        for (before, after) in whole.iter().zip(after) {
            prop_assert!(*before == after || *before == now_dead);
        }
    }
}

#[test]
fn flows_keep_their_gateway_when_another_goes() {
    let keys: Vec<PublicKey> = (0..5_u8).map(|number| PublicKey([number.wrapping_mul(77); 32])).collect();
    let all = rendezvous(&keys, |_| true);
    for at in 0..keys.len() {
        let share = all.iter().filter(|slot| usize::from(**slot) == at).count();
        assert!((30..=75).contains(&share), "{at} has {share} of 256");
        let rest = rendezvous(&keys, |other| other != at);
        let mut took = std::collections::BTreeSet::new();
        for (before, after) in all.iter().zip(rest) {
            if usize::from(*before) == at {
                assert_ne!(usize::from(after), at);
                took.insert(after);
            } else {
                assert_eq!(*before, after);
            }
        }
        assert_eq!(took.len(), keys.len() - 1, "all others share what it had");
    }
    assert_eq!(rendezvous(&keys, |_| false), all);
    assert_eq!(rendezvous(&keys[..1], |_| true), [0; FLOW_SLOTS as usize]);
    // The order in which they are told is of no matter.
    let reversed: Vec<PublicKey> = keys.iter().rev().copied().collect();
    assert!(rendezvous(&reversed, |_| true).iter().zip(all).all(|(slot, other)| 4 - *slot == other));
}
