//! Which peer wants to be looked at next: a hierarchical wheel of timers, one for each peer at most.
//!
//! Setting, clearing and finding the next one take the same few steps for one peer and for 100,000. A timer never goes
//! off early, and at most one tick of 16.8 ms late.

use std::time::{Duration, Instant};

/// Bits of a tick's number that one level looks at.
const LEVEL_BITS: u32 = 6;
const PLACES: usize = 1 << LEVEL_BITS;
/// Enough for 36 years; what is later goes off then.
const LEVELS: usize = 6;
/// A tick is 2^24 ns = 16.8 ms.
const TICK_BITS: u32 = 24;

/// No timer; ends a list.
const NONE: u32 = u32::MAX;
/// The time of a timer that is not set.
const UNSET: u64 = u64::MAX;

pub(super) struct Wheel {
    start: Instant,
    /// All ticks before this one are over.
    now: u64,
    /// The first timer of each place.
    heads: [[u32; PLACES]; LEVELS],
    /// One bit for each place that has timers.
    occupied: [u64; LEVELS],
    timers: Vec<Timer>,
}

/// A member of the list of its place.
#[derive(Clone, Copy)]
struct Timer {
    at: u64,
    next: u32,
    before: u32,
    level: u8,
    place: u8,
}

impl Wheel {
    pub(super) fn new(start: Instant) -> Wheel {
        Wheel { start, now: 0, heads: [[NONE; PLACES]; LEVELS], occupied: [0; LEVELS], timers: Vec::new() }
    }

    /// Sets the timer `id`, unless it is set to an earlier time. Small numbers: there is memory for all up to the largest.
    #[inline]
    pub(super) fn set(&mut self, id: u32, at: Instant) {
        let tick = self.tick_after(at);
        match self.timers.get(id as usize) {
            Some(timer) if timer.at <= tick => return,
            Some(_) => self.clear(id),
            None => self.make_room(id),
        }
        self.insert(id, tick);
    }

    pub(super) fn clear(&mut self, id: u32) {
        let Some(timer) = self.timers.get(id as usize).copied().filter(|timer| timer.at != UNSET) else { return };
        let (level, place) = (usize::from(timer.level), usize::from(timer.place));
        match timer.before {
            NONE => self.heads[level][place] = timer.next,
            before => self.timers[before as usize].next = timer.next,
        }
        if timer.next != NONE {
            self.timers[timer.next as usize].before = timer.before;
        }
        if self.heads[level][place] == NONE {
            self.occupied[level] &= !(1 << place);
        }
        self.timers[id as usize].at = UNSET;
    }

    /// When to call [`Wheel::pop`]. `None`: no timer is set.
    pub(super) fn next(&self) -> Option<Instant> {
        let (_, _, tick) = self.next_place()?;
        Some(self.start + Duration::from_nanos(tick << TICK_BITS))
    }

