//! `network disconnect` and `network reset`: how what `connect` made is taken away again, and whether it is gone.

use mesh_core::model::ObjectKind;

use super::{
    reading::{is_about, name, text},
    report::{End, Report},
    side::{Seen, Side},
};
use crate::exit::{Exit, Failure};

const GATEWAYS: [(ObjectKind, &str); 2] =
    [(ObjectKind::GatewayClient, "Gateway client"), (ObjectKind::GatewayServer, "Gateway server")];
/// What `reset` deletes beside.
const REST: [(ObjectKind, &str); 2] =
    [(ObjectKind::PublicKey, "Public key"), (ObjectKind::Configuration, "Network configuration")];

/// Removes the gateways at each of `sides`, towards the cluster beside it. The names of the prefixes stay.
pub(crate) fn disconnect(sides: &[(&Side<'_>, &str)], wait: bool, report: &mut Report) -> Result<(), Failure> {
    for (side, remote) in sides {
        let mut gone = true;
        for (kind, called) in GATEWAYS {
            if delete(side, kind, remote, report)? {
                report.info(side.end, format!("{called} deleted"));
                gone = false;
            }
        }
        if gone {
            report.info(side.end, format!("No gateway for {remote}: nothing to delete"));
        }
    }
    for (side, remote) in sides.iter().filter(|_| wait) {
        side.wait("connection", "for the connection to be gone", report, || {
            let left = tunnels(side, remote)?;
            Ok(if left.is_empty() { Seen::Yes(()) } else { Seen::Not(format!("{} is still there", left.join(", "))) })
        })?;
        report.info(side.end, format!("Connection to {remote} is gone"));
    }
    Ok(())
}

/// Removes the Configurations too, and ends with a look whether anything is left.
pub(crate) fn reset(sides: &[(&Side<'_>, &str)], report: &mut Report) -> Result<(), Failure> {
    disconnect(sides, true, report)?;
    for (side, remote) in sides {
        for (kind, called) in REST {
            if delete(side, kind, remote, report)? {
                report.info(side.end, format!("{called} deleted"));
            }
        }
    }
    for (side, remote) in sides {
        side.wait("leak check", "for the last of it to be gone", report, || {
            let left = left(side, remote)?;
            Ok(if left.is_empty() { Seen::Yes(()) } else { Seen::Not(format!("still there: {}", left.join(", "))) })
        })?;
        report.info(side.end, format!("Nothing of {remote} is left: no object, no tunnel, no prefix"));
    }
    Ok(())
}

/// `false`: there was none.
fn delete(side: &Side<'_>, kind: ObjectKind, remote: &str, report: &mut Report) -> Result<bool, Failure> {
    let stage = format!("deletion of the {kind}");
    let objects = side.cluster.list(kind).map_err(|failure| side.failed(&stage, failure))?;
    let mut deleted = false;
    for object in objects.iter().filter(|object| is_about(object, remote)) {
        let [namespace, called] = ["/metadata/namespace", "/metadata/name"].map(|pointer| text(object, pointer));
        let done = side.cluster.delete(kind, namespace, called);
        deleted |= done.map_err(|failure| side.failed(&stage, failure))?;
        report.detail(side.end, format!("{kind} {} deleted", name(object)));
    }
    Ok(deleted)
}

/// What carries packets to the remote, as the daemon sees it.
fn tunnels(side: &Side<'_>, remote: &str) -> Result<Vec<String>, Failure> {
    let objects = side.cluster.list(ObjectKind::Connection)?;
    let objects = objects.iter().filter(|object| is_about(object, remote));
    let mut left: Vec<String> = objects.map(|object| format!("Connection {}", name(object))).collect();
    let status = side.cluster.status()?;
    let devices = status.connections.iter().filter(|connection| connection.remote == remote);
    left.extend(devices.filter_map(|connection| connection.device.clone()).map(|device| format!("device {device}")));
    Ok(left)
}

fn left(side: &Side<'_>, remote: &str) -> Result<Vec<String>, Failure> {
    let mut left = tunnels(side, remote)?;
    for (kind, _) in GATEWAYS.into_iter().chain(REST) {
        let objects = side.cluster.list(kind)?;
        left.extend(
            objects.iter().filter(|object| is_about(object, remote)).map(|object| format!("{kind} {}", name(object))),
        );
    }
    let status = side.cluster.status()?;
    let remaps = status.remaps.iter().filter(|remap| remap.connection == remote);
    left.extend(remaps.map(|remap| format!("prefix {} ({})", remap.presented, remap.real)));
    Ok(left)
}

/// Which cluster the other one is, where its daemon is not asked: the only one that there is anything about.
pub(crate) fn only_remote(side: &Side<'_>) -> Result<String, Failure> {
    let mut remotes = std::collections::BTreeSet::new();
    for (kind, _) in GATEWAYS.into_iter().chain(REST) {
        for object in side.cluster.list(kind)? {
            let labels =
                object.pointer("/metadata/labels").and_then(|labels| labels.get(crate::manifest::REMOTE_LABEL));
            remotes.extend(labels.and_then(serde_json::Value::as_str).map(str::to_owned));
        }
    }
    let known: Vec<String> = remotes.into_iter().collect();
    match known.as_slice() {
        [remote] => Ok(remote.clone()),
        [] => Err(Failure::new(Exit::NotFound, format!("cluster {} knows no other cluster", side.id()), "")),
        known => {
            let message = format!("cluster {} knows several: {}", side.id(), known.join(", "));
            Err(Failure::new(Exit::Conflict, message, "--remote-cluster-id names one").with_code("ambiguous"))
        }
    }
}

/// `local` without the other daemon, or both towards each other.
pub(crate) fn sides<'s, 'a>(
    local: &'s Side<'a>,
    remote: Option<&'s Side<'a>>,
    remote_id: &'s str,
) -> Vec<(&'s Side<'a>, &'s str)> {
    let mut sides = vec![(local, remote_id)];
    sides.extend(remote.map(|remote| (remote, local.id())));
    debug_assert!(sides.iter().any(|(side, _)| side.end == End::Local));
    sides
}
