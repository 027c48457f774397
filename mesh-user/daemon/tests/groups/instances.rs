//! Instances that start and stop: a network namespace that comes and goes is one that runs and stops.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{reach::reach, site::Site};

/// NG-16: three instances of one application; a stopped one has no peer, and one that starts again has one.
#[test]
fn a_stopped_instance_has_no_peer() -> Result<()> {
    let mut site = Site::with_hub("[[instance]]\nmember = \"app_hub\"\n")?;
    site.plug("a", 2)?;
    let rooms = [site.room("i1")?, site.room("i2")?, site.room("i3")?];
    let instances: String =
        rooms.iter().map(|room| format!("[[instance]]\nmember = \"app_web\"\nnetns = {room:?}\n")).collect();
    // Without an address that others could call: the instances still reach each other, and the hub.
    site.start("a", &site.follower("a", &instances)?)?;
    site.ng(&["create", "one", "--link", "app_hub,app_web"])?;
    let hub = site.wait_peers("hub", 1)?.remove(0);
    let web = site.wait_peers("a", 3)?;
    site.wait_known(&["hub", "a"], "one", 3)?;
    for (from, to) in [(&web[0], &web[1]), (&web[1], &web[2]), (&web[2], &hub)] {
        reach(from, to, 1).with_context(|| site.at("a").tail(20))?;
    }
    // Stopped: no peer, no tunnel, no key. A room lives as long as anything knows it.
    drop(web);
    site.remove_room(&rooms[1]);
    site.wait_peers("a", 2)?;
    site.wait_known(&["hub", "a"], "one", 2)?;
    // Made again under the same name at once, so that nobody sees it absent.
    site.remove_room(&rooms[0]);
    site.room("i1")?;
    site.room("i2")?;
    let again = site.wait_for("three instances that are reached", Duration::from_secs(20), || {
        let peers = site.peers("a")?;
        Ok(Some(peers).filter(|peers| peers.len() == 3))
    })?;
    site.wait_known(&["hub", "a"], "one", 3)?;
    for from in &again {
        reach(from, &hub, 2).with_context(|| site.at("a").tail(30))?;
    }
    let ids: std::collections::BTreeSet<_> = again.iter().map(|peer| peer.end.address).collect();
    ensure!(ids.len() == 3, "{again:?}");
    Ok(())
}

/// NG-05: what there is no port for waits, and hinders neither what is there nor what makes room for it.
#[test]
fn without_a_free_port_the_rest_goes_on() -> Result<()> {
    let mut site = Site::with_hub("")?;
    site.plug("a", 2)?;
    let settings = "[ng]\nports = \"51820-51820\"\n[[instance]]\nmember = \"app_a\"\n";
    site.start("a", &site.follower("a", settings)?)?;
    site.ng(&["create", "one", "--link", "app_a"])?;
    site.wait_peers("a", 1)?;
    site.ng(&["create", "two", "--link", "app_a"])?;
    site.wait_for("the node to say what is missing", Duration::from_secs(10), || {
        Ok(site.at("a").tail(100).contains("no UDP port of ng.ports (51820-51820) is free").then_some(()))
    })?;
    let refused = site.try_ng("a", &["join", "one"])?;
    ensure!(!refused.status.success() && format!("{refused:?}").contains("no UDP port of ng.ports"), "{refused:?}");
    site.ng(&["unlink", "app_a", "one"])?;
    site.wait_for("the other group to have the port", Duration::from_secs(10), || {
        let peers = site.peers("a")?;
        Ok(peers.iter().any(|peer| peer.group == "two").then_some(()))
    })
    .with_context(|| site.at("a").tail(30))?;
    ensure!(site.peers("a")?.len() == 1, "a join that was refused is there: {:?}", site.peers("a")?);
    Ok(())
}
