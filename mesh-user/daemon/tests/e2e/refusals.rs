//! Bad input: each is refused with a clear message, and nothing is applied.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Cables, Connection, Network, Site, UNDERLAY_MTU, wireguard_pair},
    interrupt,
    link::Port,
    node::Node,
    pass_xdp::PassXdp,
    process::{self, Finished},
};

use crate::{gateway::applied, programs};

const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// The daemon of the first cluster must end with an error that names all of `words`, and leave its gateway as it was.
fn expect_refusal(network: &Network, words: &[&str]) -> Result<()> {
    let node = &network.clusters[0].node;
    expect_refused(node, words, || node.run_to_end(PATIENCE))
}

/// The same of any daemon, however it is `run` to its end.
fn expect_refused(node: &Node, words: &[&str], run: impl FnOnce() -> Result<Finished>) -> Result<()> {
    let before = applied(node)?;
    let finished = run()?;
    let said = format!("{}\n{}", finished.stdout, finished.stderr);
    ensure!(!finished.status.success(), "it was accepted: {said}");
    for word in words {
        ensure!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    let after = applied(node)?;
    ensure!(after == before, "something was applied:\n{}", difference(&before, &after));
    Ok(())
}

/// Lines that are gone and lines that are new.
fn difference(before: &str, after: &str) -> String {
    let only = |sign, here: &str, there: &str| {
        let lines = here.lines().filter(|line| !there.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only('-', before, after) + &only('+', after, before)
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
        (
            "unknown field",
            format!("colour = \"red\"\n{good}"),
            vec!["cl01-gw/meshd.toml:7: unknown field `colour`, expected one of `cluster_id`"],
        ),
        (
            "wrong CIDR",
            good.replace("10.243.0.0/16", "10.243.0.0/99"),
            vec!["cl01-gw/meshd.toml:10: cidr.pod: \"10.243.0.0/99\" is no CIDR"],
        ),
        (
            "host bits",
            good.replace("10.243.0.0/16", "10.243.0.1/16"),
            vec!["cl01-gw/meshd.toml:10: cidr.pod: 10.243.0.1/16 has host bits set; write 10.243.0.0/16"],
        ),
        (
            "overlapping pools",
            good.replace("[cidr]\n", "[cidr]\npools = [\"10.0.0.0/8\", \"10.64.0.0/10\"]\n"),
            vec!["cl01-gw/meshd.toml: cidr.pools: pools 10.0.0.0/8 and 10.64.0.0/10 overlap"],
        ),
        (
            "own CIDRs that overlap",
            good.replace("10.70.0.0/16", "10.243.128.0/17"),
            vec!["cl01-gw/meshd.toml: cidr.external: 10.243.128.0/17 overlaps pod 10.243.0.0/16"],
        ),
        (
            "unknown interface",
            good.replace("und0", "eth7"),
            vec!["cl01-gw/meshd.toml: interface.name: there is no interface eth7"],
        ),
        (
            "unknown hook",
            good.replacen("\"auto\"", "\"fast\"", 1),
            vec!["cl01-gw/meshd.toml:17: unknown variant `fast`, expected one of `auto`, `xdp`"],
        ),
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
        (
            "unknown field",
            "configuration-cl02",
            configuration.replace("pod:", "pods:"),
            vec!["configuration-cl02.yaml: Configuration default/cl02: spec.remote.cidr.pods: unknown field"],
        ),
        (
            "wrong CIDR",
            "configuration-cl02",
            configuration.replace("10.243.0.0/16", "10.243.0/16"),
            vec![
                "configuration-cl02.yaml: Configuration default/cl02: spec.remote.cidr.pod[0]: \"10.243.0/16\" is no CIDR",
            ],
        ),
        (
            "lengths that differ",
            "configuration-cl02",
            unequal,
            vec![
                "configuration-cl02.yaml: Configuration default/cl02: spec.remote.presented.pod: 10.99.0.0/24 and the real prefix \
                 10.243.0.0/16 differ in length",
            ],
        ),
        (
            "own key as peer",
            "key-cl02",
            remote.public_key(&own_key),
            vec!["key-cl02.yaml: PublicKey default/cl02: spec.publicKey: ", &own_key, " is our own key"],
        ),
        (
            "broken YAML among good ones",
            "broken",
            "kind: [".to_owned(),
            vec!["broken.yaml:1: not readable: unclosed bracket '[' at line 1, column 7"],
        ),
        (
            "unknown kind",
            "unknown",
            "apiVersion: networking.liqo.io/v1beta1\nkind: Tunnel\n".to_owned(),
            vec![
                "unknown.yaml: Tunnel default/: kind: \"Tunnel\" is not known",
                "unknown.yaml: Tunnel default/: metadata: missing",
            ],
        ),
    ] {
        refuse_manifest(&network, name, &bad, &words).with_context(|| what.to_owned())?;
    }
    Ok(())
}

/// Puts a bad manifest in place of a good one, or of none, for one run.
fn refuse_manifest(network: &Network, name: &str, bad: &str, words: &[&str]) -> Result<()> {
    let node = &network.clusters[0].node;
    let good = std::fs::read_to_string(node.directory().join(format!("manifests/{name}.yaml")));
    node.put_manifest(name, bad)?;
    expect_refusal(network, words)?;
    match good {
        Ok(good) => node.put_manifest(name, &good),
        Err(_) => node.remove_manifest(name),
    }
}

/// One broken manifest holds back all that changed with it; what runs stays as it is, and all its errors are told.
#[test]
fn a_broken_manifest_among_good_ones_while_it_runs() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = Network::new(&lab, "wire", UNDERLAY_MTU)?;
    for number in 1..=3 {
        network.add(&lab, Site::new(number), Cables::Virtual, UNDERLAY_MTU, &programs()?)?;
    }
    network.connect(0, 1, Connection::Wireguard)?;
    network.start()?;
    let before = applied(&network.clusters[0].node)?;
    let broken = network.clusters[0].site.configuration(&Site::new(9), Connection::Wireguard);
    let broken =
        broken.replace("10.243.0.0/16", "10.243.0.0/33").replace("    cidr:\n", "    cidr:\n      colour: red\n");
    network.clusters[0].node.put_manifest("broken", &broken)?;
    network.connect(0, 2, Connection::Wireguard)?;
    let node = &network.clusters[0].node;
    let at = "broken.yaml: Configuration default/cl09: spec.remote.cidr";
    for problem in [format!("{at}.colour: unknown field"), format!("{at}.pod: \"10.243.0.0/33\" is no CIDR")] {
        interrupt::wait_for(&problem, PATIENCE, PAUSE, || {
            Ok(node.status()?.problems.iter().any(|told| told.contains(&problem)).then_some(()))
        })
        .with_context(|| format!("{:?}", node.status()))?;
    }
    // Long enough to look at the good manifests too.
    std::thread::sleep(Duration::from_secs(1));
    let status = node.status()?;
    ensure!(status.problems.iter().all(|problem| problem.starts_with("broken.yaml: ")), "{:?}", status.problems);
    ensure!(status.connection("cl03").is_err() && status.is_connected("cl02"), "{:?}", status.connections);
    let after = applied(node)?;
    ensure!(after == before, "something was applied:\n{}", difference(&before, &after));
    node.remove_manifest("broken")?;
    network.wait_connected(PATIENCE)?;
    ensure!(node.status()?.problems.is_empty() && applied(node)? != before, "{:?}", node.status()?);
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
    expect_refused(node, &["meshd needs CAP_NET_ADMIN for devices, addresses and routes"], || {
        process::finish(&mut command, PATIENCE)
    })
}

/// A server's port is taken: by name of the port, and nothing of this connection is applied.
#[test]
fn a_port_in_use() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    let node = &network.clusters[1].node;
    let _taken = node.namespace().enter(|| Ok(UdpSocket::bind("0.0.0.0:51840")?))?;
    expect_refused(
        node,
        &["nothing was applied: the tunnel mesh-cl01 cannot listen on UDP port 51840", "Address already in use"],
        || node.run_to_end(PATIENCE),
    )
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
    expect_refused(node, &["this kernel has no BTF (/sys/kernel/btf/vmlinux is missing)"], || {
        process::finish(&mut command, PATIENCE)
    })
}

#[test]
fn an_xdp_program_of_others() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    network.clusters[0].node.configure(&Site::new(1).with_hook("xdp").settings())?;
    let _foreign = PassXdp::attach(Port::new(network.clusters[0].gateway(), "und0"))?;
    expect_refusal(&network, &["nothing was applied: und0 has an XDP program of others"])
}
