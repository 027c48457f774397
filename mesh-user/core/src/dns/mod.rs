//! What does this node answer to a DNS query about its network groups?
//!
//! [`LocalGroups`] says which groups can be seen from which network namespace. Sockets live in the daemon.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::registry::Group;

/// The groups that have a peer of this node, by the network namespace that the peer's tunnel is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalGroups {
    /// `None`: the namespace of the daemon. A group that did not change is the same [`Arc`] as before.
    pub by_netns: BTreeMap<Option<PathBuf>, Vec<Arc<Group>>>,
}
