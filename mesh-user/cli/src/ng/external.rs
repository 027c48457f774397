//! `meshctl ng create external` and `delete external`: peers that any WireGuard can be.

use std::net::IpAddr;

use clap::Args;
use mesh_core::{
    api::group::{CreateExternalPeer, FullGroup, GroupReply, PeerReply},
    model::group::{Label, MemberId, PeerKind, PeerRole},
    plan::PublicKey,
};

use super::{Desk, show};
use crate::{
    confirm::Confirmation,
    exit::{Exit, Failure},
};

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Label of the peer
    peer: Label,
    /// Id or label
    group: String,
    /// As `wg pubkey` prints it
    #[arg(value_name = "PUBKEY")]
    public_key: PublicKey,
    /// client: calls the servers, as behind NAT; server: is called at --ip and --port
    #[arg(long, value_name = "client|server", value_parser = role, default_value = "client")]
    role: PeerRole,
    /// Where a server is called
    #[arg(long)]
    ip: Option<IpAddr>,
    #[arg(long)]
    port: Option<u16>,
    /// An external member that is there already [default: a new one]
    #[arg(long, value_name = "ID")]
    member: Option<MemberId>,
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// Id or label of the peer
    peer: String,
    /// Id or label
    group: String,
    #[command(flatten)]
    confirmation: Confirmation,
}

pub(super) fn create(desk: &Desk, arguments: &CreateArguments) -> Result<String, Failure> {
    let CreateArguments { peer, group, public_key, role, ip, port, member, hostname } = arguments;
    let body = CreateExternalPeer {
        label: peer.clone(),
        parent_member: member.clone(),
        peer_role: *role,
        public_key: *public_key,
        ip: *ip,
        port: *port,
        hostname: hostname.clone(),
        parent_event: None,
    };
    let reply: PeerReply = desk.daemon.post(desk.group_url(group, &["external-peers"]), &body)?;
    desk.form.print(&reply, |PeerReply { ng_id, peer, .. }| {
        let (name, address) = (show::name(peer), peer.endpoint.address());
        format!(
            "External peer {name} ({}) of member {} has {address} in {ng_id}\n\
             `meshctl ng get-config {} {ng_id}` prints its WireGuard configuration\n",
            peer.id, peer.parent_member, peer.id
        )
    })
}

pub(super) fn delete(desk: &Desk, arguments: &DeleteArguments) -> Result<String, Failure> {
    let DeleteArguments { peer, group, confirmation } = arguments;
    let url = desk.group_url(group, &["peers", peer]);
    let found: PeerReply = desk.daemon.get(url.clone())?;
    if found.peer.kind != PeerKind::ExternalPeer {
        let message = format!("{} is no external peer: a node runs it", found.peer.id);
        let hint =
            format!("`meshctl ng leave` there ends it, or `meshctl ng unlink {} {group}`", found.peer.parent_member);
        return Err(Failure::new(Exit::Conflict, message, hint));
    }
    if !confirmation.is_given() {
        let full: GroupReply = desk.daemon.get(desk.group_url(group, &[]))?;
        confirmation.ask(&consequence(&found, &full.network_group))?;
    }
    let reply: PeerReply = desk.daemon.delete(url)?;
    desk.form.print(&reply, |PeerReply { ng_id, peer, .. }| {
        format!("External peer {} ({}) was deleted from {ng_id}\n", show::name(peer), peer.id)
    })
}

fn consequence(found: &PeerReply, full: &FullGroup) -> String {
    let peer = &found.peer;
    let of_member = full.peers.iter().filter(|other| other.parent_member == peer.parent_member).count();
    let with = if of_member > 1 { String::new() } else { format!(", with its member {}", peer.parent_member) };
    let (name, address) = (show::name(peer), peer.endpoint.address());
    format!("External peer {name} ({}, {address}) of {} will be deleted{with}.", peer.id, full.group.label)
}

fn role(text: &str) -> Result<PeerRole, String> {
    match text.to_ascii_lowercase().as_str() {
        "client" => Ok(PeerRole::Client),
        "server" => Ok(PeerRole::Server),
        _ => Err("client or server".to_owned()),
    }
}
