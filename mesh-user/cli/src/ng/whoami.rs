//! `meshctl ng whoami`: which peers this node is, with address, group and names.

use mesh_core::api::node::{JoinList, LocalPeer};

use super::Desk;
use crate::{
    exit::Failure,
    table::{cell, latency, pairs, render},
};

pub(super) fn run(desk: &Desk) -> Result<String, Failure> {
    let list: JoinList = desk.daemon.get("/v1/node/whoami")?;
    desk.form.print(&list, |list| {
        if list.peers.is_empty() {
            return "This node is no peer of any group. `meshctl ng join GROUP` makes it one.\n".to_owned();
        }
        let peers: Vec<String> = list.peers.iter().map(peer).collect();
        peers.join("\n")
    })
}

/// One local peer, with the WireGuard peers that it has.
pub(super) fn peer(local: &LocalPeer) -> String {
    let state = match (local.up, local.hub_reachable) {
        (true, true) => "up".to_owned(),
        (true, false) => "up, with what was kept of an unreachable hub".to_owned(),
        (false, _) => "not up".to_owned(),
    };
    let mut rows = vec![
        ("Group", format!("{} ({})", local.ng_label, local.ng_id)),
        ("Org", local.org.to_string()),
        ("Address", local.address.to_string()),
        ("Member", local.member.to_string()),
        ("Peer", local.peer.to_string()),
        ("Node", local.hv.to_string()),
        ("Names", local.names.join(", ")),
        ("Device", format!("{}, port {}", local.device, local.listen_port)),
        ("Public Key", local.public_key.to_string()),
        ("State", state),
    ];
    if let Some(netns) = &local.netns {
        rows.push(("Namespace", netns.display().to_string()));
    }
    if !local.detail.is_empty() {
        rows.push(("Detail", local.detail.clone()));
    }
    let mut text = pairs(&rows);
    if !local.peers.is_empty() {
        text.push('\n');
        text += &remotes(local);
    }
    text
}

fn remotes(local: &LocalPeer) -> String {
    let row = |remote: &mesh_core::api::node::RemotePeer| {
        vec![
            remote.address.to_string(),
            remote.member.to_string(),
            remote.peer.to_string(),
            cell(remote.endpoint.as_deref().unwrap_or("")),
            remote.latency_us.map_or("-".to_owned(), latency),
            remote.handshake_age_s.map_or("-".to_owned(), |age| format!("{age} s ago")),
        ]
    };
    let rows: Vec<_> = local.peers.iter().map(row).collect();
    render(&["Address", "Member", "Peer", "Endpoint", "Latency", "Handshake"], &rows)
}
