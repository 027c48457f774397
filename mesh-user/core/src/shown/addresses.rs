//! What a Network or an IP was given.

use serde_json::json;

use super::{Known, Sights, Status, holds, waiting};

const ALLOCATED: &str = "Allocated";

pub(super) fn network(known: &Known, sights: &Sights<'_>) -> Status {
    let mut status = Status::default();
    let share = sights.allocations.networks.iter().find(|share| share.id == known.object.id);
    if let Some(share) = share {
        status.set("cidr", json!(share.cidr));
    }
    allocated(status, known, sights, share.is_some())
}

pub(super) fn ip(known: &Known, sights: &Sights<'_>) -> Status {
    let mut status = Status::default();
    let share = sights.allocations.outside.iter().find(|share| share.id == known.object.id);
    if let Some(share) = share {
        status.set("ip", json!(share.address));
        let own = sights.intent.into_iter().flat_map(|intent| &intent.cluster.external.cidrs);
        let external = own.map(|net| sights.allocations.own.get(net).unwrap_or(net));
        let networks = sights.allocations.networks.iter().map(|network| &network.cidr);
        if let Some(cidr) = networks.chain(external).find(|net| net.contains(&share.address)) {
            status.set("cidr", json!(cidr));
        }
    }
    allocated(status, known, sights, share.is_some())
}

fn allocated(mut status: Status, known: &Known, sights: &Sights<'_>, has_share: bool) -> Status {
    status.conditions.push(match sights.problem(known) {
        Some(problem) => waiting(ALLOCATED, "Refused", problem),
        None if has_share => holds(ALLOCATED, "Allocated", "status says what it was given"),
        None => waiting(ALLOCATED, "NotInForce", "it is not in force yet; `meshctl status` says more"),
    });
    status
}
