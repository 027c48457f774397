//! What of a registry a reader may see, and which entries lead from what it has to what is.
//!
//! When a group leaves the view of a reader, because it was deleted or because its last member that the reader asked for
//! was unlinked, one entry says so, the deletion of the group's own key: with it goes everything below that key.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{Entry, Group, Key, Object, Registry, Revision, Rights, Stored, rights::is_called};
use crate::{
    api::group::WatchEvent,
    model::group::{GroupId, MemberId, NetworkGroup, Org},
};

/// Deletions that are remembered for readers that come back.
const REMEMBERED: usize = 16_384;

/// What a reader asked for, out of what it may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub rights: Rights,
    /// Empty: all.
    pub orgs: BTreeSet<Org>,
    /// Ids and labels. These groups and those of `members`; where both are empty, all.
    pub groups: BTreeSet<String>,
    pub members: BTreeSet<MemberId>,
    /// Those of the inter-cluster network, too.
    pub objects: bool,
}

impl View {
    /// Everything that these rights allow in any org.
    pub fn all(rights: Rights) -> View {
        let objects = rights.reads_all();
        View { rights, orgs: BTreeSet::new(), groups: BTreeSet::new(), members: BTreeSet::new(), objects }
    }

    pub fn sees(&self, group: &Group) -> bool {
        let noun = &group.group.object;
        self.may_see(noun) && (self.asks_for(noun) || self.members.iter().any(|id| group.members.contains_key(id)))
    }

    /// All that is visible, groups before what is in them.
    pub fn entries(&self, registry: &Registry) -> Vec<Entry> {
        self.changes(&Registry::default(), registry)
    }

    /// What a reader that has seen `old` lacks to see `new`.
    pub fn changes(&self, old: &Registry, new: &Registry) -> Vec<Entry> {
        let mut changes = Changes { at: new.revision, entries: Vec::new() };
        merge(&old.groups, &new.groups, |id, old, new| {
            if let (Some(old), Some(new)) = (old, new)
                && Arc::ptr_eq(old, new)
            {
                return;
            }
            let old = old.filter(|group| self.sees(group));
            let new = new.filter(|group| self.sees(group));
            match (old, new) {
                (None, None) => {}
                (Some(_), None) => changes.delete(Key::Group(id.clone())),
                (old, Some(new)) => changes.group(old.map(|old| &**old), new),
            }
        });
        merge(&old.blocks, &new.blocks, |(org, member), old, new| {
            if self.sees_block(org, member) {
                changes.either(Key::Block(org.clone(), member.clone()), old, new, Object::Block);
            }
        });
        if self.objects && !Arc::ptr_eq(&old.objects, &new.objects) {
            merge(&old.objects, &new.objects, |id, old, new| {
                changes.either(Key::Object(id.clone()), old, new, Object::Cluster);
            });
        }
        changes.entries
    }

    /// What a reader lacks that saw everything up to `since` through this same view; `None`: nobody knows any more.
    pub fn since(&self, since: Revision, deletions: &Deletions, registry: &Registry) -> Option<Vec<Entry>> {
        if since > registry.revision {
            return None;
        }
        let mut entries: Vec<Entry> = deletions
            .between(since, registry.revision)?
            .filter_map(|deletion| {
                let key = self.deleted_for_reader(deletion, registry)?;
                Some(Entry { key, modified: deletion.at, object: None })
            })
            .collect();
        let mut changes = Changes { at: registry.revision, entries: Vec::new() };
        for group in registry.groups.values() {
            if group.group.modified > since && self.sees(group) {
                let known = if self.was_in_view(group, since) { since } else { Revision::default() };
                if known != since {
                    // It may have been there before, with other content.
                    let key = Key::Group(group.group.object.id.clone());
                    entries.push(Entry { key, modified: group.group.modified, object: None });
                }
                changes.group(None, group);
                entries.extend(changes.entries.drain(..).filter(|entry| entry.modified > known));
            }
        }
        for ((org, member), block) in &registry.blocks {
            if block.modified > since && self.sees_block(org, member) {
                entries.push(put(Key::Block(org.clone(), member.clone()), block, Object::Block));
            }
        }
        let objects = registry.objects.iter().filter(|(_, object)| self.objects && object.modified > since);
        entries.extend(objects.map(|(id, object)| put(Key::Object(id.clone()), object, Object::Cluster)));
        Some(entries)
    }

    fn may_see(&self, group: &NetworkGroup) -> bool {
        (self.orgs.is_empty() || self.orgs.contains(&group.owner_id)) && self.rights.sees(group)
    }

    /// By itself, not for a member of it.
    fn asks_for(&self, group: &NetworkGroup) -> bool {
        let everything = self.groups.is_empty() && self.members.is_empty();
        everything || self.groups.iter().any(|name| is_called(group, name))
    }

    fn sees_block(&self, org: &Org, member: &MemberId) -> bool {
        (self.orgs.is_empty() || self.orgs.contains(org))
            && (self.members.is_empty() || self.members.contains(member))
            && self.rights.sees_blocks(org)
    }

    /// Whether a reader that has all up to `since` has this group. A member that was not written since then was in it.
    fn was_in_view(&self, group: &Group, since: Revision) -> bool {
        let linked = |id: &MemberId| group.members.get(id).is_some_and(|member| member.modified <= since);
        self.asks_for(&group.group.object) || self.members.iter().any(linked)
    }

