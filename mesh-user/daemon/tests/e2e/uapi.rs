//! The UAPI sockets of a plan's tunnels, asked by the real `wg`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::{Lab, demo::wireguard_pair, interrupt, process};

use crate::programs;

const PATIENCE: Duration = Duration::from_secs(10);
const DEVICE: &str = "mesh-cl02";

/// `wg` looks in one directory only, and follows links that are there.
struct Link(PathBuf);

impl Link {
    fn to(socket: &Path) -> Result<Link> {
        let directory = Path::new("/var/run/wireguard");
        fs::create_dir_all(directory)?;
        let link = directory.join(format!("mu{}.sock", std::process::id()));
        let _ = fs::remove_file(&link);
        symlink(socket, &link)?;
        Ok(Link(link))
    }

    /// What `wg` takes it for.
    fn device(&self) -> Result<&str> {
        self.0.file_stem().and_then(|name| name.to_str()).context("its name is ASCII")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_tunnel_tells_wg_the_truth_and_takes_no_orders() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    network.wait_connected(Duration::from_secs(20))?;
    let socket = network.clusters[0].node.directory().join("wireguard").join(format!("{DEVICE}.sock"));
    let link = Link::to(&socket)?;
    let namespace = network.clusters[0].node.namespace().clone();
    let dump = namespace.run("wg", &["show", link.device()?, "dump"])?;
    let lines: Vec<Vec<&str>> = dump.lines().map(|line| line.split('\t').collect()).collect();
    let status = network.clusters[0].node.status()?;
    let connection = status.connections.first().context("there is a connection")?;
    let key = fs::read_to_string(network.clusters[0].node.private_key_file())?;
    let port = connection.listen_port.context("it listens")?.to_string();
    ensure!(lines[0][..3] == [key.trim(), network.clusters[0].public_key(), &port], "{dump}");
    let peer = &lines[1];
    ensure!(peer[0] == network.clusters[1].public_key() && peer[1] == "(none)", "{dump}");
    ensure!(Some(peer[2]) == connection.endpoint.as_deref(), "{dump}");
    ensure!(peer[3] == "10.70.0.0/16,10.243.0.0/16,fd00:10:70::/48,fd00:10:243::/48", "{dump}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!(now - peer[4].parse::<u64>()? < 60, "{dump}");
    ensure!(peer[5].parse::<u64>()? > 0 && peer[6].parse::<u64>()? > 0, "{dump}");

    for change in [&["fwmark", "7"][..], &["listen-port", "0"], &["peer", peer[0], "remove"]] {
        let mut command = namespace.command("wg");
        let refused = process::finish(command.args(["set", link.device()?]).args(change), PATIENCE)?;
        ensure!(!refused.status.success() && refused.stderr.contains("Operation not permitted"), "{}", refused.stderr);
    }
    network.wait_connected(Duration::from_secs(20))?;

    // Made anew when somebody removes it, gone with the tunnel.
    fs::remove_file(&socket)?;
    interrupt::wait_for("the socket", PATIENCE, Duration::from_millis(20), || Ok(socket.exists().then_some(())))?;
    let node = &mut network.clusters[0].node;
    node.terminate()?;
    ensure!(!socket.exists(), "the daemon ended and left its socket");
    node.start()?;
    interrupt::wait_for("the socket", PATIENCE, Duration::from_millis(20), || Ok(socket.exists().then_some(())))?;
    node.kill()?;
    ensure!(socket.exists(), "nobody took it away");
    node.cleanup()?;
    ensure!(!socket.exists(), "cleanup left a socket");
    Ok(())
}

#[test]
fn the_socket_goes_with_the_tunnel() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let node = &mut network.clusters[0].node;
    let socket = node.directory().join("wireguard").join(format!("{DEVICE}.sock"));
    interrupt::wait_for("the socket", PATIENCE, Duration::from_millis(20), || Ok(socket.exists().then_some(())))?;
    let manifests = fs::read_dir(node.directory().join("manifests"))?;
    for manifest in manifests.flatten().map(|entry| entry.path()) {
        fs::remove_file(manifest)?;
    }
    interrupt::wait_for("its end", PATIENCE, Duration::from_millis(20), || Ok((!socket.exists()).then_some(())))
}
