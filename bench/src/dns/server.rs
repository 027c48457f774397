//! Our server by itself: what a daemon that is in one group starts.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use mesh_core::{
    dns::LocalGroups,
    model::Settings,
    registry::{Group, Revision, Stored},
};
use meshd::dns;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{MEMBERS, PEERS, address, member_id, member_name};

pub(super) const GROUP: &str = "ng_5f0c6a52-6f0e-4c43-9d1c-d4c8b9b1f7aa";
pub(super) const SUFFIX: &str = "cc-ng.cloud";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
}

/// Until it is killed.
pub(crate) fn run(asked: &Arguments) -> Result<()> {
    let text = format!("cluster_id = \"bench\"\n[dns]\nlisten = [\"{}\"]\nregister = false\n", asked.listen);
    let settings = Settings::parse("the bench", &text)?;
    let groups = LocalGroups { by_netns: [(None, vec![Arc::new(group()?)])].into() };
    let (_groups, reader) = watch::channel(Arc::new(groups));
    let _server = dns::start(&settings, reader)?;
    loop {
        std::thread::park();
    }
}

fn group() -> Result<Group> {
    let network = stored(json!({
        "id": GROUP, "ownerId": "default", "label": "bench", "scope": "workloads",
        "networkIp": "10.105.0.0/16", "lastAllocatedIp": "10.105.0.4", "version": 1,
    }))?;
    let (mut members, mut peers) = (BTreeMap::new(), BTreeMap::new());
    for member in 0..MEMBERS {
        let id = member_id(member);
        let object = json!({ "id": id, "kind": "APPLICATION", "domainName": member_name(member) });
        members.insert(id.parse()?, stored(object)?);
        for peer in 0..PEERS {
            let peer_id = format!("p{member}-{peer}");
            let object = json!({
                "type": "CleverPeer", "id": peer_id, "hostname": "h", "parentMember": id,
                "publicKey": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
                "endpoint": { "type": "ClientEndpoint", "ngIp": address(member, peer) },
            });
            peers.insert(peer_id.parse()?, stored(object)?);
        }
    }
    Ok(Group::new(network, members, peers, BTreeMap::new()))
}

fn stored<T: DeserializeOwned>(object: Value) -> Result<Stored<T>> {
    let object = serde_json::from_value(object).context("an object of the bench's group")?;
    Ok(Stored { modified: Revision(1), object: Arc::new(object) })
}