    /// Which key a deletion takes from the reader.
    fn deleted_for_reader(&self, deletion: &Deletion, registry: &Registry) -> Option<Key> {
        let key = deletion.key.clone();
        if let Key::Block(org, member) = &deletion.key {
            return self.sees_block(org, member).then_some(key);
        }
        if matches!(key, Key::Object(_)) {
            return self.objects.then_some(key);
        }
        if !deletion.group.as_ref().is_some_and(|group| self.may_see(group)) {
            return None;
        }
        let id = group_of(&key)?;
        match (&key, registry.groups.get(id)) {
            (Key::Group(_), _) => Some(key),
            // Its own deletion stands in the list, too.
            (_, None) => None,
            (_, Some(group)) if self.sees(group) => Some(key),
            (Key::Member(_, member), Some(_)) if self.members.contains(member) => Some(Key::Group(id.clone())),
            (_, Some(_)) => None,
        }
    }
}

impl From<Entry> for WatchEvent {
    fn from(entry: Entry) -> WatchEvent {
        let value = entry.object.as_ref().map(Object::to_value);
        WatchEvent::Object { key: entry.key.to_string(), modified: entry.modified.0, value }
    }
}

/// What was deleted lately, so that readers can resume. It is kept in memory only: where it begins, resuming ends.
#[derive(Clone, Debug)]
pub struct Deletions {
    /// All deletions after this revision are known.
    after: Revision,
    deleted: VecDeque<Deletion>,
}

#[derive(Clone, Debug)]
struct Deletion {
    key: Key,
    at: Revision,
    /// The one that the key is of, as it was then.
    group: Option<Arc<NetworkGroup>>,
}

impl Deletions {
    /// Knows of none, and of nothing before `after`.
    pub fn new(after: Revision) -> Deletions {
        Deletions { after, deleted: VecDeque::new() }
    }

    /// Each registry that a reader saw must have been `new` here.
    pub fn note(&mut self, old: &Registry, new: &Registry) {
        for entry in View::all(Rights::All).changes(old, new) {
            if entry.object.is_none() {
                let group = group_of(&entry.key).and_then(|id| old.groups.get(id));
                let group = group.map(|group| Arc::clone(&group.group.object));
                self.deleted.push_back(Deletion { key: entry.key, at: entry.modified, group });
            }
        }
        while self.deleted.len() > REMEMBERED {
            self.after = self.deleted.pop_front().map_or(self.after, |forgotten| forgotten.at);
        }
    }

    fn between(&self, since: Revision, until: Revision) -> Option<impl Iterator<Item = &Deletion>> {
        let known = since >= self.after;
        known.then(|| self.deleted.iter().filter(move |deletion| deletion.at > since && deletion.at <= until))
    }
}

/// Entries in the order of sending, while they are found.
struct Changes {
    at: Revision,
    entries: Vec<Entry>,
}

impl Changes {
    fn group(&mut self, old: Option<&Group>, new: &Group) {
        let (members, peers, rules) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let id = &new.group.object.id;
        self.either(Key::Group(id.clone()), old.map(|old| &old.group), Some(&new.group), Object::Group);
        merge(old.map_or(&members, |old| &old.members), &new.members, |member, old, new| {
            self.either(Key::Member(id.clone(), member.clone()), old, new, Object::Member);
        });
        merge(old.map_or(&peers, |old| &old.peers), &new.peers, |peer, old, new| {
            self.either(Key::Peer(id.clone(), peer.clone()), old, new, Object::Peer);
        });
        merge(old.map_or(&rules, |old| &old.rules), &new.rules, |rule, old, new| {
            self.either(Key::Rule(id.clone(), rule.clone()), old, new, Object::Rule);
        });
    }

    fn either<T: Clone>(
        &mut self,
        key: Key,
        old: Option<&Stored<T>>,
        new: Option<&Stored<T>>,
        object: impl Fn(T) -> Object,
    ) {
        match (old, new) {
            (Some(old), Some(new)) if old.modified == new.modified => {}
            (_, Some(new)) => self.entries.push(put(key, new, object)),
            (Some(_), None) => self.delete(key),
            (None, None) => {}
        }
    }

    fn delete(&mut self, key: Key) {
        self.entries.push(Entry { key, modified: self.at, object: None });
    }
}

fn put<T: Clone>(key: Key, stored: &Stored<T>, object: impl Fn(T) -> Object) -> Entry {
    Entry { key, modified: stored.modified, object: Some(object((*stored.object).clone())) }
}

/// Calls `each` with every key of either map and its two values.
fn merge<K: Ord, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>, mut each: impl FnMut(&K, Option<&V>, Option<&V>)) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let left = if order.is_le() { old.next() } else { None };
        let right = if order.is_ge() { new.next() } else { None };
        if let Some((key, _)) = left.or(right) {
            each(key, left.map(|(_, value)| value), right.map(|(_, value)| value));
        }
    }
}

/// The group that a key is of.
fn group_of(key: &Key) -> Option<&GroupId> {
    match key {
        Key::Group(id) | Key::Member(id, _) | Key::Peer(id, _) | Key::Rule(id, _) => Some(id),
        Key::Label(..) | Key::Prefixes | Key::Block(..) | Key::Node(_) | Key::Object(_) | Key::Objects => None,
    }
}

#[cfg(test)]
mod tests;
