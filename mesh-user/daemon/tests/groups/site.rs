//! Nodes on one wire that follow one hub.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab, Namespace, interrupt,
    link::{self, Port},
    node::{Node, Programs},
    process::{self, Daemon, Finished},
    traffic::End,
    wireguard::{Installed, Program},
};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// A hub and the nodes that follow it. The hub is 192.0.2.1.
pub(crate) struct Site {
    // Before the lab: what runs in its namespaces ends first.
    pub(crate) nodes: BTreeMap<&'static str, Node>,
    /// Network namespaces of instances, by path.
    rooms: BTreeMap<PathBuf, Namespace>,
    pub(crate) wire: Namespace,
    pub(crate) lab: Lab,
}

/// One local peer of a node, as `whoami` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) names: Vec<String>,
    pub(crate) end: End,
}

impl Site {
    pub(crate) fn new() -> Result<Site> {
        let lab = Lab::new()?;
        let wire = lab.namespace("wire")?;
        link::switch(&wire, "wire")?;
        Ok(Site { nodes: BTreeMap::new(), rooms: BTreeMap::new(), wire, lab })
    }

    /// A hub that runs nothing else.
    pub(crate) fn with_hub(rest: &str) -> Result<Site> {
        let mut site = Site::new()?;
        site.plug("hub", 1)?;
        site.start("hub", &format!("advertise = \"192.0.2.1\"\n{rest}"))?;
        Ok(site)
    }

    /// A namespace on the wire with the address 192.0.2.`number`.
    pub(crate) fn plug(&mut self, host: &'static str, number: u8) -> Result<Namespace> {
        let namespace = self.lab.namespace(host)?;
        link::plug(Port::new(&namespace, "und0"), Port::new(&self.wire, "wire"), host)?;
        link::address(Port::new(&namespace, "und0"), &[&format!("192.0.2.{number}/24")])?;
        self.node(host, &namespace)?;
        Ok(namespace)
    }

    pub(crate) fn node(&mut self, host: &'static str, namespace: &Namespace) -> Result<()> {
        let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
        self.nodes.insert(host, Node::new(&self.lab, host, namespace, &programs)?);
        Ok(())
    }

    /// A network namespace for an instance; made again if it was removed.
    pub(crate) fn room(&mut self, name: &str) -> Result<PathBuf> {
        let namespace = self.lab.namespace(name)?;
        Ok(self.keep(namespace))
    }

    /// Until the end of the site.
    pub(crate) fn keep(&mut self, namespace: Namespace) -> PathBuf {
        let path = namespace.path();
        self.rooms.insert(path.clone(), namespace);
        path
    }

    pub(crate) fn remove_room(&mut self, path: &Path) {
        self.rooms.remove(path);
    }

    /// Settings of a node that is called like its host, and its start.
    pub(crate) fn start(&mut self, host: &str, rest: &str) -> Result<()> {
        self.configure(host, rest)?;
        self.at_mut(host).start()
    }

    pub(crate) fn configure(&self, host: &str, rest: &str) -> Result<()> {
        self.at(host).configure(&format!("cluster_id = \"{host}\"\nnode_id = \"{host}\"\n{rest}"))
    }

    /// Settings of a node that follows the hub by its socket; namespaces share the file system.
    pub(crate) fn follower(&self, host: &str, rest: &str) -> Result<String> {
        let server = format!("unix://{}", self.at("hub").socket().display());
        let contexts = self.contexts(host, &format!("[context.hub]\nserver = {server:?}\n"))?;
        Ok(format!("hub = \"hub\"\ncontexts_file = {contexts:?}\n{rest}"))
    }

    pub(crate) fn contexts(&self, host: &str, text: &str) -> Result<PathBuf> {
        let path = self.at(host).directory().join("contexts.toml");
        fs::write(&path, text)?;
        Ok(path)
    }

    pub(crate) fn at(&self, host: &str) -> &Node {
        &self.nodes[host]
    }

    pub(crate) fn at_mut(&mut self, host: &str) -> &mut Node {
        self.nodes.get_mut(host).expect("the tests name nodes that they made")
    }

    /// `meshctl` at the hub, which must succeed.
    pub(crate) fn ng(&self, arguments: &[&str]) -> Result<String> {
        self.ng_at("hub", arguments)
    }

    pub(crate) fn ng_at(&self, host: &str, arguments: &[&str]) -> Result<String> {
        let finished = self.try_ng(host, arguments)?;
        let Finished { line, status, stdout, stderr } = finished;
        ensure!(status.success(), "`{line}` at {host} failed ({status}): {stdout}{stderr}\n{}", self.at(host).tail(20));
        Ok(stdout)
    }

    pub(crate) fn try_ng(&self, host: &str, arguments: &[&str]) -> Result<Finished> {
        self.at(host).meshctl(&[&["ng"], arguments].concat())
    }

