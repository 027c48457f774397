//! A network group by itself; its members, peers and rules are objects of their own.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{GroupId, Label, Org, Tag};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkGroup {
    pub id: GroupId,
    pub owner_id: Org,
    /// Never changes.
    pub label: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub tags: BTreeSet<Tag>,
    /// Never changes.
    #[serde(default)]
    pub scope: Scope,
    /// The group's CIDR.
    #[schema(value_type = String)]
    pub network_ip: IpNet,
    /// The cursor of the allocation: the next peer gets the next address that is free.
    #[schema(value_type = String)]
    pub last_allocated_ip: IpAddr,
    /// What is not allowed by a rule.
    #[serde(default)]
    pub default_access: Access,
    /// One more with every change of the group, its members, peers or rules.
    pub version: u64,
    #[serde(default)]
    pub managed_by: ManagedBy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Workloads,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    #[default]
    Allow,
    Deny,
}

/// Who may change an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    #[default]
    Api,
    /// A manifest in the directory of the node that has the store: only a change of that file changes the object.
    File,
}
