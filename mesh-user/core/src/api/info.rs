//! `GET /v1/info`: this cluster, as `meshctl info` and a remote's `network connect` read it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReply {
    pub schema: u32,
    /// Of the daemon.
    pub version: String,
    pub cluster_id: String,
    pub node_id: String,
    /// Of this node, in base64; a gateway with `secretRef` says its own in `status.publicKey`.
    pub public_key: String,
    /// The daemon whose objects this node follows, by context.
    pub hub: Option<String>,
    pub network: ClusterNetwork,
}

/// The prefixes of this cluster as they are in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetwork {
    #[schema(value_type = Vec<String>)]
    pub pod_cidrs: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub service_cidrs: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub external_cidrs: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub internal_cidrs: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub reserved_subnets: Vec<IpNet>,
    /// Why there are none, or why this node cannot have connections now.
    pub detail: String,
}
