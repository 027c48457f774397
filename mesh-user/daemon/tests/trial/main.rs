//! `meshctl test network` and the test pods of the daemon: real daemons in network namespaces. Needs root.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    demo::{Cables, Connection, Network, Site, UNDERLAY_MTU, wireguard_pair},
    interrupt,
    node::{Node, Programs},
    process::{self, Finished},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const OF_A_WAY: [&str; 5] = ["pod to pod", "pod to pod, TCP", "node to pod", "MTU", "throughput"];

/// LQ-63: everything is tried both ways and in both families, and nothing is left.
#[test]
fn a_good_connection_is_found_good() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let finished = test(&network, &["--info", "-o", "json"])?;
    let report = report(&finished)?;
    ensure!(finished.status.success() && report["failed"] == 0, "{report:#}\n{}", network.tails());
    ensure!(report["info"].as_array().is_some_and(|facts| facts.len() == 4), "{report:#}");
    for (from, to) in [("cl01", "cl02"), ("cl02", "cl01")] {
        for check in OF_A_WAY {
            let count = found(&report, from, to, check).count();
            ensure!(count == 2, "{count} times {check} from {from} to {to}: {report:#}");
        }
        let pods: Vec<&Value> = found(&report, from, to, "pod to pod").collect();
        ensure!(pods.iter().all(|found| found["answered"] == 10 && found["latency"]["avg"].is_u64()), "{report:#}");
        ensure!(
            pods[0]["target"].as_str().is_some_and(|target| target.starts_with("10.71.")),
            "its name here: {report:#}"
        );
        ensure!(found(&report, from, to, "MTU").all(|found| found["largest"] == 1_340), "{report:#}");
        let rates = found(&report, from, to, "throughput").map(|found| found["bitsPerSecond"].as_u64());
        ensure!(rates.flatten().all(|rate| rate > 1_000_000), "{report:#}");
    }
    for cluster in &network.clusters {
        ensure!(trials(&cluster.node)?.is_empty(), "trials are left");
        ensure!(devices(cluster.gateway())?.is_empty(), "devices are left");
    }
    Ok(())
}

/// LQ-63: the hop is named, and the exit code is 8.
#[test]
fn forwarding_that_is_cut_at_the_far_side_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = plain_pair(&lab)?;
    network.start()?;
    let far = network.clusters[1].gateway();
    far.run(
        "nft",
        &["add table inet cut; add chain inet cut way { type filter hook forward priority 0; policy drop; }"],
    )?;
    let finished = test(&network, &["--basic", "-o", "json"])?;
    let report = report(&finished)?;
    ensure!(finished.status.code() == Some(8), "{finished:?}");
    let there = found(&report, "cl01", "cl02", "pod to pod").next().context("a check")?;
    ensure!(there["outcome"] == "failed" && there["attempts"] == 5, "{report:#}");
    let says = |found: &Value, field: &str, text: &str| found[field].as_str().is_some_and(|said| said.contains(text));
    ensure!(says(there, "reason", "gateway of cl02, which did not forward it to the pod"), "{report:#}");
    ensure!(says(there, "next", "on the gateway of cl02") && says(there, "next", "nft list ruleset"), "{report:#}");
    let back = found(&report, "cl02", "cl01", "pod to pod").next().context("a check")?;
    ensure!(says(back, "reason", "gateway of cl02 did not send what its pod sent into the tunnel"), "{report:#}");
    ensure!(found(&report, "cl01", "cl02", "throughput").count() == 0, "--basic: {report:#}");
    for cluster in &network.clusters {
        ensure!(devices(cluster.gateway())?.is_empty(), "devices are left after a failure");
    }
    Ok(())
}

/// What only one side can see is told without the other; flags about services are refused.
#[test]
fn one_side_alone() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = plain_pair(&lab)?;
    network.start()?;
    let node = &network.clusters[0].node;
    let alone = node.meshctl(&["test", "network", "-o", "json"])?;
    let report = report(&alone)?;
    ensure!(alone.status.success(), "{alone:?}");
    ensure!(found(&report, "cl01", "cl02", "connection").all(|found| found["outcome"] == "ok"), "{report:#}");
    ensure!(found(&report, "cl01", "cl02", "pod to pod").all(|found| found["outcome"] == "skipped"), "{report:#}");
    for flags in [&["--pod-np"][..], &["--np-ext"], &["--np-nodes", "workers"], &["--np-nodes"], &["--lb"]] {
        let refused = node.meshctl(&[&["test", "network"], flags].concat())?;
        ensure!(refused.status.code() == Some(2) && refused.stderr.contains("hint:"), "{flags:?}: {refused:?}");
    }
    Ok(())
}

