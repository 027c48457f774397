//! A shard and wireguard-go, each as the one that begins.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mesh_lab::{
    Lab, Namespace,
    process::{self, Daemon},
};

use super::{
    site::{A, B, MTU, REAL, Side, Site},
    traffic, underlay,
};

/// The shard's end; the other is plain WireGuard with addresses of its own.
const OURS: Side = Side { remote_real: ["10.9.0.0/16", "fd00:9::/32"], ..A };
const THEIRS: [&str; 2] = ["10.9.1.1", "fd00:9::1"];

/// Where `cargo xtask setup` put it, or on the path.
fn program() -> PathBuf {
    let tools = std::env::var_os("MESH_TOOLS").map(PathBuf::from);
    let tools = tools.or_else(|| Some(Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("tools")));
    let found = tools.map(|tools| tools.join("bin/wireguard-go")).filter(|program| program.exists());
    found.unwrap_or_else(|| "wireguard-go".into())
}

struct WireguardGo {
    daemon: Daemon,
    namespace: Namespace,
    device: String,
}

impl WireguardGo {
    fn start(lab: &Lab, namespace: &Namespace, endpoint: Option<String>) -> Result<WireguardGo> {
        // The sockets that wg(8) talks to are in one directory for all namespaces.
        let device = format!("wgi{}-{}", std::process::id(), u8::from(endpoint.is_some()));
        let mut command = namespace.command(program());
        command.args(["-f", &device]).env("LOG_LEVEL", "error").stdout(Stdio::null());
        let mut daemon = Daemon::start("wireguard-go", command, &lab.directory().join(format!("{device}.log")))?;
        let socket = Path::new("/var/run/wireguard").join(format!("{device}.sock"));
        daemon.wait_for_socket(&socket, Duration::from_secs(10))?;
        let key = lab.directory().join(format!("{device}.key"));
        let mut private = [7; 32];
        private[1] = B.name.as_bytes()[0];
        fs::write(&key, STANDARD.encode(private))?;
        let (key, peer, port) = (key.display().to_string(), STANDARD.encode(A.key().0), B.port.to_string());
        let mut set = vec!["set", &device, "listen-port", &port, "private-key", &key, "peer", &peer];
        set.extend(["allowed-ips", "0.0.0.0/0,::/0"]);
        if let Some(endpoint) = &endpoint {
            set.extend(["endpoint", endpoint]);
        }
        namespace.run("wg", &set)?;
        for (address, len) in THEIRS.iter().zip(["32", "128"]) {
            namespace.ip(&["address", "add", &format!("{address}/{len}"), "dev", &device])?;
        }
        namespace.ip(&["link", "set", &device, "mtu", &MTU.to_string(), "up"])?;
        for prefix in REAL {
            namespace.ip(&["route", "add", prefix, "dev", &device])?;
        }
        Ok(WireguardGo { daemon, namespace: namespace.clone(), device })
    }
}

impl Drop for WireguardGo {
    /// Asked to end, it takes its socket away, which is in a directory that outlives the lab.
    fn drop(&mut self) {
        // Who does not end is killed next.
        let _ = self.daemon.terminate();
    }
}

fn carry(a: &Site, b: &WireguardGo) -> Result<()> {
    for (theirs, ours) in A.remote_host.iter().zip(super::site::HOST) {
        a.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "3", theirs])?;
        b.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "3", "-s", "1200", ours])?;
        for more in [&[][..], &["-R"]] {
            let speed = traffic::tcp(&b.namespace, &a.namespace, theirs, more)?;
            anyhow::ensure!(speed > 2e7, "{theirs} {more:?}: {speed} bit/s");
        }
    }
    Ok(())
}

#[test]
fn we_begin() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab).unwrap();
    let b = WireguardGo::start(&lab, &b, None).unwrap();
    let a = Site::start(OURS, &a, B.key(), vec![B.endpoint()]).unwrap();
    a.wait_connected().unwrap();
    carry(&a, &b).unwrap();
    let shown = b.namespace.run("wg", &["show", &b.device, "endpoints"]).unwrap();
    assert!(shown.contains(&A.endpoint().to_string()), "{shown}");
}

#[test]
fn they_begin_and_may_use_only_what_they_announced() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab).unwrap();
    let a = Site::start(OURS, &a, B.key(), Vec::new()).unwrap();
    let b = WireguardGo::start(&lab, &b, Some(A.endpoint().to_string())).unwrap();
    b.namespace.run("ping", &["-c", "3", "-i", "0.2", "-W", "3", super::site::HOST[0]]).unwrap();
    carry(&a, &b).unwrap();

    b.namespace.ip(&["address", "add", "10.66.0.1/32", "dev", &b.device]).unwrap();
    let mut ping = Command::new("nsenter");
    ping.arg(format!("--net={}", b.namespace.path().display()));
    ping.args(["ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", "10.66.0.1", super::site::HOST[0]]);
    let lost = process::finish(&mut ping, Duration::from_secs(10)).context("ping").unwrap();
    assert!(!lost.status.success());
    let drops = a.shards.statistics().drops;
    assert!(drops.iter().any(|(reason, count)| reason.as_str() == "spoofed-source" && *count >= 2), "{drops:?}");
}
