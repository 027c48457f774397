//! What is true of an object now, why, and since when.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One statement about an object, in the form that Kubernetes gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Of a Connection: `Handshake`, `TunnelProbe`, `DataPath`, `MTU`.
    #[serde(rename = "type")]
    pub kind: String,
    pub status: ConditionStatus,
    /// `generation` of the object that this is about.
    pub observed_generation: u64,
    /// RFC 3339, UTC.
    pub last_transition_time: String,
    /// One word in CamelCase.
    pub reason: String,
    /// What it means here and the next step.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ConditionStatus {
    True,
    False,
    /// Nothing was seen yet, or the remote cannot be asked.
    Unknown,
}

/// A condition that became another, or the same for another reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// RFC 3339, UTC.
    pub time: String,
    /// Type of the condition.
    pub condition: String,
    pub from: ConditionStatus,
    pub to: ConditionStatus,
    /// Of what it became.
    pub reason: String,
    pub message: String,
}
