//! Making, changing and deleting a network group.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Edit, may_change, may_declare};
use crate::{
    allocate,
    model::{
        group::{Access, GroupId, Label, Member, NetworkGroup, Org, Tag},
        parse_cidr,
    },
    registry::{
        Author, Change, Condition, Group, GroupSpec, Key, MemberSpec, Object, Refusal, RefusalCode, Registry, Rules,
    },
};

/// A label that is a word of the command line: `ng create external`.
const RESERVED_LABEL: &str = "external";
const OVERLAPS: &str = " for the new group overlaps ";
const DESCRIPTION_LENGTH: usize = 1_024;
const TAGS: usize = 64;
/// Lengths of an IPv4 CIDR that a group may have when nobody gives the CIDR itself.
const LENGTHS: std::ops::RangeInclusive<u8> = 16..=28;

/// Whether id and label are free.
pub(super) fn check_identity(registry: &Registry, id: &GroupId, org: &Org, label: &Label) -> Result<(), Refusal> {
    if registry.groups.contains_key(id) {
        return Err(Refusal::conflict("id", format!("the network group {id} is there already"), "leave the id out"));
    }
    if label.as_str().eq_ignore_ascii_case(RESERVED_LABEL) || label.as_str().parse::<GroupId>().is_ok() {
        let message = format!("the label {:?} would be taken for something else", label.as_str());
        return Err(Refusal::invalid("label", message, "choose another label"));
    }
    let Some(other) = registry.labels.get(&(org.clone(), label.slug())) else { return Ok(()) };
    let theirs = registry.groups.get(other).map_or(label, |group| &group.group.label);
    let same = if theirs == label { String::new() } else { format!(" (DNS makes {} of both)", label.slug()) };
    let message = format!("org {org} has the network group {:?} already: {other}{same}", theirs.as_str());
    Err(Refusal::conflict(
        "label",
        message,
        format!("use it as it is ('meshctl ng get {other}'), or choose another label"),
    ))
}

/// The CIDR of a new group: the one that is asked for, else the highest free block of the pool.
pub(super) fn block(
    registry: &Registry,
    rules: &Rules,
    cidr: Option<IpNet>,
    prefix_length: Option<u8>,
) -> Result<IpNet, Refusal> {
    match cidr {
        Some(cidr) => chosen(registry, rules, cidr),
        None => allocated(registry, rules, prefix_length.unwrap_or(rules.prefix_length)),
    }
}

/// With an identity and a CIDR that are free.
pub(super) fn create(
    registry: &Registry,
    rules: &Rules,
    group: NetworkGroup,
    members: &[MemberSpec],
) -> Result<Change, Refusal> {
    check_texts(group.description.as_deref(), &group.tags)?;
    let members = all_members(rules, &group.id, members, group.managed_by)?;
    let id = group.id.clone();
    let label = Key::Label(group.owner_id.clone(), group.label.slug());
    let mut change = prefixes_change(registry);
    for key in [Key::Group(id.clone()), label.clone()] {
        change.conditions.push(Condition { key, modified: None });
    }
    change.puts.push((Key::Group(id.clone()), Object::Group(group)));
    change.puts.push((label, Object::Label(id.clone())));
    let member = |member: Member| (Key::Member(id.clone(), member.id.clone()), Object::Member(member));
    change.puts.extend(members.into_iter().map(member));
    Ok(change)
}

pub(super) fn update(
    group: &Group,
    author: Author,
    description: &Option<String>,
    tags: &Option<BTreeSet<Tag>>,
    default_access: Option<Access>,
) -> Result<Change, Refusal> {
    check_texts(description.as_deref(), tags.as_ref().unwrap_or(&BTreeSet::new()))?;
    let mut edit = Edit::of(group);
    if let Some(description) = description {
        edit.next.description = Some(description.clone()).filter(|text| !text.is_empty());
    }
    if let Some(tags) = tags {
        edit.next.tags.clone_from(tags);
    }
    edit.next.default_access = default_access.unwrap_or(edit.next.default_access);
    let unchanged = NetworkGroup { version: group.group.version, ..edit.next.clone() } == *group.group;
    if unchanged {
        return Ok(Change::default());
    }
    may_change(author, group.group.managed_by, format_args!("the network group {}", group.group.label))?;
    Ok(edit.finish())
}

/// The group as it shall be, as far as that may change.
pub(in crate::registry) fn set(group: &Group, author: Author, wanted: &GroupSpec) -> Result<Change, Refusal> {
    let own = &group.group;
    may_declare(author, own.managed_by, true, format_args!("the network group {}", own.label))?;
    let hint = "it never changes: delete the group and make it anew, or leave the field out";
    if wanted.cidr.is_some_and(|cidr| cidr != own.network_ip) {
        return Err(Refusal::conflict("cidr", format!("the group has {}", own.network_ip), hint));
    }
    let length = own.network_ip.prefix_len();
    if wanted.prefix_length.is_some_and(|wanted| wanted != length) {
        return Err(Refusal::conflict("prefixLength", format!("the group has a /{length}"), hint));
    }
    let description = Some(wanted.description.clone().unwrap_or_default());
    update(group, author, &description, &Some(wanted.tags.clone()), Some(wanted.default_access))
}

