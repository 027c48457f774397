//! What goes on while something is dead, and what comes back by itself.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    process,
    traffic::{self, stream::Stream},
};

use crate::{
    reach::reach,
    site::{Peer, Site},
};

/// How long a node may take to find back to a hub.
const BACK: Duration = Duration::from_secs(8);

fn two_nodes() -> Result<Site> {
    let mut site = Site::with_hub("")?;
    for (host, number, member) in [("a", 2, "app_a"), ("b", 3, "app_b")] {
        site.plug(host, number)?;
        let instance = format!("advertise = \"192.0.2.{number}\"\n[[instance]]\nmember = \"{member}\"\n");
        site.start(host, &site.follower(host, &instance)?)?;
    }
    site.ng(&["create", "one", "--link", "app_a,app_b"])?;
    site.wait_known(&["a", "b"], "one", 1)?;
    Ok(site)
}

/// NG-41: killed and started again, the hub finds its state and the nodes find the hub; traffic goes on all the while.
#[test]
fn a_dead_hub_costs_no_packet() -> Result<()> {
    let mut site = two_nodes()?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    reach(&a, &b, 1)?;
    let stream = Stream::start(&a.end, &b.end, b.end.address, 500)?;
    site.at_mut("hub").kill()?;
    site.wait_for("the nodes to notice", BACK, || {
        let list = site.json("a", &["whoami"])?;
        Ok((list["peers"][0]["hubReachable"] == false && list["peers"][0]["up"] == true).then_some(()))
    })?;
    // A node that starts meanwhile goes by what it kept.
    site.at_mut("b").kill()?;
    site.at_mut("b").start()?;
    site.wait_peers("b", 1)?;
    let tally = stream.stop()?;
    ensure!(tally.sent > 0, "nothing was sent");
    reach(&a, &b, 2).with_context(|| site.at("b").tail(30))?;

    let stream = Stream::start(&a.end, &b.end, b.end.address, 500)?;
    site.at_mut("hub").start()?;
    // And a change arrives.
    site.plug("c", 4)?;
    let settings = site.follower("c", "advertise = \"192.0.2.4\"\n[[instance]]\nmember = \"app_c\"\n")?;
    site.start("c", &settings)?;
    site.ng(&["link", "app_c", "one"])?;
    site.wait_for("the nodes to follow again", BACK, || {
        let known = |host: &str| -> Result<bool> {
            let list = site.json(host, &["whoami"])?;
            let peer = &list["peers"][0];
            Ok(peer["hubReachable"] == true && peer["peers"].as_array().is_some_and(|peers| peers.len() == 2))
        };
        Ok((known("a")? && known("b")?).then_some(()))
    })
    .with_context(|| site.at("a").tail(30))?;
    let tally = stream.stop()?;
    ensure!(tally.lost == 0, "{tally:?}");
    let c = site.wait_peers("c", 1)?.remove(0);
    reach(&c, &a, 3)
}

/// NG-41: killed and started again, a node is the same peer with the same address, and sessions resume at once.
#[test]
fn a_killed_node_resumes() -> Result<()> {
    let mut site = two_nodes()?;
    let [a, b] = [site.wait_peers("a", 1)?.remove(0), site.wait_peers("b", 1)?.remove(0)];
    reach(&a, &b, 1)?;
    // What it kept of the hub is gone, or was never written: that is no reason to take its peers out of the group.
    site.at_mut("a").kill()?;
    for entry in std::fs::read_dir(site.at("a").directory().join("state"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mirror-")) {
            std::fs::remove_file(path)?;
        }
    }
    site.at_mut("a").start()?;
    let kept = site.wait_peers("a", 1)?.remove(0);
    ensure!((kept.id.clone(), kept.end.address) == (a.id.clone(), a.end.address), "{kept:?} was {a:?}");
    reach(&kept, &b, 4)?;
    // Where peers are is kept now and then.
    std::thread::sleep(Duration::from_secs(6));
    site.at_mut("a").kill()?;
    let devices = a.end.namespace.ip(&["-o", "link", "show", "dev", &a.device])?;
    ensure!(!devices.is_empty(), "the device outlives the daemon");
    site.at_mut("a").start()?;
    let again = site.wait_peers("a", 1)?.remove(0);
    ensure!((again.id.clone(), again.end.address) == (a.id.clone(), a.end.address), "{again:?} was {a:?}");
    site.wait_for("the session to resume", Duration::from_secs(3), || {
        Ok(traffic::answers_ping(&b.end, a.end.address, 1)?.then_some(()))
    })
    .with_context(|| site.at("a").tail(30))?;
    reach(&b, &again, 2)?;

    // Cleaned up, nothing of ours is left, and the next start makes it again.
    site.at_mut("a").terminate()?;
    site.at("a").cleanup()?;
    let devices = a.end.namespace.ip(&["-o", "link", "show", "type", "tun"])?;
    ensure!(devices.is_empty(), "left: {devices}");
    site.at_mut("a").start()?;
    let last = site.wait_peers("a", 1)?.remove(0);
    reach(&last, &b, 3)
}

/// NG-41: of two hubs one is dead and was never heard: what is of the other goes on, and what is of the dead one stays.
#[test]
fn a_hub_that_was_not_heard_holds_nothing_else_back() -> Result<()> {
    let mut site = two_nodes()?;
    site.plug("second", 9)?;
    site.start("second", "")?;
    site.ng_at("second", &["create", "two", "--cidr", "10.9.0.0/16"])?;
    let server = format!("unix://{}", site.at("second").socket().display());
    let join = serde_json::json!({"org": "default", "group": "two", "hub": {"server": server}, "patience": 10});
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail-with-body", "--unix-socket"]).arg(site.at("a").socket());
    command.args(["-H", "content-type: application/json", "-d", &join.to_string(), "http://mesh/v1/node/joins"]);
    process::output(&mut command, Duration::from_secs(15))?;
    let joined = site.wait_peers("a", 2)?.into_iter().find(|peer| peer.group == "two").context("not joined")?;
    site.at_mut("second").kill()?;
    site.at_mut("a").kill()?;
    for entry in std::fs::read_dir(site.at("a").directory().join("state"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mirror-")) {
            std::fs::remove_file(path)?;
        }
    }
    // It is not ready as long as a tunnel is missing.
    site.at_mut("a").spawn()?;
    let known = |peers: Vec<Peer>| peers.into_iter().find(|peer| peer.group == "one");
    let a = site
        .wait_for("the peer of the hub that is there", BACK, || Ok(site.peers("a").ok().and_then(known)))
        .with_context(|| site.at("a").tail(30))?;
    let b = site.wait_peers("b", 1)?.remove(0);
    reach(&a, &b, 1).with_context(|| site.at("a").tail(30))?;
    site.ng(&["unlink", "app_b", "one"])?;
    site.wait_known(&["a"], "one", 0)?;
    let device = || a.end.namespace.ip(&["-o", "link", "show", "dev", &joined.device]);
    ensure!(!device()?.is_empty(), "the device of the hub that is away is gone");
    site.at_mut("second").start()?;
    let again = site.wait_peers("a", 2)?.into_iter().find(|peer| peer.group == "two").context("not joined")?;
    ensure!((&again.id, again.end.address) == (&joined.id, joined.end.address), "{again:?} was {joined:?}");
    Ok(())
}
