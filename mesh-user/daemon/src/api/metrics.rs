//! `/metrics`: the numbers of this node for Prometheus.

use std::sync::Arc;

use axum::{extract::State, http::header::CONTENT_TYPE, response::IntoResponse};

use super::{Api, caller::Caller, endpoint::Endpoint, errors::Failure, status};
use crate::telemetry::{
    exposition,
    metrics::{Measured, Source, StoreSize, render},
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::get("/metrics", show, "Counters and gauges of this node, for Prometheus").text()]
}

/// The same for a listener of its own.
pub fn metrics(api: &Api) -> Source {
    let api = api.clone();
    Arc::new(move || text(&api))
}

async fn show(State(api): State<Api>, caller: Caller) -> Result<impl IntoResponse, Failure> {
    caller.reads_all()?;
    Ok(([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text(&api)))
}

fn text(api: &Api) -> String {
    let plan = Arc::clone(&api.snapshots.borrow().plan);
    let reports = api.reports.borrow();
    let of_remote = |id| plan.connections.get(id).map(|connection| connection.remote.clone());
    let latencies = reports.iter().filter_map(|(id, report)| Some((of_remote(id)?, report.latencies))).collect();
    drop(reports);
    let registry = Arc::clone(&api.registrar.registry().borrow());
    let groups = registry.groups.values();
    let store = StoreSize {
        revision: registry.revision.0,
        groups: groups.len(),
        members: groups.clone().map(|group| group.members.len()).sum(),
        peers: groups.map(|group| group.peers.len()).sum(),
        objects: registry.objects.len(),
    };
    render(&status::status(api), &Measured { latencies, store })
}
