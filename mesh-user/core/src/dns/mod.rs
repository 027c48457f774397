//! What does this node answer to a DNS query about its network groups?
//!
//! [`LocalGroups`] says which groups can be seen from which network namespace; [`Zones`] makes names of them, a [`View`] for
//! each namespace; [`View::answer`] turns the bytes of a query into those of its answer, or says that another server has it.
//! Sockets, and the way to that other server, live in the daemon.
//!
//! | name, below each suffix | stands for |
//! |---|---|
//! | `<member>.m.<group>` | every peer of the member, from another one with each answer |
//! | `<peer>.p.<group>` | that peer |
//! | a name that a member was given | every peer of the member |
//! | `ns` | the server |
//!
//! `<member>`, `<peer>` and `<group>` are ids, or labels in the form of [`crate::model::group::Label::sanitized`] where only
//! one object has it and it can be part of a host name (RFC 1123, section 2.1).

mod answer;
mod group_names;
mod name;
#[cfg(test)]
mod tests;
mod zones;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::registry::Group;

pub use answer::{DATAGRAM_LIMIT, Outcome, STREAM_LIMIT, Transport, is_response, server_failure};
pub use zones::{Options, View, Zones};

/// The groups that have a peer of this node, by the network namespace that the peer's tunnel is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalGroups {
    /// `None`: the namespace of the daemon. A group that did not change is the same [`Arc`] as before.
    pub by_netns: BTreeMap<Option<PathBuf>, Vec<Arc<Group>>>,
}
