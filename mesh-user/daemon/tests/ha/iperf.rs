//! iperf3 in the background, and how long each of its streams was silent.

use std::{
    io::Read as _,
    net::IpAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use mesh_lab::Namespace;

const PORT: &str = "5201";

/// Several TCP streams; who dials receives. Killed when dropped.
pub(crate) struct Iperf {
    receiver: Child,
    sender: Child,
}

/// What became of one stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) longest_silence: Duration,
    pub(crate) bytes: u64,
    /// In the last two seconds.
    pub(crate) last_bytes: u64,
}

impl Iperf {
    pub(crate) fn start(receiver: &Namespace, sender: &Namespace, dial: IpAddr, seconds: u32) -> Result<Iperf> {
        let sender = sender
            .command("iperf3")
            .args(["-s", "-1", "-p", PORT])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the iperf3 server")?;
        std::thread::sleep(Duration::from_millis(300));
        let receiver = receiver
            .command("iperf3")
            .args(["-c", &dial.to_string(), "-p", PORT, "-R", "-P", "8", "-i", "0.1", "-J", "-C", "cubic"])
            .args(["-b", "20M", "-t", &seconds.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the iperf3 client")?;
        Ok(Iperf { receiver, sender })
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Vec<Stream>> {
        let mut text = String::new();
        self.receiver.stdout.take().context("the output is read once")?.read_to_string(&mut text)?;
        let report: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("iperf3 said {text:?}"))?;
        if let Some(error) = report["error"].as_str() {
            bail!("iperf3: {error}");
        }
        let intervals = report["intervals"].as_array().context("no intervals")?;
        let count = intervals.first().and_then(|first| first["streams"].as_array()).map_or(0, Vec::len);
        let end = intervals.last().and_then(|last| last["sum"]["end"].as_f64()).unwrap_or_default();
        let mut streams = Vec::new();
        for at in 0..count {
            let (mut silence, mut longest, mut bytes, mut last_bytes) = (0.0_f64, 0.0_f64, 0, 0);
            for one in intervals.iter().map(|interval| &interval["streams"][at]) {
                let (came, seconds) = (one["bytes"].as_u64().unwrap_or(0), one["seconds"].as_f64().unwrap_or(0.0));
                silence = if came == 0 { silence + seconds } else { 0.0 };
                longest = longest.max(silence);
                bytes += came;
                if one["start"].as_f64().is_some_and(|start| start > end - 2.0) {
                    last_bytes += came;
                }
            }
            streams.push(Stream { longest_silence: Duration::from_secs_f64(longest), bytes, last_bytes });
        }
        Ok(streams)
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        for child in [&mut self.receiver, &mut self.sender] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
