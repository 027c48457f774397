//! Clusters that nobody has connected yet, and command lines as the shells of their admins have them.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Cables, Network, Site, UNDERLAY_MTU, check::pods},
    interrupt,
    node::{Node, Programs},
    process::{self, Finished},
    traffic,
};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// As contexts are called.
const NAMES: [&str; 3] = ["one", "two", "three"];

pub(crate) struct Pair {
    pub(crate) network: Network,
    programs: Programs,
    /// Where the shells are.
    pub(crate) home: PathBuf,
    // Last, so that it is dropped last: it removes the namespaces.
    _lab: Lab,
}

impl Pair {
    /// Clusters cl01, cl02, ... with the same CIDRs, their daemons running. Each admin knows all daemons.
    pub(crate) fn start(count: u8) -> Result<Pair> {
        let lab = Lab::new()?;
        let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
        let mut network = Network::new(&lab, "wire", UNDERLAY_MTU)?;
        for number in 1..=count {
            network.add(&lab, Site::new(number), Cables::Virtual, UNDERLAY_MTU, &programs)?;
        }
        for cluster in &mut network.clusters {
            cluster.node.start()?;
        }
        let home = lab.directory().join("home");
        fs::create_dir_all(&home)?;
        let pair = Pair { network, programs, home, _lab: lab };
        (0..count.into()).try_for_each(|admin| pair.know(admin, 0..count.into()))?;
        Ok(pair)
    }

    /// Which daemons an admin has contexts of; the own one is the current.
    pub(crate) fn know(&self, admin: usize, clusters: impl IntoIterator<Item = usize>) -> Result<()> {
        let mut text = format!("current = {:?}\n", NAMES[admin]);
        for cluster in clusters {
            let server = format!("unix://{}", self.node(cluster).socket().display());
            text += &format!("[context.{}]\nserver = {server:?}\n", NAMES[cluster]);
        }
        Ok(fs::write(self.contexts(admin), text)?)
    }

    fn contexts(&self, admin: usize) -> PathBuf {
        self.home.join(format!("{}.toml", NAMES[admin]))
    }

    pub(crate) fn node(&self, cluster: usize) -> &Node {
        &self.network.clusters[cluster].node
    }

    pub(crate) fn command(&self, admin: usize, line: &str) -> Result<Command> {
        let programs = self.programs.meshctl.parent().context("meshctl is in no directory")?;
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).current_dir(&self.home);
        command.env("PATH", path).env("MESH_CONTEXTS", self.contexts(admin)).env_remove("MESHD_SOCKET");
        command.env("CLUSTER_1_KUBECONFIG_PATH", self.contexts(0)).env("CLUSTER_2_KUBECONFIG_PATH", self.contexts(1));
        Ok(command)
    }

    /// What the shell of an admin makes of a line, whatever its exit code.
    pub(crate) fn shell(&self, admin: usize, line: &str) -> Result<Finished> {
        process::finish(&mut self.command(admin, line)?, PATIENCE)
    }

    /// The same; it must succeed.
    pub(crate) fn done(&self, admin: usize, line: &str) -> Result<String> {
        let finished = self.shell(admin, line)?;
        ensure!(finished.status.success(), "{line}: {finished:?}\n{}", self.network.tails());
        Ok(finished.stdout)
    }

    /// The same; it must end with this code. What it said to people.
    pub(crate) fn fails(&self, admin: usize, line: &str, code: i32) -> Result<String> {
        let finished = self.shell(admin, line)?;
        ensure!(finished.status.code() == Some(code), "{line}: {finished:?}\n{}", self.network.tails());
        Ok(finished.stderr)
    }

    pub(crate) fn json(&self, admin: usize, line: &str) -> Result<Value> {
        let text = self.done(admin, line)?;
        serde_json::from_str(&text).with_context(|| format!("{line} printed\n{text}"))
    }

    /// Pods of each reach pods of the other; what the first calls the pods of the second.
    pub(crate) fn reach(&self, from: usize, to: usize) -> Result<String> {
        for (from, to) in [(from, to), (to, from)] {
            let direction = self.network.direction(from, to, false)?;
            let (from, _, dial) = pods(&direction, &mut 11)?;
            interrupt::wait_for("pods to reach each other", Duration::from_secs(20), PAUSE, || {
                Ok(traffic::answers_ping(&from, dial, 1)?.then_some(()))
            })
            .with_context(|| self.network.tails())?;
        }
        self.called(from, to)
    }

    pub(crate) fn called(&self, from: usize, to: usize) -> Result<String> {
        let remote = self.network.clusters[to].id();
        let shown = self.json(from, &format!("meshctl info peer {remote} --get network.cidr.remapped.pod -o json"))?;
        Ok(shown[0].as_str().with_context(|| format!("no name in {shown}"))?.to_owned())
    }

    /// Links, addresses, routes and rules of a gateway. The kernel's own IPv6 addresses and routes come when it likes.
    pub(crate) fn kernel(&self, cluster: usize) -> Result<String> {
        let namespace = self.network.clusters[cluster].gateway();
        let mut text = String::new();
        for arguments in [
            &["-o", "link", "show"][..],
            &["-o", "address", "show"],
            &["route", "show", "table", "all"],
            &["-6", "route", "show", "table", "all"],
            &["rule", "show"],
        ] {
            let printed = namespace.ip(arguments)?;
            let lines = printed.lines().filter(|line| !line.contains("fe80::") && !line.contains("multicast ff00::"));
            lines.for_each(|line| text.extend([line.trim(), "\n"]));
        }
        Ok(text)
    }
}
