//! `get`, `create`, `apply`, `delete` and `info` of objects of the inter-cluster network.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::interrupt;

use crate::pair::{PAUSE, Pair};

const MANIFESTS: &str = "\
apiVersion: networking.liqo.io/v1beta1
kind: Configuration
metadata:
  labels:
    liqo.io/remote-cluster-id: cl09
    team: net
  name: dry-paper
spec:
  remote:
    cidr:
      external: 10.70.0.0/16
      pod: 10.243.0.0/16
---
apiVersion: networking.liqo.io/v1beta1
kind: GatewayServer
metadata:
  labels:
    liqo.io/remote-cluster-id: cl09
  name: server
spec:
  endpoint:
    port: 51840
    serviceType: NodePort
  mtu: 1340
  serverTemplateRef:
    apiVersion: networking.liqo.io/v1beta1
    kind: WgGatewayServerTemplate
    name: wireguard-server
    namespace: liqo
";

/// LQ-12, LQ-62: manifests are applied, read in every form and spelling, and deleted.
#[test]
fn manifests_are_applied_read_and_deleted() -> Result<()> {
    let pair = Pair::start(1)?;
    fs::write(pair.home.join("m.yaml"), MANIFESTS)?;
    let said = pair.done(0, "meshctl apply -f m.yaml --dry-run")?;
    ensure!(said.contains("configuration/default/dry-paper would be created"), "{said}");
    ensure!(said.contains("In the kernel and the daemon:\n") && said.contains("+ route 10.71.0.0/16"), "{said}");
    ensure!(pair.done(0, "meshctl get conf -A")?.contains("Nothing found"), "a dry run changed something");
    let said = pair.done(0, "cat m.yaml | meshctl apply -f -")?;
    ensure!(
        said.contains("configuration/default/dry-paper created")
            && said.contains("gatewayserver/default/server created"),
        "{said}"
    );
    let expected = "configuration/dry-paper\n";
    for kind in ["configurations.networking.liqo.io", "conf", "Configuration", "configurations"] {
        ensure!(pair.done(0, &format!("meshctl get {kind} -o name"))? == expected, "{kind}");
    }
    for (selector, shown) in
        [("team=net", true), ("team!=net", false), ("team", true), ("liqo.io/remote-cluster-id=x", false)]
    {
        let found = pair.done(0, &format!("meshctl get conf -l {selector} -o name"))?;
        ensure!((found == expected) == shown, "{selector}: {found}");
    }
    let pod = pair.done(0, "meshctl get conf dry-paper -o jsonpath='{.spec.remote.cidr.pod} {.metadata.name}'")?;
    ensure!(pod == "10.243.0.0/16 dry-paper", "{pod}");
    ensure!(pair.done(0, "meshctl get conf -n elsewhere")?.contains("Nothing found"));
    pair.fails(0, "meshctl get conf absent", 3)?;
    // What is printed applies unmodified, and changes nothing.
    let said = pair.done(0, "meshctl get conf -A -o yaml > c.yaml && meshctl apply -f c.yaml")?;
    ensure!(said.contains("unchanged"), "{said}");
    // All or nothing.
    let broken = MANIFESTS.replace("dry-paper", "other").replace("cl09", "cl10").replace("port: 51840", "port: 0");
    fs::write(pair.home.join("broken.yaml"), broken)?;
    let told = pair.fails(0, "meshctl apply -f broken.yaml", 2)?;
    ensure!(told.contains("spec.endpoint.port"), "{told}");
    pair.fails(0, "meshctl get conf other", 3)?;
    let said = pair.done(0, "meshctl delete -f m.yaml --yes")?;
    ensure!(said == "gatewayserver/server deleted\nconfiguration/dry-paper deleted\n", "{said}");
    pair.fails(0, "meshctl delete conf dry-paper --yes", 3)?;
    pair.done(0, "meshctl delete conf dry-paper --yes --ignore-not-found")?;
    Ok(())
}