    pub(crate) fn json(&self, host: &str, arguments: &[&str]) -> Result<Value> {
        let text = self.ng_at(host, &[arguments, &["-F", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// What the node says that it is, as far as it is up.
    pub(crate) fn peers(&self, host: &str) -> Result<Vec<Peer>> {
        let list = self.json(host, &["whoami"])?;
        let peers = list["peers"].as_array().context("whoami shows a list")?;
        // What is in a room that was removed is about to go.
        let has_room =
            |peer: &&Value| peer["netns"].as_str().is_none_or(|path| self.rooms.contains_key(Path::new(path)));
        peers.iter().filter(|peer| peer["up"] == true).filter(has_room).map(|peer| self.peer(host, peer)).collect()
    }

    fn peer(&self, host: &str, peer: &Value) -> Result<Peer> {
        let text = |name: &str| peer[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {peer}"));
        let namespace = match peer["netns"].as_str() {
            Some(path) => self.rooms[Path::new(path)].clone(),
            None => self.at(host).namespace().clone(),
        };
        let address: IpAddr = text("address")?.parse()?;
        Ok(Peer {
            group: text("ngLabel")?,
            member: text("member")?,
            id: text("peer")?,
            device: text("device")?,
            names: peer["names"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
            end: End::new(&namespace, address),
        })
    }

    /// Waits until so many peers of a node are up.
    pub(crate) fn wait_peers(&self, host: &str, count: usize) -> Result<Vec<Peer>> {
        self.wait_for(&format!("{count} peers of {host}"), PATIENCE, || {
            Ok(Some(self.peers(host)?).filter(|peers| peers.len() == count))
        })
        .with_context(|| format!("{}\n{}", self.ng_at(host, &["whoami"]).unwrap_or_default(), self.at(host).tail(40)))
    }

    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        patience: Duration,
        look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        interrupt::wait_for(what, patience, PAUSE, look)
    }

    /// Every node knows of so many WireGuard peers in a group.
    pub(crate) fn wait_known(&self, hosts: &[&str], group: &str, count: usize) -> Result<()> {
        for host in hosts {
            self.wait_for(&format!("{count} others in {group} at {host}"), PATIENCE, || {
                let list = self.json(host, &["whoami"])?;
                let peers = list["peers"].as_array().context("whoami shows a list")?;
                let own = peers.iter().filter(|peer| peer["ngLabel"] == group);
                let whole = own.map(|peer| peer["peers"].as_array().map_or(0, Vec::len)).all(|known| known == count);
                Ok(whole.then_some(()))
            })
            .with_context(|| self.ng_at(host, &["whoami"]).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// What the node's DNS server says of a name, asked in a network namespace.
pub(crate) fn resolve(namespace: &Namespace, name: &str) -> Result<Vec<IpAddr>> {
    let answer = namespace.run("dig", &["@127.0.0.153", "+short", "+tries=2", "+time=2", name, "A"])?;
    Ok(answer.lines().filter_map(|line| line.parse().ok()).collect())
}

/// A key pair of wg(8): the file of the private one, and the public one.
pub(crate) fn make_key(path: &Path) -> Result<String> {
    fs::write(path, process::output(Command::new("wg").arg("genkey"), PATIENCE)?)?;
    let public = process::output(Command::new("sh").args(["-c", "wg pubkey < \"$0\""]).arg(path), PATIENCE)?;
    Ok(public.trim().to_owned())
}

/// wireguard-go with what `get-config` says, its address and key filled in.
pub(crate) fn plain_wireguard(site: &Site, namespace: &Namespace, configuration: &str, key: &Path) -> Result<Daemon> {
    let mut command = namespace.command(wireguard_go()?);
    command.args(["--foreground", "wg0"]).env("LOG_LEVEL", "error");
    let daemon = Daemon::start("wireguard-go", command, &site.lab.directory().join("wireguard-go.log"))?;
    let stripped = configuration.lines().filter(|line| !line.starts_with("Address"));
    let text = stripped.collect::<Vec<_>>().join("\n").replace("<%PrivateKey%>", fs::read_to_string(key)?.trim());
    let file = site.lab.directory().join("plain.conf");
    fs::write(&file, text)?;
    let file = file.to_str().context("the directory of a lab is UTF-8")?;
    interrupt::wait_for("wireguard-go", PATIENCE, PAUSE, || {
        Ok(namespace.run("wg", &["setconf", "wg0", file]).is_ok().then_some(()))
    })
    .with_context(|| daemon.tail(10))?;
    let address = configuration.lines().find_map(|line| line.strip_prefix("Address = ")).context("no address")?;
    let device = Port::new(namespace, "wg0");
    link::mtu(device, 1_340)?;
    link::address(device, &[address.trim()])?;
    namespace.ip(&["link", "set", "dev", "wg0", "up"])?;
    Ok(daemon)
}

/// What `cargo xtask setup` unpacked.
fn wireguard_go() -> Result<PathBuf> {
    Ok(Installed::beside(Path::new(env!("CARGO_BIN_EXE_meshd")))?.path(Program::WireguardGo))
}
