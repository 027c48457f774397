//! What a Network or an IP was given.

use ipnet::IpNet;
use serde_json::json;

use super::{Known, Sights, Status, holds, waiting};

const ALLOCATED: &str = "Allocated";

pub(super) fn network(known: &Known, sights: &Sights<'_>) -> Status {
    let share = sights.allocations.networks.iter().find(|share| share.id == known.object.id);
    let mut status = allocated(known, sights, share.is_some());
    if let Some(share) = share {
        status.set("cidr", json!(share.cidr));
    }
    status
}

pub(super) fn ip(known: &Known, sights: &Sights<'_>) -> Status {
    let share = sights.allocations.outside.iter().find(|share| share.id == known.object.id);
    let mut status = allocated(known, sights, share.is_some());
    if let Some(share) = share {
        status.set("ip", json!(share.address));
        let is_around = |net: &&IpNet| net.contains(&share.address);
        status.set("cidr", json!(sights.allocations.own.values().find(is_around)));
    }
    status
}

fn allocated(known: &Known, sights: &Sights<'_>, is_in_force: bool) -> Status {
    let statement = match sights.problem(known) {
        Some(problem) => waiting(ALLOCATED, "Refused", problem),
        None if is_in_force => holds(ALLOCATED, "Allocated", "status has what it was given"),
        None => waiting(ALLOCATED, "NotInForce", "it is not in force yet; `meshctl status` says more"),
    };
    Status { conditions: vec![statement], ..Status::default() }
}
