//! Which change of the store a command is, or why it is refused.
//!
//! Every change of something in a group rewrites the group itself, with the next version and on condition that nobody else
//! did: so two changes of one group that were decided on the same registry cannot both be committed. Two that take or free
//! a prefix or a label notice each other by the keys of those.

pub(super) mod access;
pub(super) mod group;
mod lease;
pub(super) mod member;
pub(super) mod peer;

use uuid::Uuid;

use super::{Author, Change, Command, Condition, Group, Key, Object, Refusal, RefusalCode, Registry, Rules, addresses};
use crate::model::group::{GroupId, ManagedBy, MemberId, NetworkGroup, Scope};

/// Where new ids come from: a fresh random UUID of version 4 at each call.
pub type Ids<'a> = &'a mut dyn FnMut() -> Uuid;

/// What `command` changes. Nothing of it depends on anything but the arguments.
pub fn decide(
    registry: &Registry,
    rules: &Rules,
    author: Author,
    command: &Command,
    ids: Ids<'_>,
) -> Result<Change, Refusal> {
    match command {
        Command::CreateGroup { id, org, label, description, tags, members, cidr, prefix_length, default_access } => {
            let id = id.clone().unwrap_or_else(|| GroupId::new(ids()));
            group::check_identity(registry, &id, org, label)?;
            let network_ip = group::block(registry, rules, *cidr, *prefix_length)?;
            let group = NetworkGroup {
                id,
                owner_id: org.clone(),
                label: label.clone(),
                description: description.clone().filter(|text| !text.is_empty()),
                tags: tags.clone(),
                scope: Scope::Workloads,
                network_ip,
                last_allocated_ip: addresses::origin(&network_ip),
                default_access: *default_access,
                version: 1,
                managed_by: author,
            };
            group::create(registry, rules, group, members)
        }
        Command::UpdateGroup { group, description, tags, default_access } => {
            group::update(existing(registry, group)?, author, description, tags, *default_access)
        }
        Command::DeleteGroup { group } => group::delete(registry, existing(registry, group)?, author),
        Command::Link { group, member } => member::link(existing(registry, group)?, rules, author, member),
        Command::Unlink { group, member } => member::unlink(existing(registry, group)?, author, member),
        Command::ReportMember { org, member, status } => member::report(registry, org, member, *status),
        Command::CreatePeer { group, peer } => peer::create(existing(registry, group)?, rules, author, peer, ids),
        Command::UpdatePeer { group, peer, public_key, public } => {
            peer::update(existing(registry, group)?, author, peer, *public_key, *public)
        }
        Command::DeletePeer { group, peer } => peer::delete(existing(registry, group)?, author, peer),
        Command::AddRule { group, id, from, to, traffic } => {
            let wanted = access::Wanted { from, to, traffic: *traffic };
            access::add(existing(registry, group)?, author, id.clone(), wanted, ids)
        }
        Command::DeleteRule { group, rule } => access::delete(existing(registry, group)?, author, rule),
        Command::BeginLease(lease) => Ok(lease::begin(registry, lease)),
        Command::EndPeers { group, node } => Ok(lease::end_peers(registry, group, node)),
        Command::Block { org, member } => access::block(registry, org, member),
        Command::Unblock { org, member } => access::unblock(registry, org, member),
    }
}

pub(super) fn existing<'a>(registry: &'a Registry, id: &GroupId) -> Result<&'a Group, Refusal> {
    registry.groups.get(id).map(|group| &**group).ok_or_else(|| {
        Refusal::not_found("", format!("there is no network group {id}"), "'meshctl ng' lists those that are there")
    })
}

/// A change of one group, as it grows.
struct Edit<'a> {
    group: &'a Group,
    /// The group's own object as it will be.
    next: NetworkGroup,
    change: Change,
}

impl<'a> Edit<'a> {
    fn of(group: &'a Group) -> Edit<'a> {
        let unchanged = Condition { key: Key::Group(group.id().clone()), modified: Some(group.group.modified) };
        let mut next = NetworkGroup::clone(&group.group);
        next.version += 1;
        Edit { group, next, change: Change { conditions: vec![unchanged], ..Change::default() } }
    }

    fn put(&mut self, key: Key, object: Object) {
        self.change.puts.push((key, object));
    }

    fn delete(&mut self, key: Key) {
        self.change.deletes.push(key);
    }

    fn finish(mut self) -> Change {
        self.change.puts.push((Key::Group(self.group.id().clone()), Object::Group(self.next)));
        self.change
    }
}

/// Refuses to declare anew what another author made, or to change it; what is as declared may be declared by the API.
fn may_declare(author: Author, owner: ManagedBy, same: bool, what: impl std::fmt::Display) -> Result<(), Refusal> {
    if same && author == Author::Api { Ok(()) } else { may_change(author, owner, what) }
}

/// Refuses to touch what another author manages; `what` names it.
fn may_change(author: Author, owner: ManagedBy, what: impl std::fmt::Display) -> Result<(), Refusal> {
    match (author, owner) {
        (ManagedBy::Api, ManagedBy::Api) | (ManagedBy::File, ManagedBy::File) => Ok(()),
        (ManagedBy::Api, ManagedBy::File) => Err(Refusal::new(
            RefusalCode::ManagedByFile,
            "",
            format!("{what} stands in the manifest directory of the node that has the store"),
            "change its manifest there",
        )),
        (ManagedBy::File, ManagedBy::Api) => Err(Refusal::conflict(
            "",
            format!("{what} was made through the API"),
            "delete it there first, or take it out of the manifests",
        )),
    }
}

fn not_member(group: &Group, member: &MemberId, path: &str) -> Refusal {
    let message = format!("{member} is not a member of the network group {:?}", group.group.label.as_str());
    Refusal::new(RefusalCode::NotMember, path, message, "'meshctl ng link MEMBER GROUP' makes it one")
}
