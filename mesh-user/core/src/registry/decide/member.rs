//! Linking and unlinking members of a network group.

use super::{Edit, may_change, may_declare, not_member};
use crate::{
    model::group::{Member, MemberId, MemberStatus, Org, Party},
    registry::{Author, Change, Group, Key, MemberSpec, Object, Refusal, RefusalCode, Registry, Rules, Stored},
};

pub(super) fn link(group: &Group, rules: &Rules, author: Author, spec: &MemberSpec) -> Result<Change, Refusal> {
    let member = rules.member(group.id(), spec, author, "")?;
    if group.members.contains_key(&member.id) {
        let message = format!("{} is a member of {:?} already", member.id, group.group.label.as_str());
        return Err(Refusal::new(RefusalCode::AlreadyLinked, "id", message, "nothing is left to do"));
    }
    put(group, spec, member)
}

/// The member as it shall be, made if it is not there.
pub(in crate::registry) fn set(
    group: &Group,
    rules: &Rules,
    author: Author,
    spec: &MemberSpec,
) -> Result<Change, Refusal> {
    let Some(old) = group.members.get(&spec.id) else { return link(group, rules, author, spec) };
    let new = Member { status: old.status, ..rules.member(group.id(), spec, author, "")? };
    let (managed_by, made_with_peer) = (old.managed_by, old.made_with_peer);
    let same = Member { managed_by, made_with_peer, ..new.clone() } == **old;
    may_declare(author, old.managed_by, same, &old.id)?;
    if same { Ok(Change::default()) } else { put(group, spec, new) }
}

fn put(group: &Group, spec: &MemberSpec, member: Member) -> Result<Change, Refusal> {
    let is_taken = |other: &&Stored<Member>| other.domain_name == member.domain_name && other.id != member.id;
    if spec.domain_name.is_some()
        && let Some(other) = group.members.values().find(is_taken)
    {
        let message = format!("{} is the name of {} already", member.domain_name, other.id);
        return Err(Refusal::conflict("domainName", message, "give each member of a group its own name"));
    }
    let mut edit = Edit::of(group);
    edit.put(Key::Member(group.id().clone(), member.id.clone()), Object::Member(member));
    Ok(edit.finish())
}

/// With its peers, and with the rules that name it.
pub(in crate::registry) fn unlink(group: &Group, author: Author, id: &MemberId) -> Result<Change, Refusal> {
    let member = group.members.get(id).ok_or_else(|| not_member(group, id, ""))?;
    may_change(author, member.managed_by, id)?;
    for peer in group.peers_of(id).filter(|_| author == Author::Api) {
        may_change(author, peer.managed_by, format_args!("the peer {} of {id}", peer.id))?;
    }
    let mut edit = Edit::of(group);
    delete_member(&mut edit, id);
    Ok(edit.finish())
}

/// In every group of the org at once.
pub(super) fn report(registry: &Registry, org: &Org, id: &MemberId, status: MemberStatus) -> Result<Change, Refusal> {
    let mut all = Change::default();
    let mut known = false;
    for group in registry.groups_of(org) {
        let Some(member) = group.members.get(id) else { continue };
        known = true;
        if member.status != status {
            let mut edit = Edit::of(group);
            let member = Member { status, ..Member::clone(member) };
            edit.put(Key::Member(group.id().clone(), id.clone()), Object::Member(member));
            let change = edit.finish();
            all.conditions.extend(change.conditions);
            all.puts.extend(change.puts);
        }
    }
    if known {
        return Ok(all);
    }
    let message = format!("{id} is in no network group of org {org}");
    Err(Refusal::new(RefusalCode::NotMember, "", message, "there is nothing to report"))
}

/// The member with its peers and the rules that name it.
pub(super) fn delete_member(edit: &mut Edit<'_>, id: &MemberId) {
    let group = edit.group;
    edit.delete(Key::Member(group.id().clone(), id.clone()));
    for peer in group.peers_of(id) {
        edit.delete(Key::Peer(group.id().clone(), peer.id.clone()));
    }
    let is_it = |party: &Party| matches!(party, Party::Member(member) if member == id);
    for rule in group.rules.values().filter(|rule| is_it(&rule.from) || is_it(&rule.to)) {
        edit.delete(Key::Rule(group.id().clone(), rule.id.clone()));
    }
}
