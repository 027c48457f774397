//! `network connect`, `disconnect`, `reset` and `status` with both daemons at hand.

use std::{
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mesh_lab::interrupt;

use crate::pair::{PAUSE, Pair};

const CONNECT: &str = "meshctl network connect --remote-context two --gw-server-service-type NodePort --wait";

/// LQ-27, LQ-40, LQ-49, LQ-52, LQ-53, LQ-54: the life of a connection. `disconnect` keeps the names, `reset` leaves nothing.
#[test]
fn connect_disconnect_connect_reset() -> Result<()> {
    let mut pair = Pair::start(2)?;
    let before = [pair.kernel(0)?, pair.kernel(1)?];
    let said = pair.done(0, CONNECT)?;
    pair.network.joined(0, 1);
    let steps: Vec<&str> = said.lines().collect();
    ensure!(steps.len() == 23 && steps.iter().all(|line| line.starts_with(" INFO   (")), "{said}");
    ensure!(steps[22].starts_with(" INFO   (remote) Connection is established"), "{said}");
    let called = pair.reach(0, 1)?;
    ensure!(called == "10.71.0.0/16", "{called}");
    let status = pair.done(0, "meshctl network status")?;
    let line = status.lines().nth(1).with_context(|| status.clone())?;
    for word in ["cl02", "Client", "Connected", "172.31.0.2:", "10.243.0.0/16->10.71.0.0/16", "1340"] {
        ensure!(line.contains(word), "no {word} in\n{status}");
    }

    let cut = "meshctl network disconnect --remote-context two --wait --yes";
    let said = pair.done(0, cut)?;
    ensure!(
        said.contains("(local) Gateway client deleted") && said.contains("(remote) Gateway server deleted"),
        "{said}"
    );
    ensure!(pair.done(0, "meshctl get conn -A")?.contains("Nothing found"), "a connection is left");
    ensure!(pair.called(0, 1)? == called, "the name was given up");
    pair.done(0, cut)?;

    // On a terminal something turns while it waits; in a pipe nothing did.
    let turns = |said: &str| said.chars().any(|char| ('\u{2800}'..='\u{28ff}').contains(&char));
    let watched = pair.done(0, &format!("script -qec '{CONNECT}' /dev/null"))?;
    ensure!(turns(&watched) && !turns(&said), "{watched:?}");
    ensure!(pair.reach(0, 1)? == called, "another name");

    let said = pair.done(0, "meshctl network reset --remote-context two --yes")?;
    ensure!(
        said.contains("(local) Nothing of cl02 is left") && said.contains("(remote) Nothing of cl01 is left"),
        "{said}"
    );
    for (cluster, before) in before.iter().enumerate() {
        interrupt::wait_for("the kernel to be as it was", Duration::from_secs(10), PAUSE, || {
            Ok((pair.kernel(cluster)? == *before).then_some(()))
        })
        .with_context(|| format!("{before}\nbecame\n{}", pair.kernel(cluster).unwrap_or_default()))?;
        ensure!(pair.done(cluster, "meshctl get conf -A")?.contains("Nothing found"));
    }
    pair.done(0, "meshctl network reset --remote-context two --yes")?;
    Ok(())
}

/// LQ-51: the second time nothing changes; a port that is said anew changes in place.
#[test]
fn connect_is_idempotent_and_changes_in_place() -> Result<()> {
    let mut pair = Pair::start(2)?;
    pair.done(0, CONNECT)?;
    pair.network.joined(0, 1);
    let versions = || -> Result<Vec<String>> {
        let kinds = ["conf", "gws", "gwc", "pk"];
        let all = [0, 1].map(|cluster| {
            kinds.map(|kind| {
                pair.done(
                    cluster,
                    &format!("meshctl get {kind} -A -o jsonpath='{{.items[*].metadata.resourceVersion}}'"),
                )
            })
        });
        all.into_iter().flatten().collect()
    };
    let before = versions()?;
    pair.done(0, CONNECT)?;
    ensure!(versions()? == before, "{before:?} became {:?}", versions()?);
    pair.done(0, &format!("{CONNECT} --gw-server-service-nodeport 32009 --lanes 2"))?;
    let endpoint = pair.json(1, "meshctl get gws -n liqo-tenant-cl01 cl01 -o json")?["status"]["endpoint"].clone();
    ensure!(endpoint["ports"] == serde_json::json!([32_009, 32_010]), "{endpoint}");
    let client = pair.json(0, "meshctl get gwc -n liqo-tenant-cl02 cl02 -o json")?["spec"]["endpoint"].clone();
    ensure!(client["ports"] == endpoint["ports"], "{client}");
    pair.reach(0, 1)?;
    Ok(())
}

/// LQ-50: the server on the local side, by either name of the flag; what is there serves in the other direction too.
#[test]
fn roles_are_swapped() -> Result<()> {
    let mut pair = Pair::start(2)?;
    pair.done(0, &format!("{CONNECT} --gw-server-service-location Consumer"))?;
    pair.network.joined(1, 0);
    ensure!(pair.done(0, "meshctl get conn -A")?.contains("Server"), "the local side is no server");
    ensure!(pair.done(1, "meshctl get conn -A")?.contains("Client"), "the remote side is no client");
    pair.reach(0, 1)?;
    let said = pair.done(0, CONNECT)?;
    ensure!(said.contains("(local) The gateway for cl02 is the server already"), "{said}");
    let said = pair.done(1, "meshctl network connect --remote-context one --gw-server-service-type NodePort --wait")?;
    ensure!(!said.contains("already"), "{said}");
    pair.done(0, "meshctl network disconnect --remote-context two --wait -y")?;
    pair.done(0, &format!("{CONNECT} --gw-server-gateway-location provider"))?;
    ensure!(pair.done(1, "meshctl get conn -A")?.contains("Server"), "the remote side is no server");
    pair.reach(0, 1)?;
    Ok(())
}

/// LQ-71: a client of one and a server of another at once.
#[test]
fn three_clusters_in_a_ring() -> Result<()> {
    let mut pair = Pair::start(3)?;
    for (client, server, remote) in [(0, 1, "two"), (1, 2, "three"), (2, 0, "one")] {
        let line =
            format!("meshctl network connect --remote-context {remote} --gw-server-service-type NodePort --wait");
        pair.done(client, &line)?;
        pair.network.joined(client, server);
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        pair.reach(from, to)?;
    }
    let roles = pair.done(0, "meshctl get conn -A")?;
    ensure!(roles.contains("Client") && roles.contains("Server"), "{roles}");
    Ok(())
}

/// LQ-41, LQ-46, LQ-48: each failure names side, stage, daemon and the next step, and the same command goes on.
#[test]
fn failures_name_their_step() -> Result<()> {
    let mut pair = Pair::start(2)?;
    let told = pair.fails(0, "meshctl network connect", 2)?;
    ensure!(told.contains("--remote-context"), "{told}");
    let told = pair.fails(0, "meshctl network connect --remote-context two --gw-server-template-name other", 3)?;
    ensure!(told.contains("(remote) template") && told.contains("liqo/other"), "{told}");
    let begun = Instant::now();
    let finished = pair.shell(0, "meshctl network connect --remote-context two --wait")?;
    ensure!(!finished.status.success() && begun.elapsed() < Duration::from_secs(20), "{finished:?}");
    ensure!(finished.stdout.contains(" ERRO   (remote) gateway server endpoint"), "{finished:?}");
    for word in ["advertise", "--gw-server-service-type NodePort", "hint: "] {
        ensure!(finished.stderr.contains(word), "no {word:?} in {finished:?}");
    }
    let told = pair.fails(0, "meshctl network connect --remote-socket /nonexistent/meshd.sock", 5)?;
    ensure!(told.contains("(remote) cluster identity") && told.contains("/nonexistent/meshd.sock"), "{told}");
    let json = pair.shell(0, "meshctl network connect --remote-context one -o json")?;
    ensure!(json.status.code() == Some(4) && json.stdout.starts_with("{\"error\":{\"code\":\"conflict\""), "{json:?}");
    // A port that nobody answers: address, port and state are told.
    let line = "meshctl network connect --remote-context two --gw-server-service-type NodePort --wait --timeout 4s \
                --gw-client-port 9";
    let told = pair.fails(0, line, 6)?;
    ensure!(told.contains("connection") && told.contains("172.31.0.2:9"), "{told}");
    pair.done(0, CONNECT)?;
    pair.network.joined(0, 1);
    pair.reach(0, 1)?;
    Ok(())
}

/// LQ-51: killed at any moment and run again.
#[test]
fn a_killed_connect_goes_on() -> Result<()> {
    let mut pair = Pair::start(2)?;
    for milliseconds in [20, 60, 120, 250, 500, 900] {
        let mut command = pair.command(0, &format!("exec {CONNECT}"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        sleep(Duration::from_millis(milliseconds));
        child.kill()?;
        child.wait()?;
    }
    pair.done(0, CONNECT)?;
    pair.network.joined(0, 1);
    pair.reach(0, 1)?;
    for (cluster, kinds) in [(0, ["conf", "gwc", "pk"]), (1, ["conf", "gws", "pk"])] {
        for kind in kinds {
            let names = pair.done(cluster, &format!("meshctl get {kind} -A -o name"))?;
            ensure!(names.lines().count() == 1, "{names}");
        }
    }
    Ok(())
}

/// LQ-44: the MTU is changed at both ends at once, and a key that was made for another is refused.
#[test]
fn the_mtu_is_the_same_at_both_ends() -> Result<()> {
    let mut pair = Pair::start(2)?;
    pair.done(0, CONNECT)?;
    pair.done(0, &format!("{CONNECT} --mtu 1400"))?;
    pair.network.joined(0, 1);
    pair.reach(0, 1)?;
    let key =
        "meshctl get pk -n liqo-tenant-cl01 cl01 -o yaml | sed s/1400/1300/ > key.yaml && meshctl apply -f key.yaml";
    let told = pair.shell(1, key)?;
    ensure!(!told.status.success() && told.stderr.contains("1300") && told.stderr.contains("1400"), "{told:?}");
    Ok(())
}
