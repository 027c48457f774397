//! Everything that a mesh's store holds, as one value, and what may become of it.
//!
//! A daemon makes a [`Registry`] from the entries of its store or from another daemon's stream and keeps it by applying
//! each [`Entry`] that changed. [`decide()`] says which [`Change`] of the store a [`Command`] is, or why it is refused; it
//! does no I/O, so it is the same over the embedded store and over etcd. What the kernel shall hold for it lives in
//! [`crate::plan`].

mod addresses;
mod apply;
mod change;
mod command;
mod configuration;
mod decide;
pub(crate) mod declare;
mod find;
#[cfg(test)]
pub(crate) mod fixtures;
mod key;
mod lease;
mod object;
mod objects;
mod refusal;
mod rights;
mod rules;
mod search;
#[cfg(test)]
mod tests;
mod visible;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    model::{
        ClusterObject, ObjectId,
        group::{AccessRule, Block, GroupId, Label, Member, MemberId, NetworkGroup, NodeId, Org, Peer, PeerId, RuleId},
    },
    plan::PublicKey,
};

pub use change::{Change, Condition};
pub use command::{Author, Command, MemberSpec, PeerSpec};
pub use configuration::{PRIVATE_KEY_PLACEHOLDER, configuration};
pub use decide::{Ids, decide, group::without_owner};
pub use declare::{Declaration, Declared, GroupSpec, declare};
pub use find::{Kind, Kinds};
pub use key::{Key, NotAKey};
pub use lease::{Absences, NodeLease};
pub use object::Object;
pub use objects::{Edit, Proposal};
pub use refusal::{Refusal, RefusalCode};
pub use rights::Rights;
pub use rules::Rules;
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

/// Cheap to clone: what did not change is shared. Made by [`Registry::apply`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    pub revision: Revision,
    pub groups: BTreeMap<GroupId, Arc<Group>>,
    pub blocks: BTreeMap<(Org, MemberId), Stored<Block>>,
    /// Those that live.
    pub nodes: BTreeMap<NodeId, Stored<NodeLease>>,
    /// Of the inter-cluster network; shared by registries in which they are the same.
    pub objects: Arc<BTreeMap<ObjectId, Stored<ClusterObject>>>,
    prefixes: Option<(Revision, u64)>,
    objects_stamp: Option<(Revision, u64)>,
    /// By slug.
    labels: BTreeMap<(Org, Label), GroupId>,
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
    addresses: BTreeMap<IpAddr, PeerId>,
    keys: BTreeMap<PublicKey, PeerId>,
    instances: BTreeSet<(MemberId, PeerId)>,
    labelled: BTreeSet<(Label, PeerId)>,
}

impl<T> std::ops::Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl Group {
    pub fn id(&self) -> &GroupId {
        &self.group.id
    }

    /// The peer that has this address in the group.
    pub fn peer_at(&self, address: IpAddr) -> Option<&Peer> {
        self.peers.get(self.addresses.get(&address)?).map(|peer| &*peer.object)
    }

    pub fn peer_with_key(&self, key: &PublicKey) -> Option<&Peer> {
        self.peers.get(self.keys.get(key)?).map(|peer| &*peer.object)
    }

    /// The peers of a member, in the order of ids.
    pub fn peers_of<'a>(&'a self, member: &'a MemberId) -> impl Iterator<Item = &'a Peer> {
        let instances = self.instances.range((member.clone(), PeerId::least())..);
        let own = instances.take_while(move |(of, _)| of == member);
        own.filter_map(|(_, peer)| self.peers.get(peer)).map(|peer| &*peer.object)
    }
}
