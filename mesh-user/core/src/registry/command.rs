//! What may be asked of a registry, and how it is refused.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::group::{
        Access, DomainName, GroupId, Label, ManagedBy, MemberId, MemberKind, NodeId, Org, Party, PeerId, PeerKind,
        PeerRole, RuleId, Tag, Traffic,
    },
    plan::PublicKey,
};

/// One change of the registry. Groups are named by id: [`super::Registry::find_group`] has it for an id or label.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    CreateGroup {
        id: Option<GroupId>,
        org: Org,
        label: Label,
        description: Option<String>,
        tags: BTreeSet<Tag>,
        members: Vec<MemberSpec>,
        /// Exactly this one; else the highest free block of the pool.
        cidr: Option<IpNet>,
        prefix_length: Option<u8>,
        default_access: Access,
    },
    /// What is `None` stays; an empty description is removed.
    UpdateGroup {
        group: GroupId,
        description: Option<String>,
        tags: Option<BTreeSet<Tag>>,
        default_access: Option<Access>,
    },
    DeleteGroup {
        group: GroupId,
    },
    Link {
        group: GroupId,
        member: MemberSpec,
    },
    /// Its peers go with it.
    Unlink {
        group: GroupId,
        member: MemberId,
    },
    /// With a parent that is not linked: made with it, as an external member.
    CreatePeer {
        group: GroupId,
        peer: PeerSpec,
    },
    /// Where the peer is called, and with which key, as its node says. Its address stays.
    UpdatePeer {
        group: GroupId,
        peer: PeerId,
        public_key: PublicKey,
        public: Option<(IpAddr, u16)>,
    },
    /// An external member without another peer goes with it.
    DeletePeer {
        group: GroupId,
        peer: PeerId,
    },
    AddRule {
        group: GroupId,
        id: Option<RuleId>,
        from: Party,
        to: Party,
        traffic: Traffic,
    },
    DeleteRule {
        group: GroupId,
        rule: RuleId,
    },
    Block {
        org: Org,
        member: MemberId,
    },
    Unblock {
        org: Org,
        member: MemberId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberSpec {
    pub id: MemberId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Else by the prefix of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MemberKind>,
    /// Else `<member>.m.<group>.<first suffix>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<DomainName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    pub id: Option<PeerId>,
    pub kind: PeerKind,
    pub label: Option<Label>,
    /// `None`: a new external member.
    pub parent_member: Option<MemberId>,
    pub role: PeerRole,
    pub public_key: PublicKey,
    /// Of the underlay; a server has both.
    pub ip: Option<IpAddr>,
    pub port: Option<u16>,
    pub hostname: Option<String>,
    pub parent_event: Option<String>,
    pub hv: Option<NodeId>,
}

/// On whose behalf: objects of the other author are refused.
pub type Author = ManagedBy;

/// Why a command changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: RefusalCode,
    /// Field of the request, such as `members[1].id`; empty where the whole is meant.
    pub path: String,
    pub message: String,
    pub hint: String,
}

/// In JSON in snake case. Each belongs to one HTTP status and one exit code ([`crate::api`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// 400, exit 2.
    Invalid,
    /// 400, exit 2: a group of clusters where one of workloads is meant, or the other way round.
    WrongScope,
    /// 404, exit 3.
    NotFound,
    /// 404, exit 3.
    NotMember,
    /// 409, exit 4.
    Conflict,
    /// 409, exit 4.
    AlreadyLinked,
    /// 409, exit 4: several objects have the name.
    Ambiguous,
    /// 409, exit 4: the object is the manifest directory's.
    ManagedByFile,
    /// 409, exit 4: no address or prefix is left.
    Exhausted,
    /// 403, exit 7.
    Permission,
}