    /// A timer whose time has come; it is not set any more.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        let passed = (now.saturating_duration_since(self.start).as_nanos() >> TICK_BITS) as u64;
        while let Some((level, place, tick)) = self.next_place().filter(|(_, _, tick)| *tick <= passed) {
            self.now = self.now.max(tick);
            let id = self.heads[level][place];
            let at = self.timers[id as usize].at;
            self.clear(id);
            if at <= self.now {
                return Some(id);
            }
            // Nearer now than when it was sorted in: it goes to a finer level.
            self.insert(id, at);
        }
        self.now = self.now.max(passed);
        None
    }

    /// The place whose time comes first, and the tick at which it does.
    fn next_place(&self) -> Option<(usize, usize, u64)> {
        let first = |(level, occupied): (usize, &u64)| {
            let place = occupied.trailing_zeros();
            (place < u64::BITS).then(|| {
                let shift = LEVEL_BITS * level as u32;
                let round = self.now >> (shift + LEVEL_BITS) << LEVEL_BITS;
                (level, place as usize, (round | u64::from(place)) << shift)
            })
        };
        self.occupied.iter().enumerate().filter_map(first).min_by_key(|(_, _, tick)| *tick)
    }

    /// Sorts in a timer that is not set. The highest bit in which its time differs from now says the level.
    fn insert(&mut self, id: u32, at: u64) {
        let reach = (1 << (LEVEL_BITS * LEVELS as u32)) - 1;
        let at = at.clamp(self.now, self.now | reach);
        let level = ((at ^ self.now) | 1).ilog2() / LEVEL_BITS;
        let place = (at >> (LEVEL_BITS * level)) as usize % PLACES;
        let level = level as usize;
        let next = std::mem::replace(&mut self.heads[level][place], id);
        if next != NONE {
            self.timers[next as usize].before = id;
        }
        self.occupied[level] |= 1 << place;
        self.timers[id as usize] = Timer { at, next, before: NONE, level: level as u8, place: place as u8 };
    }

    fn make_room(&mut self, id: u32) {
        let unset = Timer { at: UNSET, next: NONE, before: NONE, level: 0, place: 0 };
        self.timers.resize(id as usize + 1, unset);
    }

    fn tick_after(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos.div_ceil(1 << TICK_BITS)).map_or(UNSET - 1, |tick| tick.min(UNSET - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What a test does: set, clear, or let time pass; times in milliseconds.
    #[derive(Clone, Debug)]
    enum Act {
        Set(u32, u64),
        Clear(u32),
        Wait(u64),
    }

    fn acts() -> impl Strategy<Value = Act> {
        let time = prop_oneof![0..100_u64, 0..20_000_u64, 0..4_000_000_u64, 0..500_000_000_u64];
        prop_oneof![
            3 => (0..20_u32, time.clone()).prop_map(|(id, at)| Act::Set(id, at)),
            1 => (0..20_u32).prop_map(Act::Clear),
            2 => time.prop_map(Act::Wait),
        ]
    }

    fn popped(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut all: Vec<_> = std::iter::from_fn(|| wheel.pop(now)).take(1_000).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn an_empty_wheel_wants_nothing() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!((wheel.next(), wheel.pop(start + Duration::from_secs(9))), (None, None));
        wheel.set(99_999, start + Duration::from_secs(20));
        wheel.clear(99_999);
        wheel.clear(5);
        assert_eq!((wheel.next(), wheel.pop(start + Duration::from_secs(99))), (None, None));
    }

    #[test]
    fn only_an_earlier_time_replaces_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut wheel = Wheel::new(start);
        wheel.set(3, at(10));
        wheel.set(3, at(20));
        wheel.set(3, at(5));
        assert_eq!((wheel.pop(at(4)), wheel.pop(at(6)), wheel.pop(at(30))), (None, Some(3), None));
    }

    #[test]
    fn a_time_beyond_all_levels_goes_off_at_their_end() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.set(0, start + Duration::from_secs(60 * 365 * 86_400));
        assert_eq!(wheel.pop(start + Duration::from_secs(35 * 365 * 86_400)), None);
        assert_eq!(wheel.pop(start + Duration::from_secs(61 * 365 * 86_400)), Some(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn timers_go_off_when_a_sorted_map_says_so(acts in vec(acts(), 1..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut wheel = Wheel::new(start);
            let mut oracle: BTreeMap<u32, Instant> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Set(id, millis) => {
                        let at = now + Duration::from_millis(millis);
                        wheel.set(id, at);
                        let kept = oracle.entry(id).or_insert(at);
                        // Within one tick both are the same.
                        if wheel.tick_after(at) < wheel.tick_after(*kept) {
                            *kept = at;
                        }
                    }
                    Act::Clear(id) => {
                        wheel.clear(id);
                        oracle.remove(&id);
                    }
                    Act::Wait(millis) => now += Duration::from_millis(millis),
                }
                let due = |at: &Instant| start + Duration::from_nanos(wheel.tick_after(*at) << TICK_BITS) <= now;
                let expected: Vec<_> = oracle.iter().filter(|(_, at)| due(at)).map(|(id, _)| *id).collect();
                oracle.retain(|_, at| !due(at));
                prop_assert_eq!(popped(&mut wheel, now), expected);
                match oracle.values().min() {
                    // A coarse place is looked at before its time, to sort it in anew.
                    Some(first) => prop_assert!(wheel.next().is_some_and(|at| at > now && at < *first + Duration::from_nanos(1 << TICK_BITS))),
                    None => prop_assert_eq!(wheel.next(), None),
                }
            }
        }
    }
}
