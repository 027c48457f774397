//! What a registry becomes when entries of the store change.

use std::{collections::BTreeMap, sync::Arc};

use super::{Entry, Group, Key, Object, Registry, Revision, Stored};
use crate::model::group::{AccessRule, GroupId, Member, MemberId, NetworkGroup, Peer, PeerId, RuleId};

impl Registry {
    /// Takes over entries in the order of their revisions; `revision` is the store's once all of them are in force. Within
    /// one call something may come before the group that it belongs to. What has no group at all is left out.
    pub fn apply(&mut self, revision: Revision, entries: impl IntoIterator<Item = Entry>) {
        let mut early = Vec::new();
        for entry in entries {
            if let Some(entry) = self.apply_one(entry) {
                early.push(entry);
            }
        }
        for entry in early {
            self.apply_one(entry);
        }
        self.revision = revision;
    }

    /// Gives back what belongs to a group that is not there.
    fn apply_one(&mut self, entry: Entry) -> Option<Entry> {
        let Entry { key, modified, object } = entry;
        let id = match &key {
            Key::Group(id) | Key::Member(id, _) | Key::Peer(id, _) | Key::Rule(id, _) => id,
            Key::Label(..) => return None, // The groups themselves say it.
            Key::Prefixes => {
                self.prefixes = match object {
                    Some(Object::Prefixes(number)) => Some((modified, number)),
                    _ => None,
                };
                return None;
            }
            Key::Objects => {
                self.objects_stamp = match object {
                    Some(Object::Objects(number)) => Some((modified, number)),
                    _ => None,
                };
                return None;
            }
            Key::Object(id) => {
                let objects = Arc::make_mut(&mut self.objects);
                match object {
                    Some(Object::Cluster(object)) => drop(objects.insert(id.clone(), Stored::new(modified, object))),
                    _ => drop(objects.remove(id)),
                }
                return None;
            }
            Key::Block(org, member) => {
                let place = (org.clone(), member.clone());
                match object {
                    Some(Object::Block(block)) => drop(self.blocks.insert(place, Stored::new(modified, block))),
                    _ => drop(self.blocks.remove(&place)),
                }
                return None;
            }
            Key::Node(node) => {
                match object {
                    Some(Object::Node(lease)) => drop(self.nodes.insert(node.clone(), Stored::new(modified, lease))),
                    _ => drop(self.nodes.remove(node)),
                }
                return None;
            }
        };
        match (key.clone(), object) {
            (Key::Group(id), Some(Object::Group(group))) => self.put_group(&id, modified, group),
            (Key::Group(id), _) => self.remove_group(&id),
            (_, object) => match self.groups.get_mut(id) {
                Some(group) => Arc::make_mut(group).apply(&key, modified, object),
                None if object.is_some() => return Some(Entry { key, modified, object }),
                None => {}
            },
        }
        None
    }

    fn put_group(&mut self, id: &GroupId, modified: Revision, group: NetworkGroup) {
        let place = (group.owner_id.clone(), group.label.slug());
        let stored = Stored::new(modified, group);
        match self.groups.get_mut(id) {
            Some(known) if (&known.group.owner_id, known.group.label.slug()) == (&place.0, place.1.clone()) => {
                Arc::make_mut(known).group = stored;
            }
            Some(known) => {
                let old = (known.group.owner_id.clone(), known.group.label.slug());
                Arc::make_mut(known).group = stored;
                self.labels.remove(&old);
                self.labels.insert(place, id.clone());
            }
            None => {
                self.groups.insert(
                    id.clone(),
                    Arc::new(Group::new(stored, BTreeMap::new(), BTreeMap::new(), BTreeMap::new())),
                );
                self.labels.insert(place, id.clone());
            }
        }
    }

    fn remove_group(&mut self, id: &GroupId) {
        if let Some(group) = self.groups.remove(id) {
            self.labels.remove(&(group.group.owner_id.clone(), group.group.label.slug()));
        }
    }
}

impl<T> Stored<T> {
    fn new(modified: Revision, object: T) -> Stored<T> {
        Stored { modified, object: Arc::new(object) }
    }
}

impl Group {
    pub fn new(
        group: Stored<NetworkGroup>,
        members: BTreeMap<MemberId, Stored<Member>>,
        peers: BTreeMap<PeerId, Stored<Peer>>,
        rules: BTreeMap<RuleId, Stored<AccessRule>>,
    ) -> Group {
        let (addresses, keys, instances, labelled) = Default::default();
        let mut new = Group { group, members, peers: BTreeMap::new(), rules, addresses, keys, instances, labelled };
        for (id, peer) in peers {
            new.put_peer(&id, peer);
        }
        new
    }

    fn apply(&mut self, key: &Key, modified: Revision, object: Option<Object>) {
        match (key, object) {
            (Key::Member(_, id), Some(Object::Member(member))) => {
                self.members.insert(id.clone(), Stored::new(modified, member));
            }
            (Key::Member(_, id), _) => drop(self.members.remove(id)),
            (Key::Peer(_, id), Some(Object::Peer(peer))) => self.put_peer(id, Stored::new(modified, peer)),
            (Key::Peer(_, id), _) => self.remove_peer(id),
            (Key::Rule(_, id), Some(Object::Rule(rule))) => {
                self.rules.insert(id.clone(), Stored::new(modified, rule));
            }
            (Key::Rule(_, id), _) => drop(self.rules.remove(id)),
            (
                Key::Group(_)
                | Key::Label(..)
                | Key::Prefixes
                | Key::Block(..)
                | Key::Node(_)
                | Key::Object(_)
                | Key::Objects,
                _,
            ) => {}
        }
    }

    fn put_peer(&mut self, id: &PeerId, peer: Stored<Peer>) {
        self.remove_peer(id);
        self.addresses.insert(peer.endpoint.address(), id.clone());
        self.keys.insert(peer.public_key, id.clone());
        self.instances.insert((peer.parent_member.clone(), id.clone()));
        self.labelled.extend(peer.label.iter().map(|label| (label.clone(), id.clone())));
        self.peers.insert(id.clone(), peer);
    }

    fn remove_peer(&mut self, id: &PeerId) {
        let Some(old) = self.peers.remove(id) else { return };
        self.instances.remove(&(old.parent_member.clone(), id.clone()));
        if let Some(label) = &old.label {
            self.labelled.remove(&(label.clone(), id.clone()));
        }
        // Another peer may have come into its place within the same commit.
        if self.addresses.get(&old.endpoint.address()) == Some(id) {
            self.addresses.remove(&old.endpoint.address());
        }
        if self.keys.get(&old.public_key) == Some(id) {
            self.keys.remove(&old.public_key);
        }
    }
}
