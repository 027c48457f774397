//! Is the device under load, and may this source shake hands while it is?
//!
//! Nothing here is allocated before the first flood, and nothing grows in one.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    limits::{HANDSHAKES_PER_SECOND, LOAD_LASTS, PER_SOURCE_AT_ONCE, PER_SOURCE_PER_SECOND},
    noise::primitives::{Key, mac},
    random::Random,
};

/// Sources share a bucket by a keyed hash, which nobody outside can aim. A power of two.
const BUCKETS: usize = 8_192;

/// Who is limited as one: an IPv4 address, or an IPv6 /64, which one host has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Source::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Source::V4(bytes) => bytes,
            Source::V6(bytes) => bytes,
        }
    }
}

/// Counts what all handshakes of a device cost.
pub(super) struct Load {
    tokens: Tokens,
    cautious_until: Option<Instant>,
    per_source: Option<PerSource>,
    /// How many live sessions a source has: these are never limited.
    known: BTreeMap<Source, u32>,
}

struct PerSource {
    key: Key,
    buckets: Box<[Tokens]>,
}

impl Load {
    pub(super) fn new(now: Instant) -> Load {
        let tokens = Tokens::full(now, HANDSHAKES_PER_SECOND);
        Load { tokens, cautious_until: None, per_source: None, known: BTreeMap::new() }
    }

    /// Counts a handshake message. `true`: the device is under load, and the sender has to prove its address.
    pub(super) fn count(&mut self, now: Instant) -> bool {
        if !self.tokens.take(now, HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SECOND) {
            self.cautious_until = Some(now + LOAD_LASTS);
        }
        self.cautious_until.is_some_and(|until| now < until)
    }

    /// Whether a source that proved its address may shake hands now.
    pub(super) fn admits(&mut self, now: Instant, source: Source, random: &mut Random) -> bool {
        if self.known.contains_key(&source) {
            return true;
        }
        let per_source = self.per_source.get_or_insert_with(|| PerSource {
            key: random.bytes(),
            buckets: vec![Tokens::full(now, PER_SOURCE_AT_ONCE); BUCKETS].into_boxed_slice(),
        });
        let [low, high, ..] = mac(&*per_source.key, &[source.bytes()]);
        let bucket = usize::from(u16::from_le_bytes([low, high])) % BUCKETS;
        per_source.buckets[bucket].take(now, PER_SOURCE_PER_SECOND, PER_SOURCE_AT_ONCE)
    }

    /// A session with a peer at this source began.
    pub(super) fn learn(&mut self, source: Source) {
        *self.known.entry(source).or_insert(0) += 1;
    }

    /// A session with a peer at this source ended, or went elsewhere.
    pub(super) fn forget(&mut self, source: Source) {
        if let Some(count) = self.known.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.known.remove(&source);
            }
        }
    }
}

/// A token bucket.
#[derive(Clone, Copy)]
struct Tokens {
    left: u32,
    /// Up to when tokens were handed out.
    since: Instant,
}

impl Tokens {
    fn full(now: Instant, limit: u32) -> Tokens {
        Tokens { left: limit, since: now }
    }

    fn take(&mut self, now: Instant, per_second: u32, limit: u32) -> bool {
        let each = Duration::from_secs(1) / per_second;
        let earned = now.saturating_duration_since(self.since).as_nanos() / each.as_nanos();
        match u32::try_from(earned) {
            Ok(earned) if self.left + earned.min(limit) < limit => {
                self.left += earned;
                self.since += each * earned;
            }
            _ => *self = Tokens::full(now, limit),
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_under_load_while_more_comes_than_it_takes() {
        let start = Instant::now();
        let mut load = Load::new(start);
        assert!((0..HANDSHAKES_PER_SECOND).all(|_| !load.count(start)));
        assert!(load.count(start));
        assert!(load.count(start + LOAD_LASTS / 2), "it stays cautious");
        assert!(!load.count(start + LOAD_LASTS * 3));
        let steady = (0..5 * HANDSHAKES_PER_SECOND)
            .map(|number| start + LOAD_LASTS * 3 + Duration::from_secs(1) * number / HANDSHAKES_PER_SECOND);
        assert!(steady.into_iter().all(|at| !load.count(at)), "what it takes is no load");
    }

    #[test]
    fn a_source_is_limited_unless_it_has_a_session() {
        let start = Instant::now();
        let (mut load, mut random) = (Load::new(start), Random::new([1; 32]));
        let of = |address: &str| Source::of(address.parse().unwrap());
        let mut admitted = |source, seconds| {
            let at = start + Duration::from_secs(seconds);
            (0..100).filter(|_| load.admits(at, source, &mut random)).count()
        };
        assert_eq!(admitted(of("192.0.2.1"), 0), PER_SOURCE_AT_ONCE as usize);
        assert_eq!(admitted(of("2001:db8::1"), 0), PER_SOURCE_AT_ONCE as usize);
        assert_eq!(admitted(of("2001:db8::2"), 0), 0, "the same /64");
        assert_eq!(admitted(of("2001:db8:0:1::2"), 0), PER_SOURCE_AT_ONCE as usize);
        assert_eq!(admitted(of("192.0.2.1"), 1), PER_SOURCE_AT_ONCE as usize, "later there is more");
        load.learn(of("192.0.2.1"));
        load.learn(of("192.0.2.1"));
        load.forget(of("192.0.2.1"));
        assert!((0..100).all(|_| load.admits(start, of("::ffff:192.0.2.1"), &mut random)));
        load.forget(of("192.0.2.1"));
        assert!(!(0..100).all(|_| load.admits(start, of("192.0.2.1"), &mut random)));
    }
}
