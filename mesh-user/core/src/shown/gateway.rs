//! Does a gateway object have what it needs?

use super::{Known, Sights, Statement, Status, waiting};
use crate::{api::ConditionStatus, model::ClusterId};

const READY: &str = "Ready";

pub(super) fn status(known: &Known, sights: &Sights<'_>) -> Status {
    let mut status = Status::default();
    status.conditions.push(ready(known, sights));
    status
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
