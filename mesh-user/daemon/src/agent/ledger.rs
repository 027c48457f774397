//! Which peers does this node run, and which did it undertake to run? Kept on disk before anything is registered, so that
//! no crash leaves a peer that nobody knows, and none is registered twice.

use std::path::PathBuf;

use anyhow::Result;
use mesh_core::model::group::{GroupId, Label, MemberId, Org, PeerId};
use serde::{Deserialize, Serialize};

use super::home::Home;
use crate::state::StateDirectory;

const PEERS: &str = "peers.json";
const JOINS: &str = "joins.json";

/// What a local peer is for. Two peers never have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purpose {
    /// First, since it is what most often differs.
    pub group: GroupId,
    pub home: Home,
    pub org: Org,
    pub member: MemberId,
    pub netns: Option<PathBuf>,
}

/// A peer of this node, registered or about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    pub purpose: Purpose,
    pub peer: PeerId,
    /// Another WireGuard to everybody else: no node runs its member.
    pub is_external: bool,
    pub label: Option<Label>,
    pub listen_port: u16,
    /// The registry has had it.
    pub was_registered: bool,
}

/// What `join` asked for, until `leave`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joined {
    pub(super) purpose: Purpose,
    pub(super) group_label: String,
    /// The member was made for this peer alone.
    pub(super) is_external: bool,
    pub(super) label: Option<Label>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    state: StateDirectory,
    pub(super) peers: Vec<Kept>,
    pub(super) joins: Vec<Joined>,
}

impl Ledger {
    pub(super) fn open(state: StateDirectory) -> Result<Ledger> {
        let (peers, joins) = (state.ledger(PEERS)?.unwrap_or_default(), state.ledger(JOINS)?.unwrap_or_default());
        Ok(Ledger { state, peers, joins })
    }

    pub(super) fn save_peers(&self) -> Result<()> {
        self.state.save_ledger(PEERS, &self.peers)
    }

    pub(super) fn save_joins(&self) -> Result<()> {
        self.state.save_ledger(JOINS, &self.joins)
    }

    pub(super) fn of(&self, purpose: &Purpose) -> Option<&Kept> {
        self.peers.iter().find(|kept| kept.purpose == *purpose)
    }

    /// Forgets a peer with its key.
    pub(super) fn forget(&mut self, peer: &PeerId) -> Result<()> {
        self.peers.retain(|kept| kept.peer != *peer);
        self.save_peers()?;
        self.state.forget_peer_key(peer)
    }
}
