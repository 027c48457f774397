//! What begins and ends with the lease of a node.

use std::collections::BTreeSet;

use super::peer;
use crate::{
    model::group::{GroupId, NodeId, PeerId},
    registry::{Change, Condition, Key, NodeLease, Object, Registry},
};

pub(super) fn begin(registry: &Registry, lease: &NodeLease) -> Change {
    if registry.nodes.contains_key(&lease.node) {
        return Change::default();
    }
    let key = Key::Node(lease.node.clone());
    Change {
        conditions: vec![Condition { key: key.clone(), modified: None }],
        puts: vec![(key, Object::Node(lease.clone()))],
        deletes: Vec::new(),
    }
}

/// On condition that the node is not back, wherever that was heard.
pub(super) fn end_peers(registry: &Registry, group: &GroupId, node: &NodeId) -> Change {
    let Some(group) = registry.groups.get(group).filter(|_| !registry.nodes.contains_key(node)) else {
        return Change::default();
    };
    let ended: BTreeSet<&PeerId> =
        group.peers.iter().filter(|(_, peer)| peer.hv.as_ref() == Some(node)).map(|(id, _)| id).collect();
    if ended.is_empty() {
        return Change::default();
    }
    let mut change = peer::remove(group, &ended);
    change.conditions.push(Condition { key: Key::Node(node.clone()), modified: None });
    change
}
