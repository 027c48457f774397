//! What a node tells of its tunnels: how far its peers are.

use anyhow::{Context, Result, ensure};

use crate::{reach::reach, site::Site};

/// Both ends measure the way to each other, whichever of them called.
#[test]
fn latency_is_measured_at_both_ends() -> Result<()> {
    let mut site = Site::with_hub("")?;
    for (host, number) in [("a", 2), ("b", 3)] {
        site.plug(host, number)?;
        let instance = format!("advertise = \"192.0.2.{number}\"\n[[instance]]\nmember = \"app_{host}\"\n");
        site.start(host, &site.follower(host, &instance)?)?;
    }
    site.ng(&["create", "one", "--link", "app_a,app_b"])?;
    site.wait_known(&["a", "b"], "one", 1)?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    reach(&a, &b, 1)?;
    for host in ["a", "b"] {
        let list = site.json(host, &["whoami"])?;
        let remote = &list["peers"][0]["peers"][0];
        let latency = remote["latencyUs"].as_u64().with_context(|| format!("no latency: {remote}"))?;
        ensure!((1..1_000_000).contains(&latency), "{latency} us on a wire in one machine");
        let status = site.at(host).meshctl(&["status", "-o", "json"])?;
        let status: serde_json::Value = serde_json::from_str(&status.stdout)?;
        ensure!(status["groups"][0]["latency_us"].as_u64() == Some(latency), "{status}");
    }
    Ok(())
}
