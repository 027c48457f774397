//! Does a gateway object have what it needs, and where is it reached?

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Known, Sights, Statement, Status, waiting};
use crate::{
    api::ConditionStatus,
    model::{ClusterId, ObjectKind},
    plan::GatewayEndpoint,
};

const READY: &str = "Ready";
const ENDPOINT_ASSIGNED: &str = "EndpointAssigned";

pub(super) fn status(known: &Known, sights: &Sights<'_>) -> Status {
    let mut status = Status::default();
    status.conditions.push(ready(known, sights));
    let is_server = known.object.id.kind == ObjectKind::GatewayServer;
    let endpoint = sights.gateway(known);
    if is_server {
        status.conditions.push(assigned(known, sights, endpoint));
    }
    let Some(endpoint) = endpoint else { return status };
    let key = match &endpoint.secret {
        Some(name) => sights.gateway_keys.get(name).copied(),
        None => Some(sights.public_key),
    };
    if let Some(key) = key {
        status.set("publicKey", key.to_string());
    }
    if let Some(internal) = endpoint.internal {
        status.set("internalEndpoint", json!({ "ip": internal.ip(), "port": internal.port() }));
    }
    let called = if is_server { None } else { in_use(known, sights) };
    match (called, endpoint.addresses.is_empty()) {
        (Some(called), _) => {
            let ports = if endpoint.ports.len() > 1 { endpoint.ports.clone() } else { vec![called.port()] };
            status.set("endpoint", place(&[called.ip().to_string()], &ports));
        }
        (None, false) => {
            let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
            status.set("endpoint", place(&addresses, &endpoint.ports));
        }
        (None, true) => {}
    }
    status
}

/// In the form of `spec.endpoint` of a client.
fn place(addresses: &[String], ports: &[u16]) -> Value {
    match ports {
        [] => json!({ "addresses": addresses }),
        [port] => json!({ "addresses": addresses, "port": port, "protocol": "UDP" }),
        ports => json!({ "addresses": addresses, "ports": ports, "protocol": "UDP" }),
    }
}

/// The candidate that a client talks to.
fn in_use(known: &Known, sights: &Sights<'_>) -> Option<SocketAddr> {
    let name = format!("{}/{}", known.object.id.namespace, known.object.id.name);
    let connection = sights.connections.iter().find(|connection| connection.name == name)?;
    connection.endpoint.as_ref()?.parse().ok()
}

fn assigned(known: &Known, sights: &Sights<'_>, endpoint: Option<&GatewayEndpoint>) -> Statement {
    let Some(endpoint) = endpoint else {
        let problem = sights.problem(known).map(str::to_owned);
        let reason = if problem.is_some() { "Refused" } else { "WaitsForConfiguration" };
        let message = problem.unwrap_or_else(|| "apply the Configuration of the remote cluster".to_owned());
        return waiting(ENDPOINT_ASSIGNED, reason, message);
    };
    match &endpoint.unassigned {
        Some(why) => waiting(ENDPOINT_ASSIGNED, "NoAddress", why.clone()),
        None if endpoint.addresses.is_empty() => {
            waiting(ENDPOINT_ASSIGNED, "NoAddress", "this node has no address that others could reach: set advertise")
        }
        None => Statement {
            kind: ENDPOINT_ASSIGNED,
            status: ConditionStatus::True,
            reason: "Assigned".to_owned(),
            message: "clients reach it at status.endpoint".to_owned(),
        },
    }
}

fn ready(known: &Known, sights: &Sights<'_>) -> Statement {
    let id = &known.object.id;
    let name = format!("{}/{}", id.namespace, id.name);
    let remote = known.remote();
    let is_planned = |remote: &ClusterId| {
        sights.plan.connections.values().any(|one| one.name == name && one.remote == remote.to_string())
    };
    if let Some(problem) = sights.problem(known) {
        return waiting(READY, "Refused", problem);
    }
    let Some(remote) = remote else { return waiting(READY, "NotInForce", "it says no remote cluster") };
    if is_planned(&remote) {
        let message = format!("the connection to {remote} is in force");
        return Statement { kind: READY, status: ConditionStatus::True, reason: "Ready".to_owned(), message };
    }
    match sights.intent.and_then(|intent| intent.remotes.get(&remote)) {
        None => waiting(READY, "WaitsForConfiguration", format!("apply the Configuration of {remote}")),
        Some(known) if !known.is_complete() => {
            waiting(READY, "WaitsForPublicKey", format!("apply the PublicKey of {remote}"))
        }
        Some(_) => waiting(READY, "NotInForce", "it is not in force yet; `meshctl status` says more"),
    }
}
