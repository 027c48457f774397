//! Requests about how this node is: status, health, and the way of a packet.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use mesh_core::{
    api::{ConnectionState, Explanation, Status},
    explain::{Question, Sample, Troubles, explain, explain_in_groups},
};
use serde::Deserialize;

use super::{
    Api, Snapshot,
    caller::Caller,
    endpoint::{Endpoint, text},
    errors::Failure,
    request::{Path, Query},
    status,
};
use crate::{
    agent::local::Local,
    probe::{Report, Reports},
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
            .query("traffic", "What begins between them: icmp, tcp/PORT or udp/PORT", text())
            .reply::<Explanation>(),
    ]
}

/// The two addresses of a packet, and what it is.
#[derive(Debug, Deserialize)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    traffic: Option<String>,
}

async fn show(State(api): State<Api>, caller: Caller) -> Result<Json<Status>, Failure> {
    caller.reads_all()?;
    Ok(Json(status::status(&api)))
}

/// Anybody who has a role may ask; problems name what not everybody sees.
async fn health(
    State(api): State<Api>,
    caller: Caller,
    Path(check): Path<String>,
) -> Result<Json<&'static str>, Failure> {
    let snapshot = Arc::clone(&api.snapshots.borrow());
    let problem = match check.as_str() {
        "live" => {
            let silent = Instant::now().saturating_duration_since(snapshot.at);
            (silent > STUCK).then(|| format!("the control loop has been silent for {} s", silent.as_secs()))
        }
        "startup" => (!snapshot.started).then(|| "the first plan is not in force yet".to_owned()),
        "ready" if !snapshot.started => Some("the first plan is not in force yet".to_owned()),
        "ready" => {
            let problems = snapshot.problems.iter().cloned().chain(down(&api, &snapshot)).collect::<Vec<_>>();
            problems.first().map(|first| match caller.reads_all() {
                Ok(()) => format!("{} problems, the first: {first}", problems.len()),
                Err(_) => format!("{} problems", problems.len()),
            })
        }
        other => {
            return Err(Failure::not_found(format!("no health check {other:?}: there are live, ready and startup")));
        }
    };
    problem.map_or(Ok(Json("ok")), |problem| Err(Failure::unhealthy(problem)))
}

/// Tunnels of network groups that this node should run, and does not.
fn down(api: &Api, snapshot: &Snapshot) -> Vec<String> {
    let locals = Arc::clone(&api.agency.locals().borrow());
    let missing = |local: &Arc<Local>| {
        let purpose = &local.kept.purpose;
        format!("the tunnel of {} in {} is down: {}", purpose.member, purpose.group, local.missing(snapshot))
    };
    locals.iter().filter(|local| !local.is_up(snapshot)).map(missing).collect()
}

async fn explanation(
    State(api): State<Api>,
    caller: Caller,
    Query(Packet { source, destination, traffic }): Query<Packet>,
) -> Result<Json<Explanation>, Failure> {
    caller.reads_all()?;
    let snapshot = Arc::clone(&api.snapshots.borrow());
    let what = traffic
        .map(|text| text.parse::<Sample>())
        .transpose()
        .map_err(|error| Failure::invalid(error.to_string(), ""))?;
    let registry = api.registry_for(&caller);
    let locals = Arc::clone(&api.agency.locals().borrow());
    let mirrored = locals.iter().filter_map(|local| local.group.as_deref());
    let groups = registry.groups.values().map(|group| &**group).chain(mirrored);
    let question = Question { source, destination, what };
    let of_group = explain_in_groups(groups, &snapshot.plan.groups, question);
    let troubles = troubles(&api.reports.borrow());
    Ok(Json(of_group.unwrap_or_else(|| explain(&snapshot.plan, &snapshot.tables, &troubles, source, destination))))
}

/// Of connections that do not work as they should.
fn troubles(reports: &Reports) -> Troubles {
    let fails = |report: &&Report| report.state == ConnectionState::Error && !report.detail.is_empty();
    let failing = reports.iter().filter(|(_, report)| fails(report));
    failing.map(|(id, report)| (*id, report.detail.clone())).collect()
}
