//! Who reaches whom: everybody in a group, nobody across groups.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    link::{self, Port},
    traffic::{self, End, echo, echo::Fragmentation},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::site::{PATIENCE, Peer, Site, make_key, plain_wireguard, resolve};

/// Payload that fills a packet of the tunnel's MTU, 1,340 bytes less the headers of IPv4 and UDP.
const FULL: usize = 1_312;

/// NG-17, NG-21, NG-22, NG-34, NG-47: five nodes, one of them the hub and one behind NAT that reaches the hub by mutual
/// TLS, two groups, one node in both, three instances of one application, and a plain WireGuard peer from `get-config`.
#[test]
fn everybody_in_a_group_and_nobody_across() -> Result<()> {
    let mut site = Site::new()?;
    let [one, two] = lay_out(&mut site)?;
    let (plain, _wireguard) = plain_peer(&mut site)?;
    // Two clients have no way to each other: somebody must be called.
    let is_client = |end: &Peer| end.member == "app_nat" || end.member == "plain";
    let first: Vec<Peer> = one.iter().cloned().chain([plain]).collect();
    for (index, from) in first.iter().enumerate() {
        for to in first.iter().filter(|to| to.id != from.id && !(is_client(to) && is_client(from))) {
            reach(from, to, index as u64).with_context(|| site.at("b").tail(15))?;
        }
    }
    for (from, to) in [(&two[0], &two[1]), (&two[1], &two[0])] {
        reach(from, to, 9)?;
    }
    by_name(&site, &one, &two)?;
    // By the very same nodes, to addresses of the other group.
    for (from, to) in two.iter().flat_map(|from| first.iter().map(move |to| (from, to))) {
        let is_same_node = from.end.namespace.name() == to.end.namespace.name();
        if is_same_node || (from.member == "app_both") {
            continue;
        }
        let answers = traffic::answers_ping(&from.end, to.end.address, 1)?
            || traffic::answers_ping(&to.end, from.end.address, 1)?;
        ensure!(!answers, "{} and {} reach each other across groups", from.member, to.member);
    }
    Ok(())
}

/// Nodes hub, a (three instances), b (in both groups), c (behind NAT), d. The peers of the two groups.
fn lay_out(site: &mut Site) -> Result<[Vec<Peer>; 2]> {
    for (host, number) in [("hub", 1), ("a", 2), ("b", 3), ("d", 5)] {
        site.plug(host, number)?;
    }
    certificates(site)?;
    let file = |site: &Site, name: &str| site.lab.directory().join(name).display().to_string();
    let listener = format!(
        "[api]\nlisten = \"192.0.2.1:7443\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n\
         [[principal]]\nname = \"c\"\nroles = [\"member of default/one\"]\n",
        file(site, "ca.pem"),
        file(site, "hub.pem"),
        file(site, "hub.key"),
    );
    site.start("hub", &format!("advertise = \"192.0.2.1\"\n{listener}[[instance]]\nmember = \"app_hub\"\n"))?;
    let rooms = [site.room("i1")?, site.room("i2")?, site.room("i3")?];
    let instances: String =
        rooms.iter().map(|room| format!("[[instance]]\nmember = \"app_web\"\nnetns = {room:?}\n")).collect();
    site.start("a", &site.follower("a", &format!("advertise = \"192.0.2.2\"\n{instances}"))?)?;
    site.start("b", &site.follower("b", "advertise = \"192.0.2.3\"\n[[instance]]\nmember = \"app_both\"\n")?)?;
    site.start("d", &site.follower("d", "advertise = \"192.0.2.5\"\n[[instance]]\nmember = \"app_two\"\n")?)?;
    behind_nat(site)?;
    site.ng(&["create", "one", "--link", "app_hub,app_web,app_both,app_nat"])?;
    site.ng(&["create", "two", "--link", "app_both,app_two"])?;

    let hub = site.wait_peers("hub", 1)?;
    let web = site.wait_peers("a", 3)?;
    let both = site.wait_peers("b", 2)?;
    let other = site.wait_peers("d", 1)?;
    let client = site.wait_peers("c", 1)?;
    site.wait_known(&["hub", "a", "b", "c"], "one", 5)?;
    site.wait_known(&["b", "d"], "two", 1)?;
    let (one, two): (Vec<Peer>, Vec<Peer>) = both.into_iter().partition(|peer| peer.group == "one");
    Ok([[hub, web, one, client].concat(), [two, other].concat()])
}

