//! Connections: one for each gateway object that has what it needs, made by the daemon.

use std::sync::Arc;

use serde_json::json;

use super::{Known, Sights, Status, time};
use crate::{
    api::Connection,
    model::{ClusterObject, ObjectId, ObjectKind},
};

/// In the namespaces of their gateway objects, and named after the remote clusters.
pub(super) fn all(sights: &Sights<'_>) -> Vec<Known> {
    let gateways = sights.objects.values().filter(|known| is_gateway(known));
    let mut all: Vec<Known> = gateways.filter_map(|gateway| of_gateway(gateway, sights)).collect();
    all.sort_by(|a, b| a.object.id.cmp(&b.object.id));
    all
}

pub(super) fn status(known: &Known, sights: &Sights<'_>) -> Status {
    let mut status = Status::default();
    let name = &known.object.id.name;
    let Some(seen) = sights.connections.iter().find(|connection| connection.remote == *name) else { return status };
    status.set("value", json!(seen.state));
    if let Some(microseconds) = seen.latency_us {
        status.set("latency", json!({ "value": format!("{microseconds}us"), "timestamp": time(sights.now) }));
    }
    status.set("remoteClusterID", seen.remote.clone());
    status.set("detail", seen.detail.clone());
    if let Some(endpoint) = &seen.endpoint {
        status.set("endpoint", endpoint.clone());
    }
    if let Some(device) = &seen.device {
        status.set("device", device.clone());
    }
    for (field, mtu) in [("mtu", seen.mtu), ("pathMtu", seen.path_mtu)] {
        status.fields.extend(mtu.map(|mtu| (field.to_owned(), json!(mtu))));
    }
    if !seen.history.is_empty() {
        status.set("history", json!(seen.history));
    }
    status.seen.clone_from(&seen.conditions);
    let Connection { rx_bytes, tx_bytes, rx_packets, tx_packets, lanes, .. } = seen;
    status.set("rxBytes", *rx_bytes);
    status.set("txBytes", *tx_bytes);
    status.set("rxPackets", *rx_packets);
    status.set("txPackets", *tx_packets);
    status.set("lanes", json!(lanes));
    let id = sights.plan.connections.iter().find(|(_, planned)| planned.remote == *name).map(|(id, _)| *id);
    let remaps = sights.plan.remaps.values().filter(|remap| id.is_some() && remap.connection == id);
    let remaps: Vec<_> = remaps.map(|remap| json!({ "real": remap.real, "presented": remap.presented })).collect();
    status.set("remap", remaps);
    status
}

fn is_gateway(known: &Known) -> bool {
    matches!(known.object.id.kind, ObjectKind::GatewayServer | ObjectKind::GatewayClient)
}

/// `None`: it is not planned.
fn of_gateway(gateway: &Known, sights: &Sights<'_>) -> Option<Known> {
    let ClusterObject { id: own, created, labels, managed_by, .. } = &*gateway.object;
    let remote = gateway.remote()?.to_string();
    let name = format!("{}/{}", own.namespace, own.name);
    sights.plan.connections.values().find(|planned| planned.name == name && planned.remote == remote)?;
    let kind = ObjectKind::Connection;
    let id = ObjectId { kind, namespace: own.namespace.clone(), name: remote };
    let gateway_ref = json!({
        "apiVersion": own.kind.api_version(), "kind": own.kind.as_str(), "name": own.name, "namespace": own.namespace,
    });
    let role = if own.kind == ObjectKind::GatewayServer { "Server" } else { "Client" };
    let object = ClusterObject {
        uid: id.derived_uid(),
        id,
        created: *created,
        generation: 1,
        labels: labels.clone(),
        annotations: Default::default(),
        spec: json!({ "type": role, "gatewayRef": gateway_ref }),
        managed_by: *managed_by,
    };
    Some(Known { object: Arc::new(object), file: gateway.file.clone(), version: gateway.version.clone() })
}
