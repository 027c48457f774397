//! Several decisions, one after the other, as one change.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::registry::{Change, Condition, Key, Object, Registry, Revision};

pub(super) struct Draft<'a> {
    before: &'a Registry,
    /// With everything that was decided so far.
    pub(super) now: Registry,
    conditions: BTreeMap<Key, Option<Revision>>,
    /// `None`: it is deleted.
    written: BTreeMap<Key, Option<Object>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(before: &'a Registry) -> Draft<'a> {
        Draft { before, now: before.clone(), conditions: BTreeMap::new(), written: BTreeMap::new() }
    }

    pub(super) fn absorb(&mut self, change: Change) {
        for Condition { key, modified } in &change.conditions {
            // What the draft itself wrote is no matter of the store.
            if !self.written.contains_key(key) {
                self.conditions.entry(key.clone()).or_insert(*modified);
            }
        }
        let entries: Vec<_> = change.into_entries(self.now.revision).collect();
        for entry in &entries {
            self.written.insert(entry.key.clone(), entry.object.clone());
        }
        self.now.apply(self.now.revision, entries);
    }

    /// All of it. It is one change of each group, however many decisions it was.
    pub(super) fn finish(self) -> Change {
        let Draft { before, conditions, written, .. } = self;
        let mut change = Change::default();
        change.conditions.extend(conditions.into_iter().map(|(key, modified)| Condition { key, modified }));
        for (key, object) in written {
            match object {
                None => change.deletes.push(key),
                Some(Object::Group(mut group)) => {
                    group.version = before.groups.get(&group.id).map_or(0, |old| old.group.version) + 1;
                    change.puts.push((key, Object::Group(group)));
                }
                Some(Object::Prefixes(_)) => {
                    let number = before.prefixes.map_or(0, |(_, number)| number) + 1;
                    change.puts.push((key, Object::Prefixes(number)));
                }
                Some(object) => change.puts.push((key, object)),
            }
        }
        change
    }
}

impl Registry {
    /// What the key of a group, or of something in one, holds.
    pub(super) fn value(&self, key: &Key) -> Option<Value> {
        let (Key::Group(id) | Key::Member(id, _) | Key::Peer(id, _) | Key::Rule(id, _)) = key else { return None };
        let group = self.groups.get(id)?;
        let value = match key {
            Key::Member(_, member) => serde_json::to_value(&*group.members.get(member)?.object),
            Key::Peer(_, peer) => serde_json::to_value(&*group.peers.get(peer)?.object),
            Key::Rule(_, rule) => serde_json::to_value(&*group.rules.get(rule)?.object),
            Key::Group(_)
            | Key::Label(..)
            | Key::Prefixes
            | Key::Block(..)
            | Key::Node(_)
            | Key::Object(_)
            | Key::Objects => serde_json::to_value(&*group.group.object),
        };
        value.ok()
    }
}
