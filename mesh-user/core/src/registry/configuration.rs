//! The configuration of one peer, as wg-quick(8) reads it.

use std::fmt::{self, Write as _};

use ipnet::IpNet;

use super::Group;
use crate::model::group::{Endpoint, Label, Peer};

/// Stands where the private key belongs, which only the peer itself knows.
pub const PRIVATE_KEY_PLACEHOLDER: &str = "<%PrivateKey%>";

/// Seconds. Holds the ways through NAT devices and firewalls open.
const KEEPALIVE: u16 = 25;

/// What `peer` needs to be in its group: every other peer of it, with the endpoint of those that can be called. Lines end
/// with LF.
pub fn configuration(group: &Group, peer: &Peer) -> String {
    let mut text = String::new();
    write(&mut text, group, peer).expect("a String takes everything");
    text
}

fn write(text: &mut String, group: &Group, peer: &Peer) -> fmt::Result {
    writeln!(text, "[Interface]")?;
    writeln!(text, "PrivateKey = {PRIVATE_KEY_PLACEHOLDER}")?;
    writeln!(text, "Address = {}/{}", peer.endpoint.address(), group.group.network_ip.prefix_len())?;
    if let Some(term) = peer.endpoint.public() {
        writeln!(text, "ListenPort = {}", term.port)?;
    }
    let others = group.peers.values().filter(|other| other.id != peer.id);
    others.into_iter().try_for_each(|other| write_peer(text, other))
}

fn write_peer(text: &mut String, peer: &Peer) -> fmt::Result {
    let address = IpNet::from(peer.endpoint.address());
    writeln!(text, "\n[Peer]")?;
    writeln!(text, "# {} of {}", peer.label.as_ref().map_or(peer.id.as_str(), Label::as_str), peer.parent_member)?;
    writeln!(text, "PublicKey = {}", peer.public_key)?;
    writeln!(text, "AllowedIPs = {address}")?;
    writeln!(text, "PersistentKeepalive = {KEEPALIVE}")?;
    match &peer.endpoint {
        Endpoint::ServerEndpoint(server) => {
            let called = std::net::SocketAddr::new(server.public_term.host, server.public_term.port);
            writeln!(text, "Endpoint = {called}")
        }
        Endpoint::ClientEndpoint(_) => Ok(()),
    }
}
