//! TCP through a tunnel: how fast it is, and how much processor time it takes.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result};
use mesh_lab::{Namespace, interrupt, process};

use super::{connection::Connection, cost::Spent};

#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    bits_per_second: f64,
    bytes: f64,
    spent: Spent,
}

impl Measured {
    pub(super) fn gigabits_per_second(&self) -> f64 {
        self.bits_per_second / 1e9
    }

    /// Seconds of both daemons for a gigabyte that arrived.
    pub(super) fn daemons_per_gigabyte(&self) -> f64 {
        self.spent.daemons.as_secs_f64() / (self.bytes / 1e9)
    }

    /// Seconds of the whole machine, both ends of the stream included.
    pub(super) fn machine_per_gigabyte(&self) -> f64 {
        self.spent.machine.busy_seconds() / (self.bytes / 1e9)
    }
}

/// So many streams at once for so long. Cubic, since what a machine has by default differs.
pub(super) fn measure(through: &Connection, streams: u32, seconds: u32) -> Result<Measured> {
    let mut serve = through.server.command("iperf3");
    serve.args(["-s", "-1"]).stdout(Stdio::null());
    let mut server = serve.spawn().context("start iperf3 -s")?;
    let result = wait_for_listener(&through.server).and_then(|()| transfer(through, streams, seconds));
    // A server that got its one client has ended.
    let _ = server.kill();
    server.wait().context("end iperf3 -s")?;
    result.with_context(|| format!("{streams} TCP streams through {}", through.name))
}

fn transfer(through: &Connection, streams: u32, seconds: u32) -> Result<Measured> {
    let before = Spent::now(&through.daemons)?;
    let mut client = through.client.command("iperf3");
    client.args(["-c", &through.to.to_string(), "-C", "cubic", "-J"]);
    client.args(["-t", &seconds.to_string(), "-P", &streams.to_string()]);
    let json = process::output(&mut client, Duration::from_secs(u64::from(seconds) + 20))?;
    let spent = Spent::now(&through.daemons)?.since(before);
    let json: serde_json::Value = serde_json::from_str(&json).context("what iperf3 -J printed")?;
    let received = &json["end"]["sum_received"];
    let figure = |name: &str| received[name].as_f64().with_context(|| format!("iperf3 did not say {name}"));
    Ok(Measured { bits_per_second: figure("bits_per_second")?, bytes: figure("bytes")?, spent })
}

fn wait_for_listener(server: &Namespace) -> Result<()> {
    interrupt::wait_for("iperf3 to listen", Duration::from_secs(5), Duration::from_millis(20), || {
        Ok((!server.run("ss", &["-Hltn", "sport", "=", ":5201"])?.is_empty()).then_some(()))
    })
}
