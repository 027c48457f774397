//! `meshctl ng join` and `leave`.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::link::{self, Port};
use serde_json::Value;

use crate::{
    reach::{certificates, reach},
    site::{PATIENCE, Site},
};

/// NG-41, NG-46, NG-49: a node joins by request, is a peer when the command returns, and leaves without a trace.
#[test]
fn a_join_returns_when_the_peer_is_up() -> Result<()> {
    let mut site = Site::with_hub("[[instance]]\nmember = \"app_hub\"\n")?;
    site.plug("a", 2)?;
    site.start("a", &site.follower("a", "")?)?;
    site.ng(&["create", "one", "--link", "app_hub"])?;
    let hub = site.wait_peers("hub", 1)?.remove(0);

    let joined: Value = site.json("a", &["join", "one"])?;
    let peer = &joined["peer"];
    ensure!(peer["up"] == true && peer["ngLabel"] == "one", "{joined}");
    let own = site.peers("a")?.remove(0);
    ensure!(own.member.starts_with("external_"), "{own:?}");
    reach(&own, &hub, 1).with_context(|| site.at("a").tail(30))?;
    // Again: the same peer.
    let again: Value = site.json("a", &["join", "one"])?;
    ensure!(again["peer"]["peer"] == peer["peer"], "{again} was {joined}");
    let key = site.at("a").directory().join(format!("state/keys/{}.key", own.id));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");

    // What is asked of a store is refused here, and says where it is answered.
    let refused = site.try_ng("a", &["create", "two"])?;
    let told = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.status.code() == Some(4) && told.contains("follows the hub"), "{refused:?}");

    // As `wg show` would ask.
    let told = uapi(&site.at("a").directory().join(format!("wireguard/{}.sock", own.device)))?;
    ensure!(told.contains(&format!("allowed_ip={}/32", hub.end.address)) && told.contains("errno=0"), "{told}");

    // As an instance of a member, in a namespace of its own, beside the first.
    let room = site.room("j1")?;
    let room = room.to_str().context("the directory of a lab is UTF-8")?.to_owned();
    let refused = site.try_ng("a", &["join", "one", "--member", "app_x", "--netns", &room])?;
    ensure!(refused.status.code() == Some(3), "a member that is not linked: {refused:?}");
    site.ng(&["link", "app_x", "one"])?;
    site.ng_at("a", &["join", "one", "--member", "app_x", "--netns", &room])?;
    let peers = site.wait_peers("a", 2)?;
    let instance = peers.iter().find(|peer| peer.member == "app_x").context("no peer of app_x")?;
    reach(instance, &hub, 2).with_context(|| site.at("a").tail(30))?;

    // A restart keeps both.
    site.at_mut("a").kill()?;
    site.at_mut("a").start()?;
    site.wait_peers("a", 2)?;
    let devices = || site.at("a").namespace().ip(&["-o", "link", "show", "type", "tun"]);
    ensure!(!devices()?.is_empty());
    for _ in 0..2 {
        let member = own.member.as_str();
        site.ng_at("a", &["leave", "one", "--member", member])?;
        ensure!(devices()?.is_empty(), "left: {}", devices()?);
        site.ng_at("a", &["leave", "one", "--member", "app_x"])?;
    }
    ensure!(site.peers("a")?.is_empty());
    ensure!(!key.exists(), "the key outlives its peer");
    site.wait_known(&["hub"], "one", 0)?;
    let group: Value = site.json("hub", &["get", "one"])?;
    ensure!(!group.to_string().contains(&own.member), "the external member is left: {group}");
    Ok(())
}

fn uapi(socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"get=1\n\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    Ok(told)
}

/// NG-32: what is not there is said at once, and leaves nothing behind.
#[test]
fn a_join_of_nothing_is_refused() -> Result<()> {
    let site = Site::with_hub("")?;
    let refused = site.try_ng("hub", &["join", "nowhere", "-F", "json"])?;
    ensure!(refused.status.code() == Some(3), "{refused:?}");
    ensure!(refused.stdout.contains("\"not_found\""), "{refused:?}");
    ensure!(site.json("hub", &["whoami"])?["peers"] == serde_json::json!([]));
    Ok(())
}

