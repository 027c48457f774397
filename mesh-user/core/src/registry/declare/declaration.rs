//! One object as a manifest declares it.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Refusal, kind};
use crate::{
    model::{
        Place, Problem,
        group::{Access, GroupId, Label, Org, Party, RuleId, Tag, Traffic},
    },
    registry::{Command, MemberSpec, PeerSpec},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    pub place: Place,
    pub org: Org,
    pub declared: Declared,
    /// Where its fields stand in the manifest: `spec`, or `spec.members[1]`.
    pub path: String,
}

/// Groups are named by id or label.
#[derive(Clone, Debug, PartialEq)]
pub enum Declared {
    Group(GroupSpec),
    Member {
        group: String,
        member: MemberSpec,
    },
    /// An external one with a label, which no other external peer of the group has; or one of those that nodes make, which
    /// is left to its node.
    Peer {
        group: String,
        peer: PeerSpec,
    },
    Rule {
        group: String,
        id: RuleId,
        from: Party,
        to: Party,
        traffic: Traffic,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    pub label: Label,
    pub description: Option<String>,
    pub tags: BTreeSet<Tag>,
    pub cidr: Option<IpNet>,
    pub prefix_length: Option<u8>,
    pub default_access: Access,
    /// Declared with the group; members that are declared elsewhere come on top of them.
    pub members: Vec<MemberSpec>,
}

impl Declaration {
    /// The declaration, and one of each member that a group lists.
    pub(super) fn with_members(&self) -> Vec<Declaration> {
        let mut all = vec![self.clone()];
        if let Declared::Group(group) = &self.declared {
            all.extend(group.members.iter().enumerate().map(|(index, member)| Declaration {
                place: self.place.clone(),
                org: self.org.clone(),
                declared: Declared::Member { group: group.label.to_string(), member: member.clone() },
                path: format!("{}.members[{index}]", self.path),
            }));
        }
        all
    }

    /// The label of a group; `GROUP/NAME` for what is in one.
    pub fn name(&self) -> String {
        match &self.declared {
            Declared::Group(group) => group.label.to_string(),
            Declared::Member { group, member } => format!("{group}/{}", member.id),
            Declared::Peer { group, peer } => format!("{group}/{}", peer.label.as_ref().map_or("", Label::as_str)),
            Declared::Rule { group, id, .. } => format!("{group}/{id}"),
        }
    }

    pub(super) fn is_in(&self, other: &Declaration) -> bool {
        let Declared::Group(other_group) = &other.declared else { return false };
        self.org == other.org && self.declared.group().is_some_and(|group| group == other_group.label.as_str())
    }

    /// What was refused, at the field of the manifest that it is about.
    pub(super) fn problem(&self, refusal: Refusal) -> Problem {
        let is_name = match &self.declared {
            Declared::Group(_) | Declared::Peer { .. } => refusal.path == "label",
            Declared::Member { .. } => refusal.path == "id" && self.path == "spec",
            Declared::Rule { .. } => refusal.path == "id",
        };
        let path = match refusal.path.as_str() {
            "" => String::new(),
            _ if is_name => "metadata.name".to_owned(),
            field => format!("{}.{field}", self.path),
        };
        self.place.problem(&path, refusal.message, refusal.hint)
    }
}

impl Declared {
    pub fn kind(&self) -> &'static str {
        match self {
            Declared::Group(_) => kind::GROUP,
            Declared::Member { .. } => kind::MEMBER,
            Declared::Peer { .. } => kind::PEER,
            Declared::Rule { .. } => kind::RULE,
        }
    }

    pub(super) fn rank(&self) -> u8 {
        match self {
            Declared::Group(_) => 0,
            Declared::Member { .. } => 1,
            Declared::Peer { .. } => 2,
            Declared::Rule { .. } => 3,
        }
    }

    fn group(&self) -> Option<&str> {
        match self {
            Declared::Group(_) => None,
            Declared::Member { group, .. } | Declared::Peer { group, .. } | Declared::Rule { group, .. } => Some(group),
        }
    }
}

impl GroupSpec {
    /// Without members, which are declared for themselves.
    pub(super) fn command(&self, org: Org, id: GroupId) -> Command {
        Command::CreateGroup {
            id: Some(id),
            org,
            label: self.label.clone(),
            description: self.description.clone(),
            tags: self.tags.clone(),
            members: Vec::new(),
            cidr: self.cidr,
            prefix_length: self.prefix_length,
            default_access: self.default_access,
        }
    }
}
