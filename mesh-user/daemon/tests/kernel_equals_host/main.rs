//! The programs in the kernel against the same functions on the host: generated frames through `BPF_PROG_TEST_RUN` must get
//! the same verdict and the same bytes, for XDP and for tc, whatever the routing table answers.
//!
//! Needs root: it loads programs and makes a namespace.

mod live;
mod programs;
mod routes;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use mesh_common::{
    datapath::{
        Ingress,
        forward::{self, KernelVerdict},
    },
    frame::SliceFrame,
    ids::IfIndex,
    testkit::{FixedFib, Generated, Generator, Kind, World},
};
use mesh_lab::Lab;

use programs::{Programs, RanAs};
use routes::Case;

/// `BPF_PROG_TEST_RUN` says that frames come in by the loopback device of its namespace.
const LOOPBACK: IfIndex = IfIndex(1);
/// Of each case; six cases make more than a thousand frames for each hook.
const FRAMES: usize = 240;
/// What a reply needs in front: an IPv6 and an ICMP header.
const HEADROOM: usize = 64;
/// Room for a frame and a reply's headers.
const BUFFER: usize = 16_384;

#[test]
fn the_kernel_judges_and_rewrites_as_the_host_does() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test loads BPF programs: run it as root");
    let lab = Lab::new()?;
    let mut seen = Seen::default();
    for (number, case) in Case::ALL.into_iter().enumerate() {
        // A namespace for each case: routes of one would shine through in the next.
        let namespace = lab.namespace(&format!("case{number}"))?;
        let device = case.prepare(&namespace)?;
        namespace.enter(|| compare(case, device, number as u64, &mut seen)).with_context(|| format!("{case:?}"))?;
    }
    seen.covers_everything();
    Ok(())
}

/// What is flooded to a host, or sent to a group, is not for it to rewrite, to answer or to drop.
#[test]
fn frames_for_others_pass_as_they_came() -> Result<()> {
    const OTHERS: [[u8; 6]; 5] =
        [[2, 0, 0, 0, 0, 3], [6, 0, 0, 0, 0, 1], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];
    let lab = Lab::new()?;
    let namespace = lab.namespace("others")?;
    let device = Case::Onward.prepare(&namespace)?;
    namespace.enter(|| {
        let world = World::new(LOOPBACK);
        let programs = Programs::load(&world.tables, Case::Onward.onward(), Some(device))?;
        let mut generator = Generator::new(&world, 99);
        let mut judged: BTreeMap<(&str, bool), usize> = BTreeMap::new();
        for number in 0..FRAMES {
            let door = [Ingress::Workload, Ingress::Underlay(LOOPBACK)][number % 2];
            let generated = generator.frame_for(door);
            for hook in ["xdp", "tc"] {
                let Some(ours) = programs.run(hook, door, &generated.frame, BUFFER)? else { continue };
                let is_judged = ours.ran_as != RanAs::Pass || ours.bytes != generated.frame;
                *judged.entry((hook, door == Ingress::Workload)).or_default() += usize::from(is_judged);
                for mac in OTHERS {
                    let mut frame = generated.frame.clone();
                    frame[..6].copy_from_slice(&mac);
                    let ran = programs.run(hook, door, &frame, BUFFER)?.context("the same frame was taken before")?;
                    ensure!(ran.ran_as == RanAs::Pass, "{hook}, to {mac:x?}: {:?} of {generated:?}", ran.ran_as);
                    ensure!(ran.bytes == frame, "{hook}, to {mac:x?}: rewritten: {generated:?}");
                }
            }
        }
        for hook in ["xdp", "tc"] {
            for of_workloads in [false, true] {
                let judged = judged[&(hook, of_workloads)];
                ensure!(judged > FRAMES / 4, "{hook}, of workloads: {of_workloads}: only {judged} frames were ours");
            }
        }
        Ok(())
    })
}

/// What was compared.
#[derive(Default)]
struct Seen {
    /// By hook, door of workloads or of an underlay, and IP version.
    kinds: BTreeMap<(&'static str, bool, bool), BTreeSet<Kind>>,
    verdicts: BTreeMap<&'static str, BTreeSet<&'static str>>,
    frames: BTreeMap<&'static str, usize>,
    /// What the kernel refuses to run at all: less than an IP header, more than a page.
    refused: usize,
}

impl Seen {
    fn note(&mut self, hook: &'static str, generated: &Generated, verdict: KernelVerdict) {
        let of_workloads = generated.door == Ingress::Workload;
        self.kinds.entry((hook, of_workloads, generated.v6)).or_default().insert(generated.kind);
        self.verdicts.entry(hook).or_default().insert(match verdict {
            KernelVerdict::Pass => "pass",
            KernelVerdict::PassRewritten { .. } => "pass-rewritten",
            KernelVerdict::Redirect { .. } => "redirect",
            KernelVerdict::Reply(_) => "reply",
            KernelVerdict::Drop(_) => "drop",
        });
        *self.frames.entry(hook).or_default() += 1;
    }

    fn covers_everything(&self) {
        for hook in ["xdp", "tc"] {
            assert!(self.frames[hook] >= 1_000, "{hook}: only {} frames, {} refused", self.frames[hook], self.refused);
            for (of_workloads, v6) in [(false, false), (false, true), (true, false), (true, true)] {
                let seen = &self.kinds[&(hook, of_workloads, v6)];
                let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !seen.contains(kind)).collect();
                assert_eq!(missing, [], "{hook}, of workloads: {of_workloads}, IPv6: {v6}: never saw these");
            }
            let verdicts = ["drop", "pass", "pass-rewritten", "redirect", "reply"];
            assert_eq!(self.verdicts[hook], BTreeSet::from(verdicts), "{hook}");
        }
        assert!(self.refused < self.frames["xdp"] / 10, "the kernel refused {} frames", self.refused);
    }
}

/// Runs frames of one case through the programs of both hooks and through the host's functions.
fn compare(case: Case, device: IfIndex, seed: u64, seen: &mut Seen) -> Result<()> {
    let world = World::new(LOOPBACK);
    let programs = Programs::load(&world.tables, case.onward(), case.takes_redirects().then_some(device))?;
    let mut generator = Generator::new(&world, 100 + seed);
    for number in 0..FRAMES {
        let door = [Ingress::Workload, Ingress::Underlay(LOOPBACK)][number % 2];
        let generated = generator.frame_for(door);
        for hook in ["xdp", "tc"] {
            let fib = FixedFib { mtu: routes::MTU, route: case.route(hook, device), onward: case.onward() };
            let Some(ran) = programs.run(hook, door, &generated.frame, BUFFER)? else {
                seen.refused += 1;
                continue;
            };
            let (verdict, bytes) = on_the_host(&world, &generated, fib);
            assert_eq!(ran.ran_as, RanAs::from(verdict), "{hook}, {case:?}: host says {verdict:?} of {generated:?}");
            assert_eq!(ran.bytes, bytes, "{hook}, {case:?}: {verdict:?} of {generated:?}");
            seen.note(hook, &generated, verdict);
        }
    }
    Ok(())
}

fn on_the_host(world: &World, generated: &Generated, fib: FixedFib) -> (KernelVerdict, Vec<u8>) {
    let mut buffer = [&[0; HEADROOM][..], &generated.frame].concat();
    let mut frame = SliceFrame::with_headroom(&mut buffer, HEADROOM);
    let verdict = forward::ingress(&mut frame, generated.l3, generated.door, &world.tables, &fib);
    (verdict, frame.bytes().to_vec())
}
