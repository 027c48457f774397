//! Bad input: each is refused with a clear message, and nothing is applied.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Connection, Network, Site, wireguard_pair},
    interrupt,
    link::Port,
    pass_xdp::PassXdp,
    process,
};

use crate::programs;

const PATIENCE: Duration = Duration::from_secs(15);

/// The daemon must end with an error that names all of `words`, and the gateway must be as before.
fn expect_refusal(network: &Network, words: &[&str]) -> Result<()> {
    let cluster = &network.clusters[0];
    let before = applied(network)?;
    let finished = cluster.node.run_to_end(PATIENCE)?;
    let said = format!("{}\n{}", finished.stdout, finished.stderr);
    ensure!(!finished.status.success(), "it was accepted: {said}");
    for word in words {
        ensure!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(applied(network)? == before, "something was applied:\n{}", applied(network)?);
    Ok(())
}

/// What a daemon would add to the gateway.
fn applied(network: &Network) -> Result<String> {
    let gateway = network.clusters[0].gateway();
    let routes = gateway.ip(&["route", "show", "table", "all", "proto", "177"])?;
    let links = gateway.ip(&["-br", "link"])?;
    let names = links.lines().map(|line| line.split_whitespace().next().unwrap_or_default());
    Ok(format!("{}\n{routes}", names.collect::<Vec<_>>().join(" ")))
}

fn pair(lab: &Lab) -> Result<Network> {
    wireguard_pair(lab, &programs()?)
}

fn settings() -> String {
    Site::new(1).settings()
}

#[test]
fn bad_settings() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    let good = settings();
    for (what, bad, words) in [
        ("unknown field", format!("colour = \"red\"\n{good}"), vec!["colour", "meshd.toml"]),
        ("wrong CIDR", good.replace("10.243.0.0/16", "10.243.0.0/99"), vec!["10.243.0.0/99", "meshd.toml"]),
        ("host bits", good.replace("10.243.0.0/16", "10.243.0.1/16"), vec!["10.243.0.1/16"]),
        (
            "overlapping pools",
            good.replace("[cidr]\n", "[cidr]\npools = [\"10.0.0.0/8\", \"10.64.0.0/10\"]\n"),
            vec!["10.0.0.0/8", "10.64.0.0/10"],
        ),
        ("own CIDRs that overlap", good.replace("10.70.0.0/16", "10.243.128.0/17"), vec!["10.243.128.0/17"]),
        ("unknown interface", good.replace("und0", "eth7"), vec!["eth7"]),
        ("unknown hook", good.replacen("\"auto\"", "\"fast\"", 1), vec!["fast"]),
    ] {
        network.clusters[0].node.configure(&bad)?;
        expect_refusal(&network, &words).with_context(|| what.to_owned())?;
    }
    Ok(())
}

#[test]
fn bad_manifests() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    let (local, remote) = (network.clusters[0].site.clone(), network.clusters[1].site.clone());
    let own_key = network.clusters[0].public_key().to_owned();
    let configuration = local.configuration(&remote, Connection::Wireguard);
    let unequal = configuration
        .replace("  remote:\n", "  remote:\n    presented:\n      pod: [10.99.0.0/24, \"fd00:10:99::/48\"]\n");
    for (what, name, bad, words) in [
        ("unknown field", "configuration-cl02", configuration.replace("pod:", "pods:"), vec!["pods"]),
        (
            "wrong CIDR",
            "configuration-cl02",
            configuration.replace("10.243.0.0/16", "10.243.0/16"),
            vec!["10.243.0/16"],
        ),
        ("lengths that differ", "configuration-cl02", unequal, vec!["10.99.0.0/24", "10.243.0.0/16"]),
        ("own key as peer", "key-cl02", remote.public_key(&own_key), vec!["key"]),
        ("broken YAML among good ones", "broken", "kind: [".to_owned(), vec!["broken.yaml"]),
        (
            "unknown kind",
            "unknown",
            "apiVersion: networking.liqo.io/v1beta1\nkind: Tunnel\n".to_owned(),
            vec!["Tunnel"],
        ),
    ] {
        let good = std::fs::read_to_string(network.clusters[0].node.directory().join(format!("manifests/{name}.yaml")));
        network.clusters[0].node.put_manifest(name, &bad)?;
        expect_refusal(&network, &words).with_context(|| what.to_owned())?;
        match good {
            Ok(good) => network.clusters[0].node.put_manifest(name, &good)?,
            Err(_) => network.clusters[0].node.remove_manifest(name)?,
        }
    }
    Ok(())
}

#[test]
fn no_privileges() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    let node = &network.clusters[0].node;
    let mut command = node.namespace().command("setpriv");
    command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(env!("CARGO_BIN_EXE_meshd"));
    command.arg("--config").arg(node.settings());
    let finished = process::finish(&mut command, PATIENCE)?;
    let said = format!("{}\n{}", finished.stdout, finished.stderr);
    ensure!(!finished.status.success() && said.contains("CAP_NET_ADMIN"), "{said}");
    Ok(())
}

/// A server's port is taken: by name of the port, and nothing of this connection is applied.
#[test]
fn a_port_in_use() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = pair(&lab)?;
    let server = &network.clusters[1];
    let _taken = server.gateway().enter(|| Ok(UdpSocket::bind("0.0.0.0:51840")?))?;
    let node = &mut network.clusters[1].node;
    node.spawn()?;
    let said = interrupt::wait_for("the port to be named", PATIENCE, Duration::from_millis(50), || {
        Ok(Some(node.log()?).filter(|log| log.contains("51840") && log.contains("in use")))
    });
    said.with_context(|| node.tail(30))?;
    Ok(())
}

/// Without type information of the kernel the programs cannot be loaded.
#[test]
fn no_btf() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    let node = &network.clusters[0].node;
    let mut command = node.namespace().command("unshare");
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_meshd"), "--config"]).arg(node.settings());
    let finished = process::finish(&mut command, PATIENCE)?;
    let said = format!("{}\n{}", finished.stdout, finished.stderr);
    ensure!(!finished.status.success() && said.contains("/sys/kernel/btf/vmlinux"), "{said}");
    Ok(())
}

#[test]
fn an_xdp_program_of_others() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    network.clusters[0].node.configure(&Site::new(1).with_hook("xdp").settings())?;
    let _foreign = PassXdp::attach(Port::new(network.clusters[0].gateway(), "und0"))?;
    expect_refusal(&network, &["und0", "XDP program"])
}
