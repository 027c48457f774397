//! What does one change cost a gateway with many connections, and does another connection notice?
//!
//! A real daemon in a namespace with a gateway server for each remote. One remote plays, and sends packets at a steady rate, while
//! others are changed, added and removed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mesh_core::plan::PublicKey;
use mesh_lab::{
    Lab, interrupt,
    link::{self, Port},
    node::{Node, Programs},
    traffic::{End, stream::Stream},
};

use super::resident_of;
use crate::{report::Report, statistics::median};

/// What the budgets know of this part.
pub(super) const FIGURES: [&str; 5] = [
    "connection changed, in force",
    "connection added, in force",
    "connection removed, in force",
    "packets lost on another connection",
    "memory of the gateway",
];

/// Packets a second on the connection that is watched.
const RATE: u32 = 1_000;
const FIRST_PORT: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
/// What the daemon logs when a change is in force.
const IN_FORCE: &str = "what is wanted is in force";

pub(super) fn run(count: usize, runs: usize, report: &mut Report) -> Result<()> {
    ensure!((2..4_000).contains(&count), "{count} connections: 2 to 3999 can be played");
    let program = std::env::current_exe().context("where this program is")?;
    let programs = Programs::in_directory(program.parent().context("this program is in no directory")?)?;
    let lab = Lab::new()?;
    let scene = Scene::start(&lab, count, &programs)?;
    let stream = Stream::start(&scene.far_pod, &scene.near_pod, "10.243.0.10".parse()?, RATE)?;
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for run in 0..runs.div_ceil(3).max(3) {
        let changed = 1 + run % (count - 1);
        times[0].push(scene.change(&format!("remote-{changed}"), Some(&remote(changed, 1_300 + run)))?);
        times[1].push(scene.change("new", Some(&remote(count, 1_340)))?);
        times[2].push(scene.change("new", None)?);
    }
    let tally = stream.stop()?;
    ensure!(tally.sent > 1_000, "only {} packets were sent meanwhile", tally.sent);
    for (name, times) in FIGURES.iter().zip(&times) {
        report.figure(*name, "ms", median(times));
    }
    report.figure(FIGURES[3], "", tally.lost as f64);
    let pid = scene.gateway.pid().context("the daemon runs")?;
    report.figure(FIGURES[4], "MB", resident_of(&pid.to_string())?);
    Ok(())
}

/// Fields are dropped in order: daemons end before their namespaces.
struct Scene {
    gateway: Node,
    _far: Node,
    far_pod: End,
    near_pod: End,
}

impl Scene {
    fn start(lab: &Lab, count: usize, programs: &Programs) -> Result<Scene> {
        let (near, far) = (lab.namespace("gateway")?, lab.namespace("far")?);
        link::veth(Port::new(&near, "und0"), Port::new(&far, "und0"))?;
        link::address(Port::new(&near, "und0"), &["203.0.113.1/24"])?;
        link::address(Port::new(&far, "und0"), &["203.0.113.2/24"])?;
        link::address(Port::new(&near, "lo"), &["10.243.0.10/32"])?;
        link::address(Port::new(&far, "lo"), &["172.16.0.10/32"])?;
        let mut gateway = Node::new(lab, "gateway", &near, programs)?;
        let mut remote_node = Node::new(lab, "far", &far, programs)?;
        gateway.configure(&settings("near", "10.243.0.0/16", "10.242.0.0/16"))?;
        remote_node.configure(&settings("remote-0", "172.16.0.0/24", "10.0.0.0/24"))?;
        let keys = [&gateway, &remote_node].map(mesh_lab::demo::make_key);
        let [near_key, far_key] = keys;
        gateway.put_manifest("remote-0", &manifest(0, 1_340, &far_key?))?;
        for number in 1..count {
            gateway.put_manifest(&format!("remote-{number}"), &remote(number, 1_340))?;
        }
        remote_node.put_manifest("near", &client(&near_key?))?;
        gateway.spawn()?;
        // So many devices take longer than a start is given as a rule.
        let ready = || Ok(gateway.meshctl(&["status", "--check", "ready"])?.status.success().then_some(()));
        interrupt::wait_for("the gateway to be ready", PATIENCE, PAUSE, ready).with_context(|| gateway.tail(20))?;
        remote_node.start()?;
        remote_node.wait_connected("near", PATIENCE)?;
        let (far_pod, near_pod) = (
            End::new(&far, "172.16.0.10".parse::<std::net::IpAddr>()?),
            End::new(&near, "10.243.0.10".parse::<std::net::IpAddr>()?),
        );
        Ok(Scene { gateway, _far: remote_node, far_pod, near_pod })
    }

    /// Puts or removes a manifest; milliseconds from its reading to the last step, as the daemon says.
    fn change(&self, name: &str, text: Option<&str>) -> Result<f64> {
        let before = self.in_force()?.len();
        match text {
            Some(text) => self.gateway.put_manifest(name, text)?,
            None => self.gateway.remove_manifest(name)?,
        }
        let start = Instant::now();
        let told = || Ok(self.in_force()?.get(before).copied());
        let time = interrupt::wait_for("the change to be in force", PATIENCE, PAUSE, told)
            .with_context(|| format!("{name} after {:?}\n{}", start.elapsed(), self.gateway.tail(20)))?;
        // What the kernel tells of the change is looked at too, before the next one.
        std::thread::sleep(Duration::from_millis(400));
        Ok(time)
    }

    fn in_force(&self) -> Result<Vec<f64>> {
        let log = self.gateway.log()?;
        let lines = log.lines().filter(|line| line.contains(IN_FORCE));
        let number = |line: &str| -> Result<f64> {
            let rest = line.split("milliseconds=").nth(1).context("a duration in the line")?;
            rest.split_whitespace().next().unwrap_or_default().parse().with_context(|| line.to_owned())
        };
        lines.map(number).collect()
    }
}

fn settings(id: &str, pod: &str, external: &str) -> String {
    format!("cluster_id = \"{id}\"\n[cidr]\npod = [\"{pod}\"]\nexternal = [\"{external}\"]\n[dns]\nenabled = false\n")
}

/// A remote that nobody plays.
fn remote(number: usize, mtu: usize) -> String {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    manifest(number, mtu, &PublicKey(key).to_string())
}

fn manifest(number: usize, mtu: usize, key: &str) -> String {
    let (high, low) = (number / 256, number % 256);
    let head = |kind: &str| head(kind, &format!("remote-{number}"));
    format!(
        "{}spec:\n  remote:\n    cidr: {{ pod: 172.{}.{low}.0/24, external: 10.{high}.{low}.0/24 }}\n---\n\
         {}spec:\n  endpoint: {{ port: {} }}\n  mtu: {mtu}\n---\n{}spec:\n  publicKey: {key}\n",
        head("Configuration"),
        16 + high,
        head("GatewayServer"),
        FIRST_PORT + number,
        head("PublicKey"),
    )
}

fn client(key: &str) -> String {
    let head = |kind: &str| head(kind, "near");
    format!(
        "{}spec:\n  remote:\n    cidr: {{ pod: 10.243.0.0/16, external: 10.242.0.0/16 }}\n---\n{}spec:\n  endpoint: {{ \
         addresses: [203.0.113.1], port: {FIRST_PORT}, protocol: UDP }}\n---\n{}spec:\n  publicKey: {key}\n",
        head("Configuration"),
        head("GatewayClient"),
        head("PublicKey"),
    )
}

fn head(kind: &str, remote: &str) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: {kind}\nmetadata:\n  name: {remote}\n  labels:\n    \
         liqo.io/remote-cluster-id: {remote}\n"
    )
}
