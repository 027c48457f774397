//! What `apply` does, or would do, with each object, and objects as the manifests that would make them.
//!
//! `GET /v1/objects/{kind}[/{name}]?org=&group=` and `DELETE /v1/objects/{kind}/{name}?org=&group=` reply an [`ObjectList`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyReply {
    pub schema: u32,
    pub dry_run: bool,
    pub changes: Vec<Applied>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub action: Action,
    pub kind: String,
    pub name: String,
    /// `field: old -> new`, one line for each field that changes.
    pub diff: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Created,
    Changed,
    Unchanged,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectList {
    pub schema: u32,
    /// `NetworkGroup`, `Member`, `Peer` or `AccessRule`.
    pub kind: String,
    /// What `apply` takes, with a `status` beside.
    #[schema(value_type = Vec<Object>)]
    pub objects: Vec<serde_json::Value>,
}
