//! What a node tells of its tunnels: how far its peers are, whom it cannot reach, and whether it is ready.

use anyhow::{Context, Result, ensure};
use mesh_lab::link::{self, Port};

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

/// Two nodes that nobody can call are told what they need, and one of them is enough.
#[test]
fn two_clients_are_told_that_neither_can_be_called() -> Result<()> {
    let mut site = Site::with_hub("")?;
    for (host, number) in [("a", 2), ("b", 3)] {
        site.plug(host, number)?;
        let instance = format!("[[instance]]\nmember = \"app_{host}\"\n");
        site.start(host, &site.follower(host, &instance)?)?;
    }
    site.ng(&["create", "one", "--link", "app_a,app_b"])?;
    site.wait_known(&["a", "b"], "one", 1)?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    let detail = |site: &Site| Ok::<_, anyhow::Error>(site.json("a", &["whoami"])?["peers"][0]["detail"].to_string());
    let told = detail(&site)?;
    ensure!(
        told.contains("1 of 1 peers can be called as little as this one") && told.contains("'advertise'"),
        "{told}"
    );
    let explain = |site: &Site| -> Result<String> {
        let addresses = [a.end.address.to_string(), b.end.address.to_string()];
        Ok(site.at("a").meshctl(&["explain", &addresses[0], &addresses[1]])?.stdout)
    };
    let explained = explain(&site)?;
    ensure!(explained.contains("neither can be called") && explained.contains("dropped: no-session"), "{explained}");

    site.at_mut("b").terminate()?;
    let instance = "advertise = \"192.0.2.3\"\n[[instance]]\nmember = \"app_b\"\n";
    let settings = site.follower("b", instance)?;
    site.at("b").configure(&settings)?;
    site.at_mut("b").start()?;
    let same = |peer: &crate::site::Peer| peer.end.address == b.end.address;
    ensure!(site.wait_peers("b", 1)?.iter().all(same), "another address");
    site.wait_for("the endpoint to be known", std::time::Duration::from_secs(8), || {
        Ok((detail(&site)? == "\"\"").then_some(()))
    })?;
    reach(&a, &b, 1)?;
    let explained = explain(&site)?;
    ensure!(explained.contains("accepted, in one"), "{explained}");
    Ok(())
}

/// A tunnel that is wanted and cannot be made is nothing to be ready with.
#[test]
fn a_node_is_ready_when_its_tunnels_are_up() -> Result<()> {
    let mut site = Site::with_hub("")?;
    site.plug("a", 2)?;
    site.start("a", &site.follower("a", "advertise = \"192.0.2.2\"\n[[instance]]\nmember = \"app_a\"\n")?)?;
    let check = |site: &Site| site.at("a").meshctl(&["status", "--check", "ready"]);
    ensure!(check(&site)?.status.success(), "no group, nothing wanted");
    // The group's prefix is in use here.
    link::address(Port::new(site.at("a").namespace(), "und0"), &["10.77.3.1/24"])?;
    site.ng(&["create", "one", "--cidr", "10.77.0.0/16", "--link", "app_a"])?;
    let patience = std::time::Duration::from_secs(8);
    site.wait_for("the node to be unready", patience, || {
        let checked = check(&site)?;
        let is_told = checked.stderr.contains("the tunnel of app_a in ng_") && checked.status.code() == Some(8);
        Ok(is_told.then_some(()))
    })
    .with_context(|| format!("{:?}", check(&site)))?;
    site.ng(&["unlink", "app_a", "one"])?;
    site.wait_for("the node to be ready", patience, || Ok(check(&site)?.status.success().then_some(())))
        .with_context(|| format!("{:?}", check(&site)))
}
