//! What holds of the whole pipeline, over generated frames.

use std::collections::BTreeMap;

use super::*;
use crate::{
    frame::SliceFrame,
    testkit::{FixedFib, Generated, Generator, Kind, Sum, World, sums},
};

const FRAMES: u64 = 1_200_000;
const WIRE: IfIndex = IfIndex(4);
const LINK: Link = Link { dst: [2, 0, 0, 0, 0, 9], src: [2, 0, 0, 0, 0, 8] };
const HEADROOM: usize = 64;

/// A verdict without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Pass,
    Passed,
    Redirected,
    Replied,
    Dropped,
}

#[test]
fn generated_frames_keep_every_checksum_and_never_panic() {
    let world = World::new(WIRE);
    let mut generator = Generator::new(&world, 1);
    let mut seen: BTreeMap<(Kind, Outcome), u64> = BTreeMap::new();
    let mut reasons: BTreeMap<DropReason, u64> = BTreeMap::new();
    let mut buffer = Vec::new();
    for number in 0..FRAMES {
        let generated = generator.frame();
        let fib = fib(number);
        buffer.clear();
        buffer.resize(HEADROOM, 0);
        buffer.extend_from_slice(&generated.frame);
        let mut frame = SliceFrame::with_headroom(&mut buffer, HEADROOM);
        let verdict = ingress(&mut frame, generated.l3, generated.door, &world.tables, &fib);
        let outcome = match verdict {
            KernelVerdict::Pass => Outcome::Pass,
            KernelVerdict::PassRewritten { .. } => Outcome::Passed,
            KernelVerdict::Redirect { .. } => Outcome::Redirected,
            KernelVerdict::Reply(_) => Outcome::Replied,
            KernelVerdict::Drop(reason) => {
                *reasons.entry(reason).or_default() += 1;
                Outcome::Dropped
            }
        };
        *seen.entry((generated.kind, outcome)).or_default() += 1;
        check(&generated, outcome, frame.bytes(), fib.route);
    }
    covers(&seen, &reasons);
}

/// Every answer of the routing table in turn, over links that take 1,300 bytes.
fn fib(number: u64) -> FixedFib {
    let route = match number % 11 {
        0 => Route::Local,
        1 => Route::NeedsKernel,
        2 => Route::Unreachable,
        3 => Route::Prohibited,
        4 => Route::Redirect { interface: IfIndex(9), link: None },
        _ => Route::Redirect { interface: IfIndex(9), link: Some(LINK) },
    };
    FixedFib { mtu: 1_300, route, onward: if number.is_multiple_of(3) { Onward::PassUp } else { Onward::Redirect } }
}

fn check(generated: &Generated, outcome: Outcome, after: &[u8], route: Route) {
    let before = &generated.frame[..];
    match outcome {
        Outcome::Pass | Outcome::Dropped => assert_eq!(after, before, "untouched: {generated:?}"),
        // Random bytes may be read in more than one way: it is enough that nothing panics.
        Outcome::Passed | Outcome::Redirected if generated.kind == Kind::Garbage => {}
        Outcome::Passed | Outcome::Redirected => {
            let rest = &generated.rest[..];
            let (was, is) = (sums(&before[generated.l3..], rest), sums(&after[generated.l3..], rest));
            assert_eq!(was.len(), is.len(), "{generated:?}");
            for (was, is) in was.iter().zip(&is) {
                kept(generated, was, is);
            }
            check_hop(generated, outcome, after, route);
        }
        Outcome::Replied => check_reply(generated, after),
    }
}

/// A true checksum is the one from scratch, to the bit; a wrong one is as wrong as before.
fn kept(generated: &Generated, was: &Sum, is: &Sum) {
    assert_eq!((was.of, was.error), (is.of, is.error), "{generated:?}");
    if generated.true_sums {
        assert_eq!(was.error, 0, "{was:?} of {generated:?}");
        assert_eq!(is.found, is.computed, "{is:?} of {generated:?}");
    }
}

/// A redirect is a hop; what is passed up is still to take it.
fn check_hop(generated: &Generated, outcome: Outcome, after: &[u8], route: Route) {
    let l3 = generated.l3;
    let at = l3 + if generated.v6 { 7 } else { 8 };
    let hops = u8::from(outcome == Outcome::Redirected);
    assert_eq!(generated.frame[at] - hops, after[at], "{generated:?}");
    let linked = matches!(route, Route::Redirect { link: Some(_), .. }) && outcome == Outcome::Redirected;
    if l3 == ethernet::LEN && linked {
        assert_eq!((&after[..6], &after[6..12]), (&LINK.dst[..], &LINK.src[..]));
    } else {
        assert_eq!(after[..l3], generated.frame[..l3]);
    }
}

/// The error is sound in itself and quotes what came.
fn check_reply(generated: &Generated, after: &[u8]) {
    let (l3, before) = (generated.l3, &generated.frame);
    let (quote, addresses) = if generated.v6 { (l3 + 48, 8..24) } else { (l3 + 28, 12..16) };
    assert_eq!(after[quote..], before[l3..l3 + after.len() - quote], "{generated:?}");
    for sum in sums(&after[l3..], &[]).iter().take_while(|sum| !sum.of.starts_with("quoted")) {
        assert_eq!(sum.found, sum.computed, "{sum:?} of the error about {generated:?}");
    }
    let width = addresses.len();
    let to = l3 + addresses.end..l3 + addresses.end + width;
    assert_eq!(after[to], before[l3 + addresses.start..l3 + addresses.end], "to the sender: {generated:?}");
    if l3 == ethernet::LEN {
        assert_eq!((&after[..6], &after[6..12], &after[12..14]), (&before[6..12], &before[..6], &before[12..14]));
    }
}

/// The generator reaches every verdict that a kind can have, and the data path every reason that a hook can have.
fn covers(seen: &BTreeMap<(Kind, Outcome), u64>, reasons: &BTreeMap<DropReason, u64>) {
    const OFTEN: u64 = 200;
    let count = |kind, outcome| seen.get(&(kind, outcome)).copied().unwrap_or(0);
    for kind in Kind::ALL {
        assert!(count(kind, Outcome::Pass) > OFTEN, "{kind:?} passes: {seen:?}");
        assert!(count(kind, Outcome::Dropped) > OFTEN, "{kind:?} is dropped: {seen:?}");
        let replied = count(kind, Outcome::Replied);
        match kind {
            Kind::Error | Kind::ErrorCut | Kind::LaterFragment => assert_eq!(replied, 0, "{kind:?} is answered"),
            Kind::Truncated => {}
            _ => assert!(replied > OFTEN, "{kind:?} is answered: {seen:?}"),
        }
        if kind != Kind::Truncated {
            assert!(count(kind, Outcome::Passed) > OFTEN, "{kind:?} is rewritten: {seen:?}");
            assert!(count(kind, Outcome::Redirected) > OFTEN, "{kind:?} is redirected: {seen:?}");
        }
    }
    for reason in DropReason::ALL {
        let others = match reason {
            DropReason::NoSession | DropReason::Unauthenticated | DropReason::Congested => true,
            // Not a packet at all: passes a kernel hook.
            DropReason::UnknownVersion => true,
            // Between members of a network group, in the daemon.
            DropReason::NotAllowed | DropReason::FragmentWithoutPorts => true,
            _ => false,
        };
        assert_eq!(reasons.contains_key(&reason), !others, "{reason:?}: {reasons:?}");
    }
}