/// A daemon that is killed leaves nothing of its test pods; each ends by itself, too.
#[test]
fn test_pods_end() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = plain_pair(&lab)?;
    network.start()?;
    let node = &mut network.clusters[0].node;
    let kept = open(node, &json!({ "life": 600 }))?;
    ensure!(kept["addresses"] == json!(["10.243.255.254"]), "{kept}");
    let short = open(node, &json!({ "life": 1, "addresses": ["10.243.9.9"] }))?;
    ensure!(devices(node.namespace())?.len() == 2 && trials(node)?.len() == 2, "both are there");
    let id = short["id"].as_str().context("an id")?;
    gone(node.namespace(), id)?;
    for (body, status) in [
        (json!({ "life": 0 }), 400),
        (json!({ "life": 3_601 }), 400),
        (json!({ "life": 9, "addresses": ["10.1.1.1"] }), 400),
        (json!({ "life": 9, "addresses": ["10.243.255.254"] }), 409),
    ] {
        let (code, reply) = ask(node, "POST", "/v1/trials", Some(&body))?;
        ensure!(code == status, "{body}: {code} {reply}");
    }
    let check = json!({ "from": "pod", "kind": "echo", "to": "10.243.255.254", "port": 7 });
    ensure!(ask(node, "POST", "/v1/trials/none/checks", Some(&check))?.0 == 404, "no such trial");
    node.kill()?;
    gone(node.namespace(), kept["id"].as_str().context("an id")?)?;
    let routes = node.namespace().ip(&["route", "show", "10.243.255.254"])?;
    ensure!(routes.trim().is_empty(), "{routes}");
    node.start()?;
    ensure!(trials(node)?.is_empty(), "a new daemon has none");
    let again = open(node, &json!({ "life": 600 }))?;
    let (code, reply) = ask(node, "DELETE", &format!("/v1/trials/{}", again["id"].as_str().context("an id")?), None)?;
    ensure!(code == 200 && devices(node.namespace())?.is_empty(), "{code} {reply}");
    Ok(())
}

fn programs() -> Result<Programs> {
    Programs::beside(env!("CARGO_BIN_EXE_meshd"))
}

/// Without IPv6.
fn plain_pair(lab: &Lab) -> Result<Network> {
    let mut network = Network::new(lab, "wire", UNDERLAY_MTU)?;
    for number in [1, 2] {
        network.add(lab, Site::new(number), Cables::Virtual, UNDERLAY_MTU, &programs()?)?;
    }
    network.connect(0, 1, Connection::Wireguard)?;
    Ok(network)
}

/// `meshctl test network` between the two.
fn test(network: &Network, arguments: &[&str]) -> Result<Finished> {
    let [local, remote] = [0, 1].map(|index| &network.clusters[index].node);
    let mut command = Command::new(local.program());
    command.arg("--socket").arg(local.socket()).args(["test", "network", "--remote-socket"]).arg(remote.socket());
    process::finish(command.args(arguments), PATIENCE)
}

fn report(finished: &Finished) -> Result<Value> {
    serde_json::from_str(&finished.stdout).with_context(|| format!("no report: {finished:?}"))
}

fn found<'a>(report: &'a Value, from: &'a str, to: &'a str, check: &'a str) -> impl Iterator<Item = &'a Value> {
    let checks = report["checks"].as_array().into_iter().flatten();
    checks.filter(move |found| found["from"] == from && found["to"] == to && found["check"] == check)
}

fn open(node: &Node, order: &Value) -> Result<Value> {
    let (code, reply) = ask(node, "POST", "/v1/trials", Some(order))?;
    ensure!(code == 200, "{code} {reply}\n{}", node.tail(20));
    Ok(reply)
}

fn trials(node: &Node) -> Result<Vec<Value>> {
    let (_, reply) = ask(node, "GET", "/v1/trials", None)?;
    reply["trials"].as_array().cloned().with_context(|| format!("no list: {reply}"))
}

fn ask(node: &Node, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--unix-socket"]).arg(node.socket());
    command.args(["--request", method, "--write-out", "\n%{http_code}", &format!("http://mesh{path}")]);
    if let Some(body) = body {
        command.args(["--header", "Content-Type: application/json", "--data-binary", &body.to_string()]);
    }
    let printed = process::output(&mut command, PATIENCE)?;
    let (body, code) = printed.rsplit_once('\n').context("curl writes the status")?;
    Ok((code.parse()?, serde_json::from_str(body).with_context(|| format!("not JSON: {body}"))?))
}

/// Of test pods.
fn devices(namespace: &Namespace) -> Result<Vec<String>> {
    let links = namespace.ip(&["-brief", "link", "show", "type", "veth"])?;
    Ok(links.lines().filter(|line| line.starts_with("mesh-trial-")).map(str::to_owned).collect())
}

fn gone(namespace: &Namespace, id: &str) -> Result<()> {
    let begun = Instant::now();
    interrupt::wait_for("a test pod to be gone", SOON, PAUSE, || {
        Ok(devices(namespace)?.iter().all(|device| !device.contains(id)).then_some(()))
    })
    .with_context(|| format!("after {:?}", begun.elapsed()))
}
