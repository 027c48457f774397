//! From what is declared in manifests to one change of the store: all of it, or nothing and every problem.
//!
//! An object is as its manifest says: a field that is left out has its default. What no manifest declares stays, unless
//! the manifests are all that there is (`prune`): then what the same author made and no manifest declares goes.

mod declaration;
pub(super) mod difference;
mod draft;
pub(crate) mod kind;
mod manifest;
mod prune;
mod read;

use std::collections::BTreeMap;

use super::{Author, Change, Ids, Key, Refusal, RefusalCode, Registry, Rules, decide};
use crate::{
    api::{Action, Applied},
    model::{
        Place, Problems,
        group::{GroupId, PeerKind},
    },
};

pub use declaration::{Declaration, Declared, GroupSpec};

use draft::Draft;

/// The change that makes everything as declared, with what it does to each object, in the order groups, members, peers,
/// rules.
pub fn declare(
    registry: &Registry,
    rules: &Rules,
    author: Author,
    declarations: &[Declaration],
    prune: bool,
    ids: Ids<'_>,
) -> Result<(Change, Vec<Applied>), Problems> {
    let mut declaring = Declaring {
        draft: Draft::new(registry),
        rules,
        author,
        ids,
        seen: BTreeMap::new(),
        applied: Vec::new(),
        problems: Problems::default(),
    };
    let declarations: Vec<Declaration> = declarations.iter().flat_map(Declaration::with_members).collect();
    let mut ordered: Vec<&Declaration> = declarations.iter().collect();
    ordered.sort_by_key(|declaration| declaration.declared.rank());
    let mut failed: Vec<&Declaration> = Vec::new();
    for declaration in ordered {
        // Where its group could not be made, that problem says enough.
        let lacks_group = failed.iter().any(|group| declaration.is_in(group) && declaring.find(group) == Ok(None));
        if lacks_group {
            continue;
        }
        if let Err(refusal) = declaring.take(declaration) {
            declaring.problems.0.push(declaration.problem(refusal));
            failed.push(declaration);
        }
    }
    if prune && declaring.problems.0.is_empty() {
        declaring.prune();
    }
    let Declaring { draft, applied, problems, .. } = declaring;
    problems.or((draft.finish(), applied))
}

struct Declaring<'a> {
    draft: Draft<'a>,
    rules: &'a Rules,
    author: Author,
    ids: Ids<'a>,
    /// What is declared, and where.
    seen: BTreeMap<Key, Place>,
    applied: Vec<Applied>,
    problems: Problems,
}

impl Declaring<'_> {
    fn take(&mut self, declaration: &Declaration) -> Result<(), Refusal> {
        if let Declared::Peer { peer, .. } = &declaration.declared
            && peer.kind == PeerKind::CleverPeer
        {
            return self.skip(declaration);
        }
        let before = self.find(declaration)?;
        let old = before.as_ref().and_then(|key| self.draft.now.value(key));
        let change = self.decide(declaration)?;
        self.draft.absorb(change);
        let after = || self.find(declaration).ok().flatten().expect("what was decided was taken over");
        let key = before.unwrap_or_else(after);
        let new = self.draft.now.value(&key);
        self.applied.push(difference::applied(declaration.declared.kind(), declaration.name(), old, new));
        match self.seen.insert(key, declaration.place.clone()) {
            None => Ok(()),
            Some(other) => {
                let message = format!("it is declared in {other} already");
                Err(Refusal::conflict("", message, "keep one of them"))
            }
        }
    }

    /// So that what `get` prints can be applied. In the directory it would be a wish that nobody fulfils.
    fn skip(&mut self, declaration: &Declaration) -> Result<(), Refusal> {
        if self.author == Author::File {
            let hint = "declare the [[instance]] in the settings of the node, or an ExternalPeer";
            let message = "peers of this type are made by the nodes that run them";
            return Err(Refusal::new(RefusalCode::Invalid, "type", message.to_owned(), hint));
        }
        let (kind, name) = (declaration.declared.kind().to_owned(), declaration.name().to_owned());
        self.applied.push(Applied { action: Action::Skipped, kind, name, diff: Vec::new() });
        Ok(())
    }

    /// The key of what is declared, if that is there.
    fn find(&self, declaration: &Declaration) -> Result<Option<Key>, Refusal> {
        let now = &self.draft.now;
        Ok(match &declaration.declared {
            Declared::Group(wanted) => {
                let group = now.find_group(&declaration.org, wanted.label.as_str());
                group.ok().map(|group| Key::Group(group.id().clone()))
            }
            Declared::Member { group, member } => {
                let group = now.find_group(&declaration.org, group).map_err(in_group)?;
                let known = group.members.contains_key(&member.id);
                known.then(|| Key::Member(group.id().clone(), member.id.clone()))
            }
            Declared::Peer { group, peer } => {
                let group = now.find_group(&declaration.org, group).map_err(in_group)?;
                let mut named = group.labelled(peer.label.clone()).filter(|known| known.kind == peer.kind);
                named.next().map(|peer| Key::Peer(group.id().clone(), peer.id.clone()))
            }
            Declared::Rule { group, id, .. } => {
                let group = now.find_group(&declaration.org, group).map_err(in_group)?;
                group.rules.contains_key(id).then(|| Key::Rule(group.id().clone(), id.clone()))
            }
        })
    }

    fn decide(&mut self, declaration: &Declaration) -> Result<Change, Refusal> {
        let (now, rules, author) = (&self.draft.now, self.rules, self.author);
        let group = |text: &str| now.find_group(&declaration.org, text).map_err(in_group);
        match &declaration.declared {
            Declared::Group(wanted) => match now.find_group(&declaration.org, wanted.label.as_str()) {
                Ok(group) => decide::group::set(group, author, wanted),
                Err(_) => {
                    let create = wanted.command(declaration.org.clone(), GroupId::new((self.ids)()));
                    decide(now, rules, author, &create, self.ids)
                }
            },
            Declared::Member { group: text, member } => decide::member::set(group(text)?, rules, author, member),
            Declared::Peer { group: text, peer } => decide::peer::set(group(text)?, rules, author, peer, self.ids),
            Declared::Rule { group: text, id, from, to, traffic } => {
                let wanted = decide::access::Wanted { from, to, traffic: *traffic };
                decide::access::set(group(text)?, author, id, wanted)
            }
        }
    }
}

fn in_group(refusal: Refusal) -> Refusal {
    Refusal { path: "group".to_owned(), ..refusal }
}
