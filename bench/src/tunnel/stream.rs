//! One TCP stream through a tunnel: how fast it is, and how much CPU time the daemons at both ends take for it.

use std::{
    fmt, fs,
    net::IpAddr,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mesh_lab::{Namespace, interrupt, process};

use crate::processors::{Processors, TICK};

/// A tunnel that is up.
pub(super) struct Ends<'a> {
    pub(super) client: &'a Namespace,
    pub(super) server: &'a Namespace,
    /// The server's address inside the tunnel.
    pub(super) to: IpAddr,
    /// The daemons of both ends.
    pub(super) daemons: [u32; 2],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    bits_per_second: f64,
    bytes: f64,
    cpu: Duration,
}

impl Measured {
    pub(super) fn gigabits_per_second(&self) -> f64 {
        self.bits_per_second / 1e9
    }

    /// User and system time of both daemons, over the bytes that arrived.
    pub(super) fn cpu_seconds_per_gigabyte(&self) -> f64 {
        self.cpu.as_secs_f64() / (self.bytes / 1e9)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} Gbit/s at {:.2} s/GB", self.gigabits_per_second(), self.cpu_seconds_per_gigabyte())
    }
}

/// Longest wait for a machine that has less to do.
const QUIET_PATIENCE: Duration = Duration::from_secs(20);
/// Share of the time that may be busy on a quiet machine.
const QUIET: f64 = 0.15;

pub(super) fn measure(ends: &Ends<'_>, seconds: u32) -> Result<Measured> {
    wait_for_quiet()?;
    let mut serve = ends.server.command("iperf3");
    serve.args(["-s", "-1"]).stdout(Stdio::null());
    let mut server = serve.spawn().context("start iperf3 -s")?;
    let result = wait_for_listener(ends.server).and_then(|()| transfer(ends, seconds));
    // A server that got its one client has ended.
    let _ = server.kill();
    server.wait().context("end iperf3 -s")?;
    result
}

fn transfer(ends: &Ends<'_>, seconds: u32) -> Result<Measured> {
    let before = cpu(ends)?;
    let mut client = ends.client.command("iperf3");
    client.args(["-c", &ends.to.to_string(), "-C", "cubic", "-J", "-t", &seconds.to_string()]);
    let json = process::output(&mut client, Duration::from_secs(u64::from(seconds) + 20))?;
    let cpu = cpu(ends)?.saturating_sub(before);
    let json: serde_json::Value = serde_json::from_str(&json).context("what iperf3 -J printed")?;
    let received = &json["end"]["sum_received"];
    let figure = |name: &str| received[name].as_f64().with_context(|| format!("iperf3 did not say {name}"));
    Ok(Measured { bits_per_second: figure("bits_per_second")?, bytes: figure("bytes")?, cpu })
}

fn wait_for_listener(server: &Namespace) -> Result<()> {
    interrupt::wait_for("iperf3 to listen", Duration::from_secs(5), Duration::from_millis(20), || {
        Ok((!server.run("ss", &["-Hltn", "sport", "=", ":5201"])?.is_empty()).then_some(()))
    })
}

/// User and system time of both daemons.
fn cpu(ends: &Ends<'_>) -> Result<Duration> {
    ends.daemons.iter().map(|pid| process_time(*pid)).sum()
}

fn process_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}: is the daemon still there?"))?;
    // proc(5): the name in parentheses may hold anything; utime and stime are the 12th and 13th fields behind it.
    let fields: Vec<_> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let [Some(user), Some(system)] = [11, 12].map(|at| fields.get(at).and_then(|field| field.parse::<u32>().ok()))
    else {
        bail!("{path} is not as proc(5) has it: {stat}");
    };
    Ok(TICK * (user + system))
}

/// Waits until the machine has little else to do; measures anyway when it never has.
fn wait_for_quiet() -> Result<()> {
    let end = Instant::now() + QUIET_PATIENCE;
    while Instant::now() < end && busy_share()? > QUIET {
        interrupt::check()?;
    }
    Ok(())
}

/// Share of the last moments that the processors were busy.
fn busy_share() -> Result<f64> {
    let before = Processors::now()?;
    thread::sleep(Duration::from_millis(250));
    Ok((Processors::now()? - before).busy_share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_gigabyte_and_gigabit() {
        let measured = Measured { bits_per_second: 2.5e9, bytes: 5e8, cpu: Duration::from_secs(1) };
        assert_eq!(measured.to_string(), "2.50 Gbit/s at 2.00 s/GB");
    }

    #[test]
    fn this_process_has_used_time() {
        let end = Instant::now() + Duration::from_secs(5);
        let pid = std::process::id();
        while process_time(pid).unwrap().is_zero() {
            assert!(Instant::now() < end);
        }
    }
}