/// `c` has no address that others could call, and the hub's certificate is all that it trusts.
fn behind_nat(site: &mut Site) -> Result<()> {
    let router = site.lab.namespace("nat")?;
    link::plug(Port::new(&router, "out0"), Port::new(&site.wire, "wire"), "nat")?;
    link::address(Port::new(&router, "out0"), &["192.0.2.4/24"])?;
    let inside = site.lab.namespace("c")?;
    link::veth(Port::new(&inside, "eth0"), Port::new(&router, "in0"))?;
    link::address(Port::new(&inside, "eth0"), &["198.51.100.2/24"])?;
    link::address(Port::new(&router, "in0"), &["198.51.100.1/24"])?;
    inside.ip(&["route", "add", "default", "via", "198.51.100.1"])?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    let rules = "table ip nat {
        chain out { type nat hook postrouting priority 100; oifname out0 masquerade random; }
        chain pass { type filter hook forward priority 0; policy drop;
            ct state established,related accept; iifname in0 accept; }
    }";
    router.run("nft", &[rules])?;
    site.keep(router);
    site.node("c", &inside)?;
    let file = |name: &str| site.lab.directory().join(name).display().to_string();
    let contexts = site.contexts(
        "c",
        &format!(
            "[context.hub]\nserver = \"https://192.0.2.1:7443\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
            file("ca.pem"),
            file("c.pem"),
            file("c.key")
        ),
    )?;
    let settings = format!("hub = \"hub\"\ncontexts_file = {contexts:?}\n[[instance]]\nmember = \"app_nat\"\n");
    site.start("c", &settings)
}

/// Any WireGuard, from what `get-config` says.
fn plain_peer(site: &mut Site) -> Result<(Peer, mesh_lab::process::Daemon)> {
    let namespace = site.plug("plain", 6)?;
    let key = site.lab.directory().join("plain.key");
    let public = make_key(&key)?;
    site.ng(&["create", "external", "plain", "one", &public])?;
    let configuration = site.ng(&["get-config", "plain", "one"])?;
    let daemon = plain_wireguard(site, &namespace, &configuration, &key)?;
    let address = configuration.lines().find_map(|line| line.strip_prefix("Address = ")).context("no address")?;
    let address: std::net::Ipv4Addr = address.split('/').next().unwrap_or_default().parse()?;
    site.wait_known(&["hub", "a", "b", "c"], "one", 6)?;
    let name = || "plain".to_owned();
    let end = End::new(&namespace, address);
    Ok((
        Peer { group: "one".to_owned(), member: name(), id: name(), device: "wg0".to_owned(), names: vec![], end },
        daemon,
    ))
}

/// Each member of a group finds the others by their names, and nobody of another group.
fn by_name(site: &Site, one: &[Peer], two: &[Peer]) -> Result<()> {
    let find = |from: &Peer, to: &Peer| -> Result<bool> {
        let found = to.names.iter().map(|name| resolve(&from.end.namespace, name)).collect::<Result<Vec<_>>>()?;
        Ok(found.iter().all(|addresses| addresses.contains(&to.end.address)))
    };
    for (from, to) in
        [one, two].into_iter().flat_map(|all| all.iter().flat_map(move |from| all.iter().map(move |to| (from, to))))
    {
        site.wait_for(&format!("{} to find {:?}", from.member, to.names), PATIENCE, || {
            Ok(find(from, to)?.then_some(()))
        })?;
    }
    let web = one.iter().find(|peer| peer.member == "app_web").context("there are three")?;
    let all = resolve(&one[0].end.namespace, &web.names[0])?;
    ensure!(all.len() == 3, "{} is {all:?}, and there are three instances", web.names[0]);
    let stranger = two.iter().find(|peer| peer.member == "app_two").context("it is in no other group")?;
    ensure!(resolve(&stranger.end.namespace, &web.names[0])?.is_empty(), "a name is known outside of its group");
    Ok(())
}

/// On TCP, UDP and ICMP.
pub(crate) fn reach(from: &Peer, to: &Peer, seed: u64) -> Result<()> {
    let what = || format!("{} ({}) to {} ({})", from.member, from.end.address, to.member, to.end.address);
    let dial = to.end.address;
    mesh_lab::interrupt::wait_for("the first answer", PATIENCE, Duration::from_millis(100), || {
        Ok(traffic::answers_ping(&from.end, dial, 1)?.then_some(()))
    })
    .with_context(what)?;
    let seen = echo::tcp(&from.end, &to.end, dial, 20_000, seed).with_context(what)?;
    ensure!(seen == from.end.address, "{}: it was seen as {seen}", what());
    echo::udp(&from.end, &to.end, dial, &[1, FULL], Fragmentation::Forbidden, seed).with_context(what)?;
    Ok(())
}

/// An authority, and what it signed: `hub` for 192.0.2.1, and the client `c`.
/// Of the authority, the hub and the principal `c`.
pub(crate) fn certificates(site: &Site) -> Result<()> {
    let directory = site.lab.directory();
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text);
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    write("ca.pem", authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    for (name, address) in [("hub", vec!["192.0.2.1".to_owned()]), ("c", vec![])] {
        let mut params = CertificateParams::new(address)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer)?.pem())?;
        write(&format!("{name}.key"), key.serialize_pem())?;
    }
    Ok(())
}
