//! What a Network or an IP was given.

use super::{Known, Sights, Status, holds, waiting};

const ALLOCATED: &str = "Allocated";

pub(super) fn network(known: &Known, sights: &Sights<'_>) -> Status {
    allocated(known, sights, sights.intent.is_some_and(|intent| intent.networks.contains_key(&known.object.id)))
}

pub(super) fn ip(known: &Known, sights: &Sights<'_>) -> Status {
    allocated(known, sights, sights.intent.is_some_and(|intent| intent.ips.contains_key(&known.object.id)))
}

fn allocated(known: &Known, sights: &Sights<'_>, is_in_force: bool) -> Status {
    let statement = match sights.problem(known) {
        Some(problem) => waiting(ALLOCATED, "Refused", problem),
        None if is_in_force => holds(ALLOCATED, "Allocated", "status has what it was given"),
        None => waiting(ALLOCATED, "NotInForce", "it is not in force yet; `meshctl status` says more"),
    };
    Status { conditions: vec![statement], ..Status::default() }
}
