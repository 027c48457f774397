//! What nobody declares any more.

use super::{Declaring, Key, decide, difference, kind};
use crate::{
    model::{
        Place,
        group::{GroupId, Label, ManagedBy, Peer},
    },
    registry::{Change, Group, Refusal},
};

impl Declaring<'_> {
    /// Deletes what the author made and did not declare. An external member stays as long as it has a declared peer.
    pub(super) fn prune(&mut self) {
        let groups: Vec<GroupId> = self.draft.now.groups.keys().cloned().collect();
        for id in groups {
            for (kind, name, key) in self.undeclared(&id) {
                match self.delete(&key) {
                    Ok(change) => {
                        let old = self.draft.now.value(&key);
                        self.draft.absorb(change);
                        self.applied.push(difference::applied(kind, name, old, None));
                    }
                    Err(refusal) => {
                        let place = Place { file: "manifest directory".to_owned(), object: None };
                        let message = format!("{kind} {name} is not declared any more, but: {}", refusal.message);
                        self.problems.0.push(place.problem("", message, refusal.hint));
                    }
                }
            }
        }
    }

    /// Kind, name and key: of the group itself, or of what is in it, in an order in which it can be deleted.
    fn undeclared(&self, id: &GroupId) -> Vec<(&'static str, String, Key)> {
        let Some(group) = self.draft.now.groups.get(id) else { return Vec::new() };
        let goes = |owner: ManagedBy, key: &Key| owner == self.author && !self.seen.contains_key(key);
        let label = &group.group.label;
        let own = Key::Group(id.clone());
        if goes(group.group.managed_by, &own) {
            return vec![(kind::GROUP, label.to_string(), own)];
        }
        let mut all = Vec::new();
        for rule in group.rules.values() {
            all.push((kind::RULE, rule.id.to_string(), Key::Rule(id.clone(), rule.id.clone()), rule.managed_by));
        }
        for peer in group.peers.values() {
            all.push((kind::PEER, name_of(peer), Key::Peer(id.clone(), peer.id.clone()), peer.managed_by));
        }
        for member in group.members.values().filter(|member| !self.has_declared_peer(group, &member.id)) {
            let key = Key::Member(id.clone(), member.id.clone());
            all.push((kind::MEMBER, member.id.to_string(), key, member.managed_by));
        }
        let all = all.into_iter().filter(|(_, _, key, owner)| goes(*owner, key));
        all.map(|(kind, name, key, _)| (kind, format!("{label}/{name}"), key)).collect()
    }

    fn has_declared_peer(&self, group: &Group, member: &crate::model::group::MemberId) -> bool {
        let mut peers = group.peers_of(member);
        peers.any(|peer| self.seen.contains_key(&Key::Peer(group.id().clone(), peer.id.clone())))
    }

    fn delete(&self, key: &Key) -> Result<Change, Refusal> {
        let (now, author) = (&self.draft.now, self.author);
        let (Key::Group(id) | Key::Member(id, _) | Key::Peer(id, _) | Key::Rule(id, _)) = key else {
            return Ok(Change::default());
        };
        let group = decide::existing(now, id)?;
        match key {
            Key::Member(_, member) => decide::member::unlink(group, author, member),
            Key::Peer(_, peer) => decide::peer::delete(group, author, peer),
            Key::Rule(_, rule) => decide::access::delete(group, author, rule),
            Key::Group(_)
            | Key::Label(..)
            | Key::Prefixes
            | Key::Block(..)
            | Key::Node(_)
            | Key::Object(_)
            | Key::Objects => decide::group::delete(now, group, author),
        }
    }
}

fn name_of(peer: &Peer) -> String {
    peer.label.as_ref().map_or(peer.id.as_str(), Label::as_str).to_owned()
}
