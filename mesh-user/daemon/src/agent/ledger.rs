//! Which peers does this node run, and which did it undertake to run? Kept on disk before anything is registered, so that
//! no crash leaves a peer that nobody knows, and none is registered twice.

use std::{net::IpAddr, path::PathBuf};

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
    /// The node's lease that the registry last had it under.
    #[serde(default)]
    pub lease: Option<u64>,
    /// The last one that it had.
    #[serde(default)]
    pub address: Option<IpAddr>,
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
    /// What of them is otherwise on disk.
    unsaved: Unsaved,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unsaved {
    peers: bool,
    joins: bool,
}

impl Ledger {
    pub(super) fn open(state: StateDirectory) -> Result<Ledger> {
        let (peers, joins) = (state.ledger(PEERS)?.unwrap_or_default(), state.ledger(JOINS)?.unwrap_or_default());
        // A key is made before its peer is written down, and outlives it there: a crash between leaves it.
        let peers: Vec<Kept> = peers;
        state.keep_peer_keys(|peer| peers.iter().any(|kept| kept.peer == *peer))?;
        Ok(Ledger { state, peers, joins, unsaved: Unsaved::default() })
    }

    /// To be saved before anything else is done.
    pub(super) fn add(&mut self, kept: Kept) {
        self.peers.push(kept);
        self.unsaved.peers = true;
    }

    pub(super) fn save_peers(&mut self) -> Result<()> {
        self.unsaved.peers = true;
        self.state.save_ledger(PEERS, &self.peers)?;
        self.unsaved.peers = false;
        Ok(())
    }

    pub(super) fn save_joins(&mut self) -> Result<()> {
        self.unsaved.joins = true;
        self.state.save_ledger(JOINS, &self.joins)?;
        self.unsaved.joins = false;
        Ok(())
    }

    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved != Unsaved::default()
    }

    /// What was not, or could not be, saved when it changed.
    pub(super) fn save_rest(&mut self) -> Result<()> {
        if self.unsaved.peers {
            self.save_peers()?;
        }
        if self.unsaved.joins {
            self.save_joins()?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(peer: &str) -> Kept {
        let purpose = Purpose {
            group: "ng_4b1f8bd6-2dd7-4d4b-9c7a-0f9f3a9d0a01".parse().unwrap(),
            home: Home::Own,
            org: "default".parse().unwrap(),
            member: "app_a".parse().unwrap(),
            netns: None,
        };
        let peer = peer.parse().unwrap();
        let (label, lease, address) = Default::default();
        Kept { purpose, peer, is_external: false, label, listen_port: 51820, was_registered: false, lease, address }
    }

    #[test]
    fn keys_that_a_crash_left_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let mut ledger = Ledger::open(state.clone()).unwrap();
        let known = kept("peer_4b1f8bd6-2dd7-4d4b-9c7a-0f9f3a9d0a02");
        let key = state.peer_key(&known.peer).unwrap();
        let orphan = "peer_4b1f8bd6-2dd7-4d4b-9c7a-0f9f3a9d0a03".parse().unwrap();
        state.peer_key(&orphan).unwrap();
        ledger.add(known.clone());
        ledger.save_rest().unwrap();
        Ledger::open(state.clone()).unwrap();
        let left = std::fs::read_dir(directory.path().join("keys")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [format!("{}.key", known.peer).as_str()]);
        assert_eq!(state.peer_key(&known.peer).unwrap(), key);
    }

    #[test]
    fn what_could_not_be_saved_is_saved_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let state = StateDirectory::open(&path).unwrap();
        let mut ledger = Ledger::open(state.clone()).unwrap();
        ledger.add(kept("peer_4b1f8bd6-2dd7-4d4b-9c7a-0f9f3a9d0a02"));
        assert!(ledger.is_unsaved());
        std::fs::remove_dir_all(&path).unwrap();
        ledger.save_rest().unwrap_err();
        ledger.save_joins().unwrap_err();
        assert!(ledger.is_unsaved());
        std::fs::create_dir(&path).unwrap();
        ledger.save_rest().unwrap();
        assert!(!ledger.is_unsaved());
        assert_eq!(Ledger::open(state).unwrap().peers, ledger.peers);
    }
}