pub(in crate::registry) fn delete(registry: &Registry, group: &Group, author: Author) -> Result<Change, Refusal> {
    let (id, own) = (group.id(), &group.group);
    may_change(author, own.managed_by, format_args!("the network group {}", own.label))?;
    for member in group.members.values() {
        may_change_within(author, own, member.managed_by, &member.id)?;
    }
    for peer in group.peers.values() {
        may_change_within(author, own, peer.managed_by, &peer.id)?;
    }
    for rule in group.rules.values() {
        may_change_within(author, own, rule.managed_by, &rule.id)?;
    }
    let mut change = prefixes_change(registry);
    change.conditions.push(Condition { key: Key::Group(id.clone()), modified: Some(own.modified) });
    change.deletes.push(Key::Group(id.clone()));
    change.deletes.push(Key::Label(own.owner_id.clone(), own.label.slug()));
    change.deletes.extend(group.members.keys().map(|member| Key::Member(id.clone(), member.clone())));
    change.deletes.extend(group.peers.keys().map(|peer| Key::Peer(id.clone(), peer.clone())));
    change.deletes.extend(group.rules.keys().map(|rule| Key::Rule(id.clone(), rule.clone())));
    Ok(change)
}

/// A group takes what is in it along, but the API does not take what a manifest says.
fn may_change_within(
    author: Author,
    group: &NetworkGroup,
    owner: Author,
    what: impl std::fmt::Display,
) -> Result<(), Refusal> {
    match author {
        Author::Api => may_change(author, owner, format_args!("{what} in the network group {}", group.label)),
        Author::File => Ok(()),
    }
}

fn check_texts(description: Option<&str>, tags: &BTreeSet<Tag>) -> Result<(), Refusal> {
    let is_control = |letter: char| letter.is_control() && letter != '\n';
    if description.is_some_and(|text| text.chars().count() > DESCRIPTION_LENGTH || text.contains(is_control)) {
        let message = format!("the description has more than {DESCRIPTION_LENGTH} characters, or control characters");
        return Err(Refusal::invalid("description", message, "shorten it"));
    }
    if tags.len() > TAGS {
        return Err(Refusal::invalid("tags", format!("{} tags", tags.len()), format!("give at most {TAGS}")));
    }
    Ok(())
}

fn all_members(rules: &Rules, group: &GroupId, specs: &[MemberSpec], author: Author) -> Result<Vec<Member>, Refusal> {
    let mut members: Vec<Member> = Vec::new();
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (index, spec) in specs.iter().enumerate() {
        let path = format!("members[{index}].");
        let member = rules.member(group, spec, author, &path)?;
        if !ids.insert(member.id.clone()) {
            let message = format!("{} stands there twice", member.id);
            return Err(Refusal::new(RefusalCode::AlreadyLinked, format!("{path}id"), message, "name it once"));
        }
        if !names.insert(member.domain_name.clone()) {
            let message = format!("{} is the name of another member", member.domain_name);
            return Err(Refusal::conflict(format!("{path}domainName"), message, "give each member its own name"));
        }
        members.push(member);
    }
    Ok(members)
}

/// What may be told of a refusal to whom does not see everything: not whose a CIDR is.
pub fn without_owner(path: &str, message: &str) -> Option<String> {
    let (cidr, _) = message.split_once(OVERLAPS).filter(|_| path.ends_with("cidr"))?;
    Some(format!("{cidr}{OVERLAPS}one that is in use"))
}

fn chosen(registry: &Registry, rules: &Rules, cidr: IpNet) -> Result<IpNet, Refusal> {
    let invalid = |message: String, hint: String| Refusal::invalid("cidr", message, hint);
    let cidr = parse_cidr(&cidr.to_string()).map_err(|(message, hint)| invalid(message, hint))?;
    let (least, most) = match cidr {
        IpNet::V4(_) => (8, 28),
        IpNet::V6(_) => (48, 124),
    };
    if !(least..=most).contains(&cidr.prefix_len()) {
        return Err(invalid(format!("{cidr} has the wrong size"), format!("give a /{least} to /{most}")));
    }
    let overlaps = |net: &IpNet| net.contains(&cidr) || cidr.contains(net);
    match taken(registry, rules).find(|(net, _)| overlaps(net)) {
        Some((net, owner)) => {
            let message = format!("{cidr}{OVERLAPS}{net} of {owner}");
            Err(Refusal::conflict("cidr", message, "give another CIDR, or leave it out: then a free one is taken"))
        }
        None => Ok(cidr),
    }
}

fn allocated(registry: &Registry, rules: &Rules, length: u8) -> Result<IpNet, Refusal> {
    if !LENGTHS.contains(&length) {
        let hint = format!("give {} to {}", LENGTHS.start(), LENGTHS.end());
        return Err(Refusal::invalid("prefixLength", format!("no group has a /{length}"), hint));
    }
    let used = registry.groups.values().map(|group| group.group.network_ip);
    let used = used.chain(rules.taken.iter().map(|(net, _)| *net));
    allocate::highest(&rules.pool, used, 32 - length).ok_or_else(|| {
        let pools: Vec<String> = rules.pool.iter().map(IpNet::to_string).collect();
        let message = format!("no /{length} is free in {}", pools.join(", "));
        let hint = "delete a group, give a CIDR of another range, or enlarge ng.pool in the settings of the hub";
        Refusal::new(RefusalCode::Exhausted, "prefixLength", message, hint)
    })
}

fn taken<'a>(registry: &'a Registry, rules: &'a Rules) -> impl Iterator<Item = (IpNet, String)> + 'a {
    let groups = registry.groups.values().map(|group| {
        (
            group.group.network_ip,
            format!("the network group {:?} of org {}", group.group.label.as_str(), group.group.owner_id),
        )
    });
    groups.chain(rules.taken.iter().cloned())
}

/// What everyone writes who takes or frees a prefix.
fn prefixes_change(registry: &Registry) -> Change {
    let known = registry.prefixes;
    Change {
        conditions: vec![Condition { key: Key::Prefixes, modified: known.map(|(modified, _)| modified) }],
        puts: vec![(Key::Prefixes, Object::Prefixes(known.map_or(0, |(_, number)| number) + 1))],
        deletes: Vec::new(),
    }
}
