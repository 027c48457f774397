//! Everything that a mesh's store holds, as one value, and what may become of it.
//!
//! A daemon makes a [`Registry`] from the entries of its store or from another daemon's stream and keeps it by applying
//! each [`Entry`] that changed. [`decide`] says which [`Change`] of the store a [`Command`] is, or why it is refused; it
//! does no I/O, so it is the same over the embedded store and over etcd. What the kernel shall hold for it lives in
//! [`crate::plan`].

mod change;
mod command;
mod key;
mod rights;
mod visible;

use std::{collections::BTreeMap, sync::Arc};

use crate::model::group::{AccessRule, Block, GroupId, Member, MemberId, NetworkGroup, Org, Peer, PeerId, RuleId};

pub use change::{Change, Condition};
pub use command::{Author, Command, MemberSpec, PeerSpec, Refusal, RefusalCode};
pub use key::{Key, NotAKey, Object};
pub use rights::Rights;
pub use visible::{Deletions, View};

/// A state of the store: every commit has the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Revision(pub u64);

/// What one key holds since `modified`; `None`: it was deleted then.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: Key,
    pub modified: Revision,
    pub object: Option<Object>,
}

/// Cheap to clone: what did not change is shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    pub revision: Revision,
    pub groups: BTreeMap<GroupId, Arc<Group>>,
    pub blocks: BTreeMap<(Org, MemberId), Stored<Block>>,
}

/// An object and the revision that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<T> {
    pub modified: Revision,
    pub object: Arc<T>,
}

/// A network group with all that is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub group: Stored<NetworkGroup>,
    pub members: BTreeMap<MemberId, Stored<Member>>,
    pub peers: BTreeMap<PeerId, Stored<Peer>>,
    pub rules: BTreeMap<RuleId, Stored<AccessRule>>,
}
