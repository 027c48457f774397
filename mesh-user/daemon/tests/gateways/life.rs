//! What a connection lives through, and what is refused so that it lives.

use anyhow::{Context, Result, ensure};
use mesh_lab::{Lab, demo::Network, interrupt};

use crate::site::{PATIENCE, PAUSE, carry, client, pair, programs, server, shown, wait_for};

const TO_SERVER: [&str; 2] = ["addresses: [172.31.0.2]", "port: 51840"];

fn connected(lab: &Lab) -> Result<Network> {
    let programs = programs()?;
    let mut network = pair(lab, [&programs, &programs])?;
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840"], &[]))?;
    network.clusters[0].node.put_manifest("gateway", &client(&TO_SERVER, &[]))?;
    network.clusters[1].node.start()?;
    network.clusters[0].node.start()?;
    carry(&network)?;
    Ok(network)
}

fn age(network: &Network, cluster: usize, remote: &str) -> Result<u64> {
    network.clusters[cluster].node.status()?.connection(remote)?.handshake_age_s.context("there is no session")
}

#[test]
fn a_changed_gateway_keeps_its_session() -> Result<()> {
    let lab = Lab::new()?;
    let network = connected(&lab)?;
    interrupt::wait_for("an age to compare with", PATIENCE, PAUSE, || {
        Ok((age(&network, 0, "cl02")? >= 4 && age(&network, 1, "cl01")? >= 4).then_some(()))
    })?;
    // The same again, with another annotation; with another candidate; with a probe of its own.
    let [a, b] = [&network.clusters[0], &network.clusters[1]];
    let annotated = client(&TO_SERVER, &[]).replace("  name: gw\n", "  name: gw\n  annotations: { by: hand }\n");
    a.node.put_manifest("gateway", &annotated)?;
    a.node.put_manifest("gateway", &client(&["addresses: [172.31.0.2, 172.31.0.3]", "port: 51840"], &[]))?;
    let template = "serverTemplateRef: { name: wireguard-server-pingdisabled, namespace: liqo }";
    b.node.put_manifest("gateway", &server(&["port: 51840"], &[template]))?;
    wait_for(a, "gatewayclient", "the new spec", |_| {
        let shown = shown(a, "gatewayclient").ok()?;
        (shown["spec"]["endpoint"]["addresses"][1] == "172.31.0.3").then_some(())
    })?;
    carry(&network)?;
    let ages = [age(&network, 0, "cl02")?, age(&network, 1, "cl01")?];
    ensure!(ages.iter().all(|age| *age >= 4), "a session was made anew: {ages:?}");
    Ok(())
}

#[test]
fn restarts_of_either_end_and_of_both() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = connected(&lab)?;
    for restarted in [&[1][..], &[0], &[0, 1]] {
        let before = network.clusters[1].node.status()?.connection("cl01")?.endpoint.clone();
        for cluster in restarted {
            network.clusters[*cluster].node.kill()?;
        }
        for cluster in restarted {
            network.clusters[*cluster].node.start()?;
        }
        carry(&network)?;
        let after = network.clusters[1].node.status()?.connection("cl01")?.endpoint.clone();
        // A client has another port after each start, and the server follows it.
        ensure!(!restarted.contains(&0) || before != after, "{before:?} {after:?}");
    }
    Ok(())
}

#[test]
fn a_gateway_with_a_key_pair_of_its_own() -> Result<()> {
    let lab = Lab::new()?;
    let network = connected(&lab)?;
    let [a, b] = [&network.clusters[0], &network.clusters[1]];
    b.node.put_manifest("gateway", &server(&["port: 51840"], &["secretRef: { name: for-cl01 }"]))?;
    let key = wait_for(b, "gatewayserver", "another public key", |status| {
        let key = status["publicKey"].as_str()?;
        (key != b.public_key()).then(|| key.to_owned())
    })?;
    a.node.put_manifest("key", &b.site.public_key(&key))?;
    carry(&network)?;
    let file = b.node.directory().join("state/secrets/for-cl01.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions()) & 0o777;
    ensure!(mode == 0o600, "{} has mode {mode:o}", file.display());
    Ok(())
}

#[test]
fn unequal_mtus_are_refused() -> Result<()> {
    let lab = Lab::new()?;
    let network = connected(&lab)?;
    let a = &network.clusters[0];
    let key = network.clusters[1].site.public_key(network.clusters[1].public_key());
    let annotated = key.replace("  name: cl02\n", "  name: cl02\n  annotations: { mesh/mtu: \"1420\" }\n");
    a.node.put_manifest("key", &annotated)?;
    interrupt::wait_for("the refusal", PATIENCE, PAUSE, || {
        let told = a.node.status()?.problems.join("\n");
        Ok((told.contains("the MTU of cl02 is 1420") && told.contains("GatewayClient default/gw")).then_some(()))
    })
    .with_context(|| a.node.tail(20))?;
    // What was in force stays so.
    carry(&network)
}

/// Of the server: its port stands in the template alone.
fn template(port: u16) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: WgGatewayServerTemplate\nmetadata: {{ name: mine, namespace: custom }}\n\
         spec:\n  objectKind: {{ apiVersion: networking.liqo.io/v1beta1, kind: WgGatewayServer }}\n  template:\n    \
         metadata: {{ name: \"{{{{ .Name }}}}\" }}\n    spec: {{ driver: wireguard, ports: [{port}], mtu: \"{{{{ .Spec.MTU }}}}\" }}\n"
    )
}

#[test]
fn a_changed_template_is_rendered_anew() -> Result<()> {
    let lab = Lab::new()?;
    let network = connected(&lab)?;
    let [a, b] = [&network.clusters[0], &network.clusters[1]];
    let apply = |port: u16| {
        let file = lab.directory().join("template.yaml");
        std::fs::write(&file, template(port))?;
        let applied = b.node.meshctl(&["apply", "-f", &file.display().to_string()])?;
        ensure!(applied.status.success(), "{}{}", applied.stdout, applied.stderr);
        Ok(())
    };
    let told = |port: u16| {
        let is_told = |status: &serde_json::Value| (status["endpoint"]["port"] == port).then_some(());
        wait_for(b, "gatewayserver", "the port of the template", is_told)
    };
    apply(6_111)?;
    b.node.put_manifest(
        "gateway",
        &server(&["port: 51840"], &["serverTemplateRef: { name: mine, namespace: custom }"]),
    )?;
    told(6_111)?;
    apply(6_112)?;
    told(6_112)?;
    a.node.put_manifest("gateway", &client(&["addresses: [172.31.0.2]", "port: 6112"], &[]))?;
    carry(&network)?;
    // A template that a gateway needs stays good.
    let file = lab.directory().join("bad.yaml");
    std::fs::write(&file, template(6_113).replace(".Spec.MTU", ".Spec.Mut"))?;
    let refused = b.node.meshctl(&["apply", "-f", &file.display().to_string()])?;
    let words = "template custom/mine.spec.mtu: there is no variable .Spec.Mut";
    ensure!(!refused.status.success() && refused.stderr.contains(words), "{}{}", refused.stdout, refused.stderr);
    told(6_112)
}
