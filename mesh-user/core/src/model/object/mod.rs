//! One object of the inter-cluster network as the store holds it: who it is, and what its manifest says.

mod kind;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub use kind::{NotAKind, ObjectKind};

use super::group::ManagedBy;

/// The one object of a kind with this name in this namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectId {
    pub kind: ObjectKind,
    pub namespace: String,
    pub name: String,
}

/// An object without its status, which each node makes of what it sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterObject {
    pub id: ObjectId,
    pub uid: Uuid,
    /// Seconds since the epoch.
    pub created: u64,
    /// Grows by one with every change of `spec`, from 1.
    pub generation: u64,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// As it was applied, valid.
    pub spec: Value,
    #[serde(default)]
    pub managed_by: ManagedBy,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
