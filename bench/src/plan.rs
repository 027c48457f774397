//! What do many groups and many peers cost where nothing is sent: to decide, to take over, to plan?
//!
//! A store with 1,000 groups of 10 peers, in each of which this node runs one, and a store with one group of 10,000. All of
//! it is pure code in one thread; what the kernel then does with the steps is not part of it.

mod connections;

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Context, Result, ensure};
use mesh_core::{
    model::{
        Manifest,
        group::{Access, GroupId, Label, MemberId, NodeId, Org, PeerId, PeerKind, PeerRole},
    },
    plan::{GroupPlan, Placement, PublicKey, plan_groups},
    reconcile::{GroupStep, Step, group_steps},
    registry::{Author, Command, Declaration, PeerSpec, Registry, Revision, Rules, decide, declare},
};
use uuid::Uuid;

use crate::{
    report::Report,
    statistics::{median, minimum},
};

/// So many runs are promised.
pub(crate) const RUNS: usize = 15;

/// Fewer than a YAML file may hold.
const DOCUMENTS: usize = 1_000;
const MTU: u16 = 1_340;
const MEMBER: &str = "app_bench";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this: a gateway in the kernel with so many connections, one of which is changed while another carries packets
    #[arg(long)]
    pub(crate) connections: Option<usize>,

    /// How often each part is timed
    #[arg(long, default_value_t = RUNS)]
    pub(crate) runs: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    if let Some(count) = arguments.connections {
        report.is_partial();
        return connections::run(count, arguments.runs, report);
    }
    connections::FIGURES.iter().for_each(|name| report.excuse(name));
    let mut worlds = Vec::new();
    for (groups, peers) in [(1_000, 10), (1, 10_000)] {
        let mut world = World::new(groups, peers)?;
        let figures = world.measure(arguments.runs)?;
        let name = |what: &str| format!("{groups} x {peers}, {what}");
        report.figure(name("plan"), "ms", figures.plan);
        report.figure(name("join, decided"), "ms", figures.decide);
        report.figure(name("join, taken over"), "ms", figures.apply);
        report.figure(name("join, planned"), "ms", figures.change);
        report.figure(name("steps of a join"), "", figures.steps as f64);
        worlds.push(world);
    }
    report.figure("10000 peers, declared", "ms", declared(10_000)?);
    // Registries and plans of both, and this program.
    report.figure("memory", "MB", resident()?);
    drop(worlds);
    Ok(())
}

