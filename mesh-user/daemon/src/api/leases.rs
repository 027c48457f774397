//! Requests by which nodes say that they live.

use axum::{Json, extract::State};
use mesh_core::{
    api::group::{NodeLeaseReply, SCHEMA},
    model::group::NodeId,
};

use super::{Api, caller::Caller, endpoint::Endpoint, errors::Failure, request::Path};

pub(super) fn endpoints() -> Vec<Endpoint> {
    const LEASE: &str = "/v1/nodes/{node}/lease";
    vec![Endpoint::put(LEASE, keep_alive, "A node lives, and so do the peers that it runs").reply::<NodeLeaseReply>()]
}

async fn keep_alive(
    State(api): State<Api>,
    caller: Caller,
    Path(node): Path<NodeId>,
) -> Result<Json<NodeLeaseReply>, Failure> {
    caller.runs_some_peers()?;
    let alive = api.registrar.keep_alive(&node).await?;
    Ok(Json(NodeLeaseReply {
        schema: SCHEMA,
        node,
        lease: alive.lease.lease,
        seconds: alive.lease.seconds,
        since: alive.lease.modified.0,
        revision: alive.revision.0,
    }))
}
