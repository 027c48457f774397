//! Which nodes live, and whose peers have to go.
//!
//! A node lives while the store has its key, which is put with a lease that the node keeps alive. Peers that a node runs are
//! not put with it: what happens in a group is a change of the group, with its next version, so whoever has the registry
//! ends them by a command once the node is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::Registry;
use crate::model::group::{GroupId, NodeId};

/// What the store holds of a node that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeLease {
    pub node: NodeId,
    /// The store's number of it: each begin has another one.
    pub lease: u64,
    /// How long it lasts without being kept alive.
    pub seconds: u32,
}

/// Nodes that run peers and have no lease, since when.
///
/// One that was seen alive is gone as soon as its lease is. Of another nobody knows how long it could not say a word, because
/// nobody was there to hear it: it is given the time of a whole lease.
#[derive(Debug, Default)]
pub struct Absences {
    alive: BTreeSet<NodeId>,
    /// What is absent may be ended from then on.
    absent: BTreeMap<NodeId, Instant>,
    /// Of the last look: node and group.
    running: BTreeSet<(NodeId, GroupId)>,
}

impl Absences {
    /// Takes over a state of the registry.
    pub fn look(&mut self, registry: &Registry, now: Instant, patience: Duration) {
        self.running = registry
            .groups
            .values()
            .flat_map(|group| group.peers.values().filter_map(|peer| Some((peer.hv.as_ref()?, group.id()))))
            .filter(|(node, _)| !registry.nodes.contains_key(*node))
            .map(|(node, group)| (node.clone(), group.clone()))
            .collect();
        let mut absent = BTreeMap::new();
        for (node, _) in &self.running {
            let since = match self.absent.get(node) {
                Some(known) => *known,
                None if self.alive.contains(node) => now,
                None => now + patience,
            };
            absent.insert(node.clone(), since);
        }
        self.absent = absent;
        self.alive = registry.nodes.keys().cloned().collect();
    }

    /// Whose peers have to go, and from which groups.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = &(NodeId, GroupId)> {
        self.running.iter().filter(move |(node, _)| self.absent.get(node).is_some_and(|due| *due <= now))
    }
}
