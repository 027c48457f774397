//! Access rules inside a group, and members that are closed to everything but their groups.

use super::{Edit, Ids, may_change, not_member};
use crate::{
    model::group::{AccessRule, Block, MemberId, Org, Party, RuleId, Traffic},
    registry::{Author, Change, Condition, Group, Key, Object, Refusal, Registry},
};

/// What a new rule shall allow.
pub(super) struct Wanted<'a> {
    pub(super) from: &'a Party,
    pub(super) to: &'a Party,
    pub(super) traffic: Traffic,
}

pub(super) fn add(
    group: &Group,
    author: Author,
    id: Option<RuleId>,
    wanted: Wanted<'_>,
    ids: Ids<'_>,
) -> Result<Change, Refusal> {
    for (path, party) in [("from", wanted.from), ("to", wanted.to)] {
        if let Party::Member(member) = party
            && !group.members.contains_key(member)
        {
            return Err(not_member(group, member, path));
        }
    }
    let same =
        |rule: &&AccessRule| rule.from == *wanted.from && rule.to == *wanted.to && rule.traffic == wanted.traffic;
    if let Some(twin) = group.rules.values().map(|rule| &*rule.object).find(same) {
        return Err(Refusal::conflict("", format!("the rule {} says that already", twin.id), "nothing is left to do"));
    }
    let id = id.unwrap_or_else(|| RuleId::new(ids()));
    if group.rules.contains_key(&id) {
        return Err(Refusal::conflict("id", format!("the rule {id} is there already"), "choose another id"));
    }
    let mut edit = Edit::of(group);
    let (from, to, traffic) = (wanted.from.clone(), wanted.to.clone(), wanted.traffic);
    let rule = AccessRule { id: id.clone(), from, to, traffic, managed_by: author };
    edit.put(Key::Rule(group.id().clone(), id), Object::Rule(rule));
    Ok(edit.finish())
}

pub(super) fn delete(group: &Group, author: Author, id: &RuleId) -> Result<Change, Refusal> {
    let rule = group.rules.get(id).ok_or_else(|| {
        let message = format!("the network group {:?} has no rule {id}", group.group.label.as_str());
        Refusal::not_found("", message, "'meshctl ng rule list' of the group lists its rules")
    })?;
    may_change(author, rule.managed_by, format_args!("the rule {id}"))?;
    let mut edit = Edit::of(group);
    edit.delete(Key::Rule(group.id().clone(), id.clone()));
    Ok(edit.finish())
}

pub(super) fn block(registry: &Registry, org: &Org, member: &MemberId) -> Change {
    if registry.blocks.contains_key(&(org.clone(), member.clone())) {
        return Change::default();
    }
    let key = Key::Block(org.clone(), member.clone());
    let block = Object::Block(Block { owner_id: org.clone(), member: member.clone() });
    Change {
        conditions: vec![Condition { key: key.clone(), modified: None }],
        puts: vec![(key, block)],
        deletes: Vec::new(),
    }
}

pub(super) fn unblock(registry: &Registry, org: &Org, member: &MemberId) -> Result<Change, Refusal> {
    let Some(block) = registry.blocks.get(&(org.clone(), member.clone())) else {
        let message = format!("{member} of org {org} is not blocked");
        return Err(Refusal::not_found("", message, "nothing is left to do"));
    };
    let key = Key::Block(org.clone(), member.clone());
    let condition = Condition { key: key.clone(), modified: Some(block.modified) };
    Ok(Change { conditions: vec![condition], puts: Vec::new(), deletes: vec![key] })
}
