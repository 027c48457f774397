//! Access rules inside a group, and members that are closed to everything but their groups.

use super::{Edit, Ids, may_change, may_declare, not_member};
use crate::{
    model::group::{AccessRule, Block, MemberId, Org, Party, RuleId, Traffic},
    registry::{Author, Change, Condition, Group, Key, Object, Refusal, Registry},
};

/// What a rule shall allow.
pub(in crate::registry) struct Wanted<'a> {
    pub(in crate::registry) from: &'a Party,
    pub(in crate::registry) to: &'a Party,
    pub(in crate::registry) traffic: Traffic,
}

pub(super) fn add(
    group: &Group,
    author: Author,
    id: Option<RuleId>,
    wanted: Wanted<'_>,
    ids: Ids<'_>,
) -> Result<Change, Refusal> {
    check(group, None, &wanted)?;
    let id = id.unwrap_or_else(|| RuleId::new(ids()));
    if group.rules.contains_key(&id) {
        return Err(Refusal::conflict("id", format!("the rule {id} is there already"), "choose another id"));
    }
    Ok(put(group, author, id, wanted))
}

/// The rule with this id as it shall be, made if it is not there.
pub(in crate::registry) fn set(
    group: &Group,
    author: Author,
    id: &RuleId,
    wanted: Wanted<'_>,
) -> Result<Change, Refusal> {
    if let Some(old) = group.rules.get(id) {
        let same = wanted.is(old);
        may_declare(author, old.managed_by, same, format_args!("the rule {id}"))?;
        if same {
            return Ok(Change::default());
        }
    }
    check(group, Some(id), &wanted)?;
    Ok(put(group, author, id.clone(), wanted))
}

pub(in crate::registry) fn delete(group: &Group, author: Author, id: &RuleId) -> Result<Change, Refusal> {
    let rule = group.rules.get(id).ok_or_else(|| {
        let message = format!("the network group {:?} has no rule {id}", group.group.label.as_str());
        Refusal::not_found("", message, "'meshctl ng rule list' of the group lists its rules")
    })?;
    may_change(author, rule.managed_by, format_args!("the rule {id}"))?;
    let mut edit = Edit::of(group);
    edit.delete(Key::Rule(group.id().clone(), id.clone()));
    Ok(edit.finish())
}

pub(super) fn block(registry: &Registry, org: &Org, member: &MemberId) -> Result<Change, Refusal> {
    if registry.blocks.contains_key(&(org.clone(), member.clone())) {
        return Ok(Change::default());
    }
    if !registry.groups_of(org).any(|group| group.members.contains_key(member)) {
        let message = format!("{member} is in no network group of org {org}: it would be closed to everything");
        return Err(Refusal::not_found(
            "",
            message,
            "'meshctl ng link' makes it a member, 'meshctl ng search' finds ids",
        ));
    }
    let key = Key::Block(org.clone(), member.clone());
    let block = Object::Block(Block { owner_id: org.clone(), member: member.clone() });
    let conditions = vec![Condition { key: key.clone(), modified: None }];
    Ok(Change { conditions, puts: vec![(key, block)], deletes: Vec::new() })
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

/// Its parties are members, and no rule but `own` says the same.
fn check(group: &Group, own: Option<&RuleId>, wanted: &Wanted<'_>) -> Result<(), Refusal> {
    for (path, party) in [("from", wanted.from), ("to", wanted.to)] {
        if let Party::Member(member) = party
            && !group.members.contains_key(member)
        {
            return Err(not_member(group, member, path));
        }
    }
    match group.rules.values().find(|rule| wanted.is(rule) && Some(&rule.id) != own) {
        Some(twin) => {
            Err(Refusal::conflict("", format!("the rule {} says that already", twin.id), "nothing is left to do"))
        }
        None => Ok(()),
    }
}

fn put(group: &Group, author: Author, id: RuleId, wanted: Wanted<'_>) -> Change {
    let mut edit = Edit::of(group);
    let (from, to, traffic) = (wanted.from.clone(), wanted.to.clone(), wanted.traffic);
    let rule = AccessRule { id: id.clone(), from, to, traffic, managed_by: author };
    edit.put(Key::Rule(group.id().clone(), id), Object::Rule(rule));
    edit.finish()
}

impl Wanted<'_> {
    fn is(&self, rule: &AccessRule) -> bool {
        rule.from == *self.from && rule.to == *self.to && rule.traffic == self.traffic
    }
}
