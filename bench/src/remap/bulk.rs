//! One TCP stream from a workload through its node to a remote, with segmentation offloads as veth has them.

use std::{fmt, process::Stdio, thread, time::Duration};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
    process,
};

use super::programs;
use crate::processors::Processors;

/// A workload, its node, and a remote behind one cable that knows it by both its names.
#[derive(Debug)]
pub(super) struct Path {
    workload: Namespace,
    node: Namespace,
    remote: Namespace,
}

const REMOTE: &str = "10.102.0.2";

/// What came of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) gigabits_per_second: f64,
    /// CPU time of the whole machine, both ends of the stream included.
    pub(super) cpu_seconds_per_gigabit: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} Gbit/s at {:.3} s/Gbit", self.gigabits_per_second, self.cpu_seconds_per_gigabit)
    }
}

impl Path {
    pub(super) fn lay_out(lab: &Lab) -> Result<Path> {
        let path = Path {
            workload: lab.namespace("workload")?,
            node: lab.namespace("node")?,
            remote: lab.namespace("remote")?,
        };
        let (workload, node, remote) = (&path.workload, &path.node, &path.remote);
        link::veth(Port::new(workload, "eth0"), Port::new(node, "pods0"))?;
        link::veth(Port::new(remote, "eth0"), Port::new(node, "wan0"))?;
        link::address(Port::new(workload, "eth0"), &["10.243.1.2/24"])?;
        link::address(Port::new(node, "pods0"), &["10.243.1.1/24"])?;
        link::address(Port::new(node, "wan0"), &["10.102.0.1/24"])?;
        link::address(Port::new(remote, "eth0"), &["10.102.0.2/24"])?;
        workload.ip(&["route", "add", "default", "via", "10.243.1.1"])?;
        for ours in ["10.243.0.0/16", "10.101.0.0/16"] {
            remote.ip(&["route", "add", ours, "via", "10.102.0.1"])?;
        }
        node.sysctl("net/ipv4/ip_forward", "1")?;
        for key in ["all", "pods0", "wan0"] {
            node.sysctl(&format!("net/ipv4/conf/{key}/rp_filter"), "0")?;
        }
        Ok(path)
    }

    /// Remaps both directions until the programs are dropped.
    pub(super) fn remap(&self, object: &[u8]) -> Result<Ebpf> {
        self.node.enter(|| {
            let mut bpf = programs::open(object, &[], None)?;
            for (name, device) in [("tc_workload", "pods0"), ("tc_underlay", "wan0")] {
                let program = bpf.program_mut(name).with_context(|| format!("no program {name}"))?;
                let program: &mut SchedClassifier = program.try_into()?;
                program.load()?;
                program.attach(device, TcAttachType::Ingress).with_context(|| format!("attach to {device}"))?;
            }
            Ok(bpf)
        })
    }

    /// What arrived of one stream.
    pub(super) fn stream(&self, seconds: u32) -> Result<Measured> {
        let mut serve = self.remote.command("iperf3");
        serve.args(["-s", "-1"]).stdout(Stdio::null());
        let mut server = serve.spawn().context("start iperf3 -s")?;
        let result = self.transfer(seconds);
        // A server that got its one client has ended.
        let _ = server.kill();
        server.wait().context("end iperf3 -s")?;
        result
    }

    fn transfer(&self, seconds: u32) -> Result<Measured> {
        // iperf3 gives no sign when it listens.
        thread::sleep(Duration::from_millis(300));
        let mut client = self.workload.command("iperf3");
        client.args(["-c", REMOTE, "-C", "cubic", "-J", "-t", &seconds.to_string()]);
        let before = Processors::now()?;
        let json = process::output(&mut client, Duration::from_secs(u64::from(seconds) + 20))?;
        let busy = (Processors::now()? - before).busy_seconds();
        let json: serde_json::Value = serde_json::from_str(&json).context("what iperf3 -J printed")?;
        let received = &json["end"]["sum_received"];
        let figure = |name: &str| received[name].as_f64().with_context(|| format!("iperf3 did not say {name}"));
        Ok(Measured {
            gigabits_per_second: figure("bits_per_second")? / 1e9,
            cpu_seconds_per_gigabit: busy / (figure("bytes")? * 8.0 / 1e9),
        })
    }
}
