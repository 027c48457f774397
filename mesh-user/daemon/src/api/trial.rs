//! Requests about trials: pods for a test alone, and what is tried from them.
//!
//! They are answered on TCP too: a test of a connection needs a pod at either end.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use ipnet::IpNet;
use mesh_core::api::{
    group::SCHEMA,
    trial::{CheckReply, Trial, TrialCheck, TrialList, TrialOrder},
};

use super::{
    Api,
    caller::Caller,
    endpoint::Endpoint,
    errors::Failure,
    request::{Body, Path},
};
use crate::trial::Refused;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/trials", list, "Pods of this node that exist for a test alone").reply::<TrialList>(),
        Endpoint::post("/v1/trials", open, "Makes a pod for a test; it ends by itself")
            .body::<TrialOrder>()
            .reply::<Trial>(),
        Endpoint::delete("/v1/trials/{trial}", close, "Ends such a pod").reply::<Trial>(),
        Endpoint::post("/v1/trials/{trial}/checks", check, "Tries to reach an address; answers once that is done")
            .body::<TrialCheck>()
            .reply::<CheckReply>(),
    ]
}

async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<TrialList>, Failure> {
    caller.sees_objects(&api.org)?;
    Ok(Json(TrialList { schema: SCHEMA, trials: api.trials.list().await }))
}

async fn open(State(api): State<Api>, caller: Caller, Body(order): Body<TrialOrder>) -> Result<Json<Trial>, Failure> {
    caller.administers(&api.org)?;
    Ok(Json(api.trials.open(&pods(&api), &order).await?))
}

async fn close(State(api): State<Api>, caller: Caller, Path(trial): Path<String>) -> Result<Json<Trial>, Failure> {
    caller.administers(&api.org)?;
    Ok(Json(api.trials.close(&trial).await?))
}

async fn check(
    State(api): State<Api>,
    caller: Caller,
    Path(trial): Path<String>,
    Body(check): Body<TrialCheck>,
) -> Result<Json<CheckReply>, Failure> {
    caller.administers(&api.org)?;
    Ok(Json(api.trials.check(&trial, check).await?))
}

/// Empty before the first plan.
fn pods(api: &Api) -> Vec<IpNet> {
    let snapshot = Arc::clone(&api.snapshots.borrow());
    snapshot.intent.as_ref().map(|intent| intent.cluster.pod.clone()).unwrap_or_default()
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(message) => Failure::invalid(message, "docs/test-network.md"),
            Refused::Conflict(message) => {
                Failure::new(StatusCode::CONFLICT, "conflict", message, "docs/test-network.md")
            }
            Refused::NotFound(message) => {
                Failure::new(StatusCode::NOT_FOUND, "not_found", message, "GET /v1/trials lists those that are there")
            }
            Refused::Broken(error) => {
                let hint = "nothing of the trial stays; the log of meshd may say more";
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("{error:#}"), hint)
            }
        }
    }
}
