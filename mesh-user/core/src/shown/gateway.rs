//! Where is a gateway reached, and does it have what it needs?

use std::net::SocketAddr;

use serde_json::json;

use super::{Known, Sights, Statement, Status, holds, waiting};
use crate::{model::ObjectKind, plan::GatewayEndpoint};

const READY: &str = "Ready";
const ASSIGNED: &str = "EndpointAssigned";

pub(super) fn status(known: &Known, sights: &Sights<'_>) -> Status {
    let id = &known.object.id;
    let endpoint = sights.gateway(known);
    let mut status = Status::default();
    if let Some(endpoint) = endpoint {
        show_endpoint(&mut status, endpoint, known, sights);
    }
    let is_server = id.kind == ObjectKind::GatewayServer;
    let missing = missing(known, sights, endpoint.is_some());
    if is_server {
        status.conditions.push(match (&missing, endpoint) {
            (Some((reason, message)), _) => waiting(ASSIGNED, reason, message),
            (None, Some(GatewayEndpoint { unassigned: Some(why), .. })) => waiting(ASSIGNED, "NoAddress", why),
            (None, Some(GatewayEndpoint { addresses, .. })) if addresses.is_empty() => {
                waiting(ASSIGNED, "NoAddress", "this node has no address that others could reach: set advertise")
            }
            (None, _) => holds(ASSIGNED, "Assigned", "clients reach it at status.endpoint"),
        });
    }
    status.conditions.push(match missing {
        Some((reason, message)) => waiting(READY, reason, message),
        None => ready(known, sights),
    });
    status
}

/// Reason and message of what it lacks to be made.
fn missing(known: &Known, sights: &Sights<'_>, is_planned: bool) -> Option<(&'static str, String)> {
    if let Some(problem) = sights.problem(known) {
        return Some(("Refused", problem.to_owned()));
    }
    let Some(remote) = known.remote() else {
        return Some(("NotInForce", "it names no remote cluster".to_owned()));
    };
    if sights.intent.is_some_and(|intent| !intent.remotes.contains_key(&remote)) {
        return Some(("WaitsForConfiguration", format!("apply the Configuration of {remote}")));
    }
    (!is_planned).then(|| ("NotInForce", "it is not in force yet; `meshctl status` says more".to_owned()))
}

/// A gateway is ready for the keys to be exchanged.
fn ready(known: &Known, sights: &Sights<'_>) -> Statement {
    let remote = known.remote().map(|remote| remote.to_string()).unwrap_or_default();
    let is_connected = sights.plan.connections.values().any(|connection| connection.remote == remote);
    if is_connected {
        holds(READY, "Connection", format!("the Connection {remote} says how it is"))
    } else {
        holds(READY, "WaitsForPublicKey", format!("the connection comes with the PublicKey of {remote}"))
    }
}

fn show_endpoint(status: &mut Status, endpoint: &GatewayEndpoint, known: &Known, sights: &Sights<'_>) {
    let remote = known.remote().map(|remote| remote.to_string());
    let seen = sights.connections.iter().find(|connection| Some(&connection.remote) == remote.as_ref());
    // Of a client: the candidate in use, once there is one.
    let used = seen.filter(|_| known.object.id.kind == ObjectKind::GatewayClient);
    let used = used.and_then(|connection| connection.endpoint.as_ref()?.parse::<SocketAddr>().ok());
    let addresses = match used {
        Some(used) => vec![used.ip().to_string()],
        None => endpoint.addresses.iter().map(ToString::to_string).collect(),
    };
    let ports = match used {
        Some(used) if endpoint.ports.len() == 1 => vec![used.port()],
        _ => endpoint.ports.clone(),
    };
    if !addresses.is_empty() {
        let mut shown = json!({ "addresses": addresses, "protocol": "UDP" });
        match ports.as_slice() {
            [] => {}
            [port] => shown["port"] = json!(port),
            ports => shown["ports"] = json!(ports),
        }
        status.set("endpoint", shown);
    }
    if let Some(internal) = endpoint.internal {
        status.set("internalEndpoint", json!({ "ip": internal.ip(), "port": internal.port() }));
    }
    let key = match &endpoint.secret {
        None => Some(sights.public_key),
        Some(secret) => sights.gateway_keys.get(secret).copied(),
    };
    if let Some(key) = key {
        status.set("publicKey", key.to_string());
    }
}