/// LQ-62: what changes is shown as it changes.
#[test]
fn objects_are_watched() -> Result<()> {
    let pair = Pair::start(1)?;
    let log = pair.home.join("watched");
    let mut command = pair.command(0, "exec meshctl get conf -w -A")?;
    let mut child = command.stdin(Stdio::null()).stdout(fs::File::create(&log)?).stderr(Stdio::null()).spawn()?;
    let seen = |what: &str| {
        interrupt::wait_for(what, Duration::from_secs(10), PAUSE, || {
            Ok(fs::read_to_string(&log)?.contains(what).then_some(()))
        })
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())
    };
    let done = (|| {
        fs::write(pair.home.join("m.yaml"), MANIFESTS)?;
        pair.done(0, "meshctl apply -f m.yaml")?;
        seen("NAMESPACE  NAME")?;
        seen("10.71.0.0/16")?;
        pair.done(0, "meshctl delete conf dry-paper --yes")?;
        seen("deleted")
    })();
    child.kill()?;
    child.wait()?;
    done
}

/// LQ-13, LQ-60: everything that `create` makes, printed and made.
#[test]
fn objects_are_created() -> Result<()> {
    let pair = Pair::start(1)?;
    let key = "YgrU6lGpQZoLcLTUUVyTGbrAbPRt8lHqFcEHbaXWqRE=";
    let lines = [
        "configuration far --remote-cluster-id cl09 --pod-cidr 10.243.0.0/16 --external-cidr 10.70.0.0/16 --wait"
            .to_owned(),
        format!("publickey far --remote-cluster-id cl09 --public-key {key}"),
        "ip db --ip 192.0.2.7 --masquerade".to_owned(),
        "network lab --cidr 10.90.0.0/24".to_owned(),
    ];
    for line in &lines {
        let kind = line.split(' ').next().unwrap_or_default();
        let before = pair.done(0, &format!("meshctl get {kind} -o name"))?;
        let printed = pair.json(0, &format!("meshctl create {line} -o json"))?;
        ensure!(pair.done(0, &format!("meshctl get {kind} -o name"))? == before, "{line} -o json changed something");
        let said = pair.done(0, &format!("meshctl create {line}"))?;
        ensure!(said.trim_end().ends_with(" created"), "{said}");
        let name = printed["metadata"]["name"].as_str().context("no name")?;
        let made = pair.json(0, &format!("meshctl get {kind} {name} -o json"))?;
        ensure!(made["spec"] == printed["spec"], "{made} is not {printed}");
        ensure!(pair.done(0, &format!("meshctl create {line}"))?.contains("unchanged"), "{line}");
    }
    Ok(())
}

/// LQ-55, LQ-56: what a cluster says of itself.
#[test]
fn info_and_generate() -> Result<()> {
    let pair = Pair::start(1)?;
    ensure!(pair.done(0, "meshctl info --get clusterid")? == "cl01\n");
    ensure!(pair.done(0, "meshctl info --get network.podcidrs")? == "10.243.0.0/16\n");
    ensure!(pair.json(0, "meshctl info -o json")?["network"]["externalcidrs"][0] == "10.70.0.0/16");
    let configuration = pair.done(0, "meshctl generate configuration")?;
    for line in
        ["kind: Configuration", "liqo.io/remote-cluster-id: cl01", "external: 10.70.0.0/16", "pod: 10.243.0.0/16"]
    {
        ensure!(configuration.contains(line), "no {line} in\n{configuration}");
    }
    let told = pair.fails(0, "meshctl generate publickey --gateway-type server --gateway-name none", 3)?;
    ensure!(told.contains("there is no GatewayServer none"), "{told}");
    let told = pair.fails(0, "meshctl info peer cl09", 3)?;
    ensure!(told.contains("knows no cluster cl09"), "{told}");
    fs::write(pair.home.join("m.yaml"), MANIFESTS)?;
    pair.done(0, "meshctl apply -f m.yaml")?;
    ensure!(pair.done(0, "meshctl info peer cl09 --get network.cidr.pod")? == "10.243.0.0/16\n");
    ensure!(pair.done(0, "meshctl info peer cl09 --get network.status")? == "Unhealthy\n");
    let about = pair.done(0, "meshctl info peer cl09")?;
    ensure!(about.contains("Alerts") && about.contains("PublicKey"), "{about}");
    Ok(())
}
