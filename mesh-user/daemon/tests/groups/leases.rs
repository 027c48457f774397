//! A peer lives while its node does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_lab::traffic::stream::Stream;
use serde_json::Value;

use crate::{
    reach::reach,
    site::{Site, resolve},
};

const LEASE: Duration = Duration::from_secs(4);
/// Until everybody has heard that a lease ended.
const HEARD: Duration = Duration::from_secs(9);

fn two_nodes() -> Result<Site> {
    let mut site = Site::with_hub("[ng]\nlease_seconds = 4\n")?;
    for (host, number, member) in [("a", 2, "app_a"), ("b", 3, "app_b")] {
        site.plug(host, number)?;
        let instance = format!("advertise = \"192.0.2.{number}\"\n[[instance]]\nmember = \"{member}\"\n");
        site.start(host, &site.follower(host, &instance)?)?;
    }
    site.ng(&["create", "one", "--link", "app_a,app_b"])?;
    site.wait_known(&["a", "b"], "one", 1)?;
    Ok(site)
}

fn group(site: &Site) -> Result<Value> {
    site.json("hub", &["get", "one"])
}

fn version(site: &Site) -> Result<u64> {
    let group = group(site)?;
    let version = group.pointer("/networkGroup/version").or_else(|| group.pointer("/resource/networkGroup/version"));
    version.and_then(Value::as_u64).with_context(|| group.to_string())
}

/// NG-16: killed for good, a node has no peer, no name and no tunnel anywhere; back again, it has its address again.
#[test]
fn a_dead_node_has_no_peer() -> Result<()> {
    let mut site = two_nodes()?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    reach(&a, &b, 1)?;
    let name = a.names.iter().find(|name| name.contains(".m.")).context("no name of the member")?;
    ensure!(resolve(&b.end.namespace, name)? == [a.end.address], "{name}");
    let before = version(&site)?;
    site.at_mut("a").kill()?;
    site.wait_for("the other to have no tunnel to it", HEARD, || {
        let list = site.json("b", &["whoami"])?;
        Ok(list["peers"][0]["peers"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .with_context(|| site.at("hub").tail(20))?;
    ensure!(resolve(&b.end.namespace, name)?.is_empty(), "{name} is answered");
    ensure!(version(&site)? == before + 1, "{}", group(&site)?);
    ensure!(!group(&site)?.to_string().contains(&a.id), "{}", group(&site)?);
    site.at_mut("a").start()?;
    site.wait_known(&["b"], "one", 1)?;
    let again = site.wait_peers("a", 1)?.remove(0);
    ensure!((&again.id, again.end.address) == (&a.id, a.end.address), "{again:?} was {a:?}");
    reach(&again, &b, 2)
}

/// Stopped and started again before its lease ends, and without a hub for longer than that: nobody sees a change.
#[test]
fn a_restart_within_the_lease_changes_nothing() -> Result<()> {
    let mut site = two_nodes()?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    reach(&a, &b, 1)?;
    let before = version(&site)?;
    site.at_mut("a").terminate()?;
    site.at_mut("a").start()?;
    let again = site.wait_peers("a", 1)?.remove(0);
    ensure!((&again.id, again.end.address) == (&a.id, a.end.address), "{again:?} was {a:?}");
    reach(&again, &b, 2)?;
    let stream = Stream::start(&a.end, &b.end, b.end.address, 500)?;
    site.at_mut("hub").kill()?;
    std::thread::sleep(LEASE + Duration::from_secs(2));
    site.at_mut("hub").start()?;
    // Whoever is not heard now would be ended.
    std::thread::sleep(LEASE + Duration::from_secs(3));
    ensure!(version(&site)? == before, "{}\n{}", group(&site)?, site.at("hub").tail(20));
    let tally = stream.stop()?;
    ensure!(tally.sent > 0 && tally.lost == 0, "{tally:?}");
    Ok(())
}

/// NG-41: what was joined is joined again after a lease ended, and not after somebody took it out.
#[test]
fn a_join_outlives_its_lease() -> Result<()> {
    let mut site = two_nodes()?;
    site.plug("c", 4)?;
    site.start("c", &site.follower("c", "advertise = \"192.0.2.4\"\n")?)?;
    site.ng(&["link", "app_c", "one"])?;
    site.ng_at("c", &["join", "one", "--member", "app_c"])?;
    let [b, c] = [site.wait_peers("b", 1)?.remove(0), site.wait_peers("c", 1)?.remove(0)];
    site.at_mut("c").kill()?;
    site.wait_for("its peer to end", HEARD, || Ok((!group(&site)?.to_string().contains(&c.id)).then_some(())))?;
    site.at_mut("c").start()?;
    let again = site.wait_peers("c", 1)?.remove(0);
    ensure!((&again.id, again.end.address) == (&c.id, c.end.address), "{again:?} was {c:?}");
    reach(&again, &b, 1).with_context(|| site.at("c").tail(20))?;
    site.ng(&["unlink", "app_c", "one"])?;
    site.wait_for("the join to be forgotten", HEARD, || Ok(site.peers("c")?.is_empty().then_some(())))
        .with_context(|| site.at("c").tail(20))?;
    let left: Value = serde_json::from_slice(&std::fs::read(site.at("c").directory().join("state/joins.json"))?)?;
    ensure!(left["content"] == serde_json::json!([]), "{left}");
    Ok(())
}
