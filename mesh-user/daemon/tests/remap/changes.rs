//! A Configuration that changes while traffic runs, goes, and comes back.

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_lab::{Lab, demo::check::pods, interrupt, traffic::stream::Stream};

use crate::{PATIENCE, PAUSE, pair};

/// Datagrams a second.
const RATE: u32 = 1_000;

/// LQ-28, LQ-24: another prefix of the remote comes and goes, and what ran over the first loses nothing.
#[test]
fn a_prefix_more_costs_no_datagram() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "")?;
    let direction = network.direction(0, 1, false)?;
    let (from, to, dial) = pods(&direction, &mut 9)?;
    let stream = Stream::start(&from, &to, dial, RATE)?;
    let node = &network.clusters[0].node;
    let text = network.clusters[0].site.configuration(&network.clusters[1].site, mesh_lab::demo::Connection::Wireguard);
    let more = text.replace("10.243.0.0/16", "[10.243.0.0/16, 10.99.0.0/16]").replace("[[", "[").replace("]]", "]");
    ensure!(more != text, "{text}");
    let has_more = || -> Result<bool> { Ok(node.status()?.remaps.iter().any(|remap| remap.real == "10.99.0.0/16")) };
    for (manifest, expected) in [(&more, true), (&text, false), (&more, true)] {
        node.put_manifest("configuration-cl02", manifest)?;
        interrupt::wait_for("the change", PATIENCE, PAUSE, || Ok((has_more()? == expected).then_some(())))?;
        std::thread::sleep(Duration::from_millis(300));
    }
    let tally = stream.stop()?;
    ensure!(tally.sent > 500 && tally.lost == 0 && tally.duplicates == 0, "{tally:?}\n{}", network.tails());
    Ok(())
}

/// LQ-27: what the remote is called survives a disconnect, and is free after a reset.
#[test]
fn names_stay_over_a_disconnect_and_end_with_a_reset() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = pair(&lab, "")?;
    let names = |network: &mesh_lab::demo::Network| -> Result<Vec<(String, String)>> {
        let remaps = network.clusters[0].node.status()?.remaps;
        Ok(remaps
            .into_iter()
            .filter(|remap| !remap.connection.is_empty())
            .map(|one| (one.real, one.presented))
            .collect())
    };
    let before = names(&network)?;
    ensure!(
        before.iter().any(|(real, presented)| real == "10.243.0.0/16" && presented == "10.71.0.0/16"),
        "{before:?}"
    );
    let gateway = network.clusters[0].node.directory().join("manifests/gateway-cl02.yaml");
    let gateway = std::fs::read_to_string(gateway)?;
    let node = &network.clusters[0].node;
    node.remove_manifest("gateway-cl02")?;
    interrupt::wait_for("the end of the connection", PATIENCE, PAUSE, || {
        Ok(node.status()?.connection("cl02").is_err().then_some(()))
    })?;
    node.put_manifest("gateway-cl02", &gateway)?;
    network.wait_connected(PATIENCE)?;
    ensure!(names(&network)? == before, "{:?}", names(&network)?);
    // Also over a restart.
    network.clusters[0].node.terminate()?;
    network.clusters[0].node.start()?;
    network.wait_connected(PATIENCE)?;
    ensure!(names(&network)? == before, "{:?}", names(&network)?);
    Ok(())
}
