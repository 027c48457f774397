//! Requests about how this node is: status, health, and the way of a packet.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use mesh_core::{
    api::{Explanation, Status},
    explain::explain,
};
use serde::Deserialize;

use super::{
    Api,
    caller::Caller,
    endpoint::{Endpoint, text},
    errors::Failure,
    request::{Path, Query},
    status,
};

/// A control loop that has been silent for so long is believed to hang.
const STUCK: Duration = Duration::from_secs(60);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/status", show, "This node: connections, interfaces, counters, problems").reply::<Status>(),
        Endpoint::get("/v1/health/{check}", health, "Whether the daemon lives, started, and is ready")
            .reply::<String>(),
        Endpoint::get("/v1/explain", explanation, "The way of a packet, stage by stage")
            .required_query("source", "An IP address", text())
            .required_query("destination", "An IP address", text())
            .reply::<Explanation>(),
    ]
}

/// The two addresses of a packet.
#[derive(Debug, Deserialize)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
}

async fn show(State(api): State<Api>, caller: Caller) -> Result<Json<Status>, Failure> {
    caller.reads_all()?;
    Ok(Json(status::status(&api)))
}

/// Anybody who has a role may ask.
async fn health(State(api): State<Api>, Path(check): Path<String>) -> Result<Json<&'static str>, Failure> {
    let snapshot = Arc::clone(&api.snapshots.borrow());
    let problem = match check.as_str() {
        "live" => {
            let silent = Instant::now().saturating_duration_since(snapshot.at);
            (silent > STUCK).then(|| format!("the control loop has been silent for {} s", silent.as_secs()))
        }
        "startup" => (!snapshot.started).then(|| "the first plan is not in force yet".to_owned()),
        "ready" if !snapshot.started => Some("the first plan is not in force yet".to_owned()),
        "ready" => {
            snapshot.problems.first().map(|first| format!("{} problems, the first: {first}", snapshot.problems.len()))
        }
        other => {
            return Err(Failure::not_found(format!("no health check {other:?}: there are live, ready and startup")));
        }
    };
    problem.map_or(Ok(Json("ok")), |problem| Err(Failure::unhealthy(problem)))
}

async fn explanation(
    State(api): State<Api>,
    caller: Caller,
    Query(Packet { source, destination }): Query<Packet>,
) -> Result<Json<Explanation>, Failure> {
    caller.reads_all()?;
    let snapshot = Arc::clone(&api.snapshots.borrow());
    Ok(Json(explain(&snapshot.plan, &snapshot.tables, source, destination)))
}
