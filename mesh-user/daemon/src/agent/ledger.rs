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

/// Somebody asked for it; else it is an instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsJoin(pub(super) bool);

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

    /// Whatever `is_moved` is of `home` from now on: the same store, reached in another way. Two for one purpose stay two.
    pub(super) fn move_to(&mut self, home: &Home, is_moved: impl Fn(&Purpose, IsJoin) -> bool) {
        let joined: Vec<Purpose> = self.joins.iter().map(|joined| joined.purpose.clone()).collect();
        let moved = |purpose: &Purpose, is_join| {
            let same = purpose.home.is_same_store(home) && purpose.home != *home;
            same && is_moved(purpose, is_join)
        };
        for place in 0..self.peers.len() {
            let purpose = &self.peers[place].purpose;
            let target = Purpose { home: home.clone(), ..purpose.clone() };
            if moved(purpose, IsJoin(joined.contains(purpose))) && self.of(&target).is_none() {
                self.peers[place].purpose = target;
                self.unsaved.peers = true;
            }
        }
        for place in 0..self.joins.len() {
            let purpose = &self.joins[place].purpose;
            let target = Purpose { home: home.clone(), ..purpose.clone() };
            let is_there = self.joins.iter().any(|joined| joined.purpose == target);
            if moved(purpose, IsJoin(true)) && !is_there {
                self.joins[place].purpose = target;
                self.unsaved.joins = true;
            }
        }
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

    #[test]
    fn a_certificate_that_moved_leaves_the_peers_what_they_are() {
        let hub = |server: &str, cert: &str| {
            let cert = Some(PathBuf::from(cert));
            Home::Hub(mesh_core::api::node::Server { server: server.to_owned(), ca: None, cert, key: None })
        };
        let at = |home: &Home, peer: &str, member: &str| {
            let mut kept = kept(peer);
            (kept.purpose.home, kept.purpose.member) = (home.clone(), member.parse().unwrap());
            kept
        };
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(StateDirectory::open(directory.path()).unwrap()).unwrap();
        let (old, new, other) = (hub("https://hub", "/old"), hub("https://hub", "/new"), hub("https://other", "/old"));
        let [a, b, c, d] = ["02", "03", "04", "05"].map(|end| format!("peer_4b1f8bd6-2dd7-4d4b-9c7a-0f9f3a9d0a{end}"));
        for kept in [at(&old, &a, "app_a"), at(&old, &b, "app_b"), at(&other, &c, "app_c"), at(&new, &d, "app_b")] {
            ledger.add(kept);
        }
        let purpose = at(&old, &a, "app_join").purpose;
        ledger.joins.push(Joined { purpose, group_label: "x".to_owned(), is_external: false, label: None });
        ledger.move_to(&new, |_, is_join| is_join == IsJoin(false));
        let homes: Vec<&Home> = ledger.peers.iter().map(|kept| &kept.purpose.home).collect();
        assert_eq!(homes, [&new, &old, &other, &new], "the second has a successor, the third is another hub's");
        assert_eq!(ledger.joins[0].purpose.home, old);
        ledger.move_to(&new, |_, is_join| is_join == IsJoin(true));
        assert_eq!(ledger.joins[0].purpose.home, new);
    }
}
