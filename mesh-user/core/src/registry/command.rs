//! What may be asked of a registry.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::group::{
        Access, DomainName, GroupId, Label, ManagedBy, MemberId, MemberKind, MemberStatus, NodeId, Org, Party, PeerId,
        PeerKind, PeerRole, RuleId, Tag, Traffic,
    },
    plan::PublicKey,
    registry::NodeLease,
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
    /// Without parent, or with an external one that is not linked: the external member is made with it.
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
    /// A member that was made with a peer goes with its last one.
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
    /// What the member stands for was deleted, or is there again: in every group of the org that has the member.
    ReportMember {
        org: Org,
        member: MemberId,
        status: MemberStatus,
    },
    /// A member of a group of the org. Blocked already: nothing changes.
    Block {
        org: Org,
        member: MemberId,
    },
    Unblock {
        org: Org,
        member: MemberId,
    },
    /// A node lives, for as long as the store keeps this lease. Nothing changes while it has another one.
    BeginLease(NodeLease),
    /// The peers of a node that has no lease any more. Nothing changes while it has one.
    EndPeers {
        group: GroupId,
        node: NodeId,
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
    /// Which address of the group it should have: it gets this one if it can be given out, else the next.
    pub address: Option<IpAddr>,
}

/// On whose behalf: objects of the other author are refused.
pub type Author = ManagedBy;
