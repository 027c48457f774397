//! One object of the inter-cluster network as the store holds it: who it is, and what its manifest says.

mod kind;

use std::{collections::BTreeMap, fmt};

use blake2::{Blake2s256, Digest};
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

/// Bytes of a namespace's name (RFC 1123, section 2.1), and of an object's.
const NAMESPACE_LENGTH: usize = 63;
const NAME_LENGTH: usize = 253;

impl ObjectId {
    /// Of an object that stands in a file: the same one whenever and wherever the file is read.
    pub fn derived_uid(&self) -> Uuid {
        let hash = Blake2s256::digest(self.to_string());
        let half = hash.first_chunk().expect("the hash has 32 bytes");
        uuid::Builder::from_custom_bytes(*half).into_uuid()
    }
}

pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_LENGTH && text.split('.').all(is_label)
}

pub fn is_namespace(text: &str) -> bool {
    text.len() <= NAMESPACE_LENGTH && is_label(text)
}

fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