/// Milliseconds to find that everything is there as a directory declares it: what each change of a manifest costs.
fn declared(peers: usize) -> Result<f64> {
    let (org, group, mut made) = (Org::default(), "declared", 0);
    let mut text = format!("apiVersion: mesh/v1\nkind: NetworkGroup\nmetadata: {{ name: {group} }}\n");
    let mut declarations = Vec::new();
    for number in 0..peers {
        if number % DOCUMENTS == 0 {
            let manifest = Manifest { file: format!("{number}.yaml"), text: std::mem::take(&mut text) };
            declarations.extend(Declaration::read_all(&[manifest], &org)?);
        }
        let mut key = [2; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let key = PublicKey(key);
        let spec = format!("{{ group: {group}, parentMember: external_all, publicKey: {key} }}");
        text += &format!("---\napiVersion: mesh/v1\nkind: Peer\nmetadata: {{ name: p{number} }}\nspec: {spec}\n");
    }
    let manifest = Manifest { file: "last.yaml".to_owned(), text };
    declarations.extend(Declaration::read_all(&[manifest], &org)?);
    let (mut registry, rules) = (Registry::default(), Rules::default());
    let (change, _) = declare(&registry, &rules, Author::File, &declarations, true, &mut || id(&mut made))?;
    registry.apply(Revision(1), change.into_entries(Revision(1)));
    let start = Instant::now();
    let (change, applied) = declare(&registry, &rules, Author::File, &declarations, true, &mut || id(&mut made))?;
    let time = milliseconds(start);
    ensure!(change.is_empty() && applied.len() == peers + 1, "the same declared again changes something");
    Ok(time)
}

/// Milliseconds, and steps for the engine besides the one that puts them in force.
struct Figures {
    plan: f64,
    decide: f64,
    apply: f64,
    change: f64,
    steps: usize,
}

/// A store, and a node with an instance in each of its groups.
struct World {
    registry: Registry,
    rules: Rules,
    placements: Vec<Placement>,
    plan: GroupPlan,
    made: u128,
}

impl World {
    fn new(groups: usize, peers: usize) -> Result<World> {
        let rules = Rules { prefix_length: if groups > 1 { 22 } else { 16 }, ..Rules::default() };
        let (registry, placements, plan) = Default::default();
        let mut world = World { registry, rules, placements, plan, made: 0 };
        for number in 0..groups {
            let id = GroupId::new(world.id());
            let member = serde_json::from_value(serde_json::json!({ "id": MEMBER }))?;
            world.execute(&Command::CreateGroup {
                id: Some(id.clone()),
                org: Org::default(),
                label: format!("group-{number}").parse()?,
                description: None,
                tags: Default::default(),
                members: vec![member],
                cidr: None,
                prefix_length: None,
                default_access: Access::Allow,
            })?;
            for _ in 0..peers {
                let command = world.join(&id)?;
                world.execute(&command)?;
            }
            let peer = world.registry.groups[&id].peers.keys().next().context("a group without peers")?.clone();
            world.placements.push(Placement { group: id, peer, netns: None, listen_port: 51_820 });
        }
        Ok(world)
    }

    fn measure(&mut self, runs: usize) -> Result<Figures> {
        let nothing = BTreeMap::new();
        let mut times = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            self.plan = plan_groups(&self.registry.groups, &self.placements, MTU, &GroupPlan::default());
            let steps = group_steps(&self.plan.tunnels, &nothing);
            times.push(milliseconds(start));
            ensure!(steps.len() > self.placements.len(), "{} steps", steps.len());
        }
        let mut figures = Figures { plan: minimum(&times), decide: 0.0, apply: 0.0, change: 0.0, steps: 0 };
        let (mut decided, mut applied, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..runs {
            let group = self.placements[run * self.placements.len() / runs].group.clone();
            let command = self.join(&group)?;
            let start = Instant::now();
            let change = self.decide(&command)?;
            decided.push(milliseconds(start));

            // Readers hold the registry as it was.
            let held = self.registry.clone();
            let start = Instant::now();
            let revision = Revision(self.registry.revision.0 + 1);
            let mut next = self.registry.clone();
            next.apply(revision, change.into_entries(revision));
            self.registry = next;
            applied.push(milliseconds(start));
            drop(held);

            let start = Instant::now();
            let next = plan_groups(&self.registry.groups, &self.placements, MTU, &self.plan);
            let steps = group_steps(&next.tunnels, &self.plan.tunnels);
            changed.push(milliseconds(start));
            figures.steps = figures.steps.max(of_peers(&steps)?);
            self.plan = next;
        }
        (figures.decide, figures.apply, figures.change) = (median(&decided), median(&applied), median(&changed));
        Ok(figures)
    }

    fn join(&mut self, group: &GroupId) -> Result<Command> {
        let number = self.id();
        let mut key = [1; 32];
        key[..16].copy_from_slice(number.as_bytes());
        let label: Label = format!("instance-{}", self.made).parse()?;
        let node: NodeId = "hv-bench".parse()?;
        let parent: MemberId = MEMBER.parse()?;
        let peer = PeerSpec {
            id: Some(PeerId::new(number)),
            kind: PeerKind::CleverPeer,
            label: Some(label),
            parent_member: Some(parent),
            role: PeerRole::Server,
            public_key: PublicKey(key),
            ip: Some("192.0.2.1".parse()?),
            port: Some(51_820),
            hostname: None,
            parent_event: None,
            hv: Some(node),
            address: None,
        };
        Ok(Command::CreatePeer { group: group.clone(), peer })
    }

    fn execute(&mut self, command: &Command) -> Result<()> {
        let change = self.decide(command)?;
        let revision = Revision(self.registry.revision.0 + 1);
        self.registry.apply(revision, change.into_entries(revision));
        Ok(())
    }

    fn decide(&mut self, command: &Command) -> Result<mesh_core::registry::Change> {
        let made = &mut self.made;
        decide(&self.registry, &self.rules, Author::Api, command, &mut || id(made)).map_err(Into::into)
    }

    fn id(&mut self) -> Uuid {
        id(&mut self.made)
    }
}

/// Steps that are about peers; all of them must be additions, and nothing else may happen but that they come into force.
fn of_peers(steps: &[Step]) -> Result<usize> {
    let mut count = 0;
    for step in steps {
        match step {
            Step::Group(_, GroupStep::AddPeer(..)) => count += 1,
            Step::Group(_, GroupStep::Route) => {}
            other => anyhow::bail!("a join does more than to add a peer: {other}"),
        }
    }
    Ok(count)
}

fn id(made: &mut u128) -> Uuid {
    *made += 1;
    // Neighbours in time are no neighbours in the order of ids.
    uuid::Builder::from_random_bytes(made.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
        .into_uuid()
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Megabytes that this process has in memory.
fn resident() -> Result<f64> {
    resident_of("self")
}

fn resident_of(process: &str) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS of the process")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{line:?} as kB"))?;
    Ok(kilobytes / 1e3)
}