/// NG-24: two who have the same prefix cannot be in one network namespace; both are named.
#[test]
fn a_prefix_that_is_in_use_here_is_not_joined() -> Result<()> {
    let mut site = Site::with_hub("")?;
    let namespace = site.plug("a", 2)?;
    site.start("a", &site.follower("a", "")?)?;
    site.ng(&["create", "one", "--cidr", "10.9.0.0/16"])?;
    link::address(Port::new(&namespace, "und0"), &["10.9.3.1/24"])?;
    let refused = site.at("a").meshctl(&["--timeout", "3", "ng", "join", "one"])?;
    ensure!(refused.status.code() == Some(6), "{refused:?}");
    ensure!(refused.stderr.contains("10.9.0.0/16") && refused.stderr.contains("10.9.3.1/24"), "{refused:?}");
    // Without the other one it comes up by itself.
    namespace.ip(&["address", "del", "10.9.3.1/24", "dev", "und0"])?;
    site.wait_peers("a", 1)?;
    Ok(())
}

/// NG-41: a role that is withdrawn for a while ends no join, and a certificate that lies elsewhere makes no new peer.
#[test]
fn a_withdrawn_role_and_a_moved_certificate_end_no_join() -> Result<()> {
    let mut site = Site::new()?;
    site.plug("hub", 1)?;
    site.plug("c", 4)?;
    certificates(&site)?;
    let file = |site: &Site, name: &str| site.lab.directory().join(name);
    let hub = |site: &Site, group: &str| {
        let [ca, cert, key] = ["ca.pem", "hub.pem", "hub.key"].map(|name| file(site, name));
        format!(
            "[api]\nlisten = \"192.0.2.1:7443\"\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n[[principal]]\n\
             name = \"c\"\nroles = [\"member of default/{group}\"]\n"
        )
    };
    let follow = |site: &Site, name: &str| {
        let [ca, cert, key] = ["ca.pem", &format!("{name}.pem"), &format!("{name}.key")].map(|name| file(site, name));
        let server = "server = \"https://192.0.2.1:7443\"";
        site.contexts("c", &format!("[context.hub]\n{server}\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n"))
    };
    site.start("hub", &hub(&site, "one"))?;
    let contexts = follow(&site, "c")?;
    site.start("c", &format!("hub = \"hub\"\ncontexts_file = {contexts:?}\n"))?;
    site.ng(&["create", "one"])?;
    site.ng_at("c", &["join", "one"])?;
    let joined = site.wait_peers("c", 1)?.remove(0);

    site.configure("hub", &hub(&site, "another"))?;
    site.at_mut("hub").kill()?;
    site.at_mut("hub").start()?;
    site.wait_for("the group to be out of sight", PATIENCE, || Ok(site.peers("c")?.is_empty().then_some(())))?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    site.configure("hub", &hub(&site, "one"))?;
    site.at_mut("hub").kill()?;
    site.at_mut("hub").start()?;
    let again = site.wait_peers("c", 1)?.remove(0);
    ensure!((&again.id, again.end.address) == (&joined.id, joined.end.address), "{again:?} was {joined:?}");

    site.at_mut("c").kill()?;
    for end in ["pem", "key"] {
        std::fs::rename(file(&site, &format!("c.{end}")), file(&site, &format!("moved.{end}")))?;
    }
    follow(&site, "moved")?;
    site.at_mut("c").start()?;
    let again = site.wait_peers("c", 1)?.remove(0);
    ensure!((&again.id, again.end.address) == (&joined.id, joined.end.address), "{again:?} was {joined:?}");
    let peers = site.json("hub", &["get", "one"])?.to_string();
    ensure!(peers.matches("\"ExternalPeer\"").count() == 1, "{peers}");
    Ok(())
}

/// NG-50: a manifest that belongs to the hub is told, and holds up nothing else.
#[test]
fn a_follower_tells_of_groups_in_its_manifests() -> Result<()> {
    let mut site = Site::with_hub("")?;
    site.plug("a", 2)?;
    site.configure("a", &site.follower("a", "")?)?;
    let group = "apiVersion: mesh/v1\nkind: NetworkGroup\nmetadata: {name: shop}\n";
    site.at("a").put_manifest("groups", group)?;
    site.at_mut("a").spawn()?;
    // What else it has to do is done.
    site.ng(&["create", "one"])?;
    site.wait_for("the node to join", PATIENCE, || Ok(site.ng_at("a", &["join", "one"]).ok()))?;
    site.wait_peers("a", 1)?;
    let status = site.at("a").meshctl(&["status"])?;
    let told = format!("{}{}", status.stdout, status.stderr);
    ensure!(told.contains("groups.yaml") && told.contains("follows the hub"), "{told}");
    Ok(())
}
