//! `meshctl ng join`, `whoami` and `leave` on a node that holds the groups itself.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{interrupt, process::Daemon};

use crate::hub::Hub;

const PATIENCE: Duration = Duration::from_secs(20);

/// NG-41, NG-46, NG-49: joined once or twice, left once or twice.
#[test]
fn a_node_joins_and_leaves() -> Result<()> {
    let hub = Hub::start()?;
    hub.done("default", "meshctl ng create shop --link app_1")?;
    let line = "meshctl --context hub ng join shop --member app_1";
    let joined = hub.json("default", line)?;
    ensure!(joined["peer"]["up"] == true && joined["peer"]["member"] == "app_1", "{joined}");
    let again = hub.json("default", line)?;
    ensure!(again["peer"]["peer"] == joined["peer"]["peer"], "{again}");

    let address = joined["peer"]["address"].as_str().context("no address")?;
    let mine = hub.json("default", "meshctl --context hub ng whoami")?;
    ensure!(mine["peers"].as_array().map(Vec::len) == Some(1) && mine["peers"][0]["address"] == address, "{mine}");
    let shown = hub.done("default", "meshctl --context hub ng whoami")?;
    ensure!(shown.contains(address) && shown.contains("app_1.m."), "{shown}");
    let group = hub.json("default", "meshctl ng get shop")?;
    ensure!(group["networkGroup"]["peers"][0]["hv"] == "hv-hub", "{group}");
    let device = joined["peer"]["device"].as_str().context("no device")?;
    let links = hub.node.namespace().ip(&["-o", "address", "show", "dev", device])?;
    ensure!(links.contains(address), "{links}");

    let left = hub.json("default", "meshctl --context hub ng leave shop --member app_1")?;
    ensure!(left["peer"]["peer"] == joined["peer"]["peer"], "{left}");
    let group = hub.json("default", "meshctl ng get shop")?;
    ensure!(group["networkGroup"]["peers"] == serde_json::json!([]), "{group}");
    let again = hub.json("default", "meshctl --context hub ng leave shop --member app_1")?;
    ensure!(again["peer"].is_null(), "{again}");
    Ok(())
}

/// NG-41: without a member an external one comes with the node and goes with it.
#[test]
fn a_join_in_the_foreground_leaves_when_it_is_told_to_end() -> Result<()> {
    let hub = Hub::start()?;
    hub.done("default", "meshctl ng create shop")?;
    let log = hub.node.directory().join("join.log");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut command = Command::new(hub.node.program());
        command.arg("--socket").arg(hub.node.socket()).args([
            "ng",
            "join",
            "shop",
            "--foreground",
            "--label",
            "laptop",
        ]);
        let mut joined = Daemon::start("join", command, &log)?;
        let peers = || anyhow::Ok(hub.json("default", "meshctl ng get shop")?["networkGroup"]["peers"].clone());
        interrupt::wait_for("the peer to be there", PATIENCE, Duration::from_millis(50), || {
            let is_up = fs::read_to_string(&log)?.contains("Address");
            Ok((is_up && peers()?[0]["label"] == "laptop").then_some(()))
        })
        .with_context(|| joined.tail(20))?;
        joined.signal(signal)?;
        let status = joined.wait(PATIENCE)?;
        ensure!(status.success(), "{status}\n{}", joined.tail(20));
        ensure!(peers()? == serde_json::json!([]), "{}", peers()?);
        fs::remove_file(&log)?;
    }
    Ok(())
}
