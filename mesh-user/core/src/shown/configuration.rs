//! What this cluster calls the prefixes of a remote.

use ipnet::IpNet;
use serde_json::json;

use super::{Known, Sights, Status, holds, waiting};
use crate::{allocate::Share, model::Configuration};

const CONFIGURED: &str = "NetworkCIDRsConfigured";

pub(super) fn status(known: &Known, sights: &Sights<'_>) -> Status {
    let mut status = Status::default();
    let remote = known.remote();
    let configuration = remote.as_ref().and_then(|remote| Some(&sights.intent?.remotes.get(remote)?.configuration));
    let in_force = configuration.filter(|configuration| known.is_at(&configuration.place));
    let share = remote.and_then(|remote| sights.allocations.remotes.get(&remote));
    let names = in_force.zip(share).and_then(|(configuration, share)| names(configuration, share));
    if let Some([pod, external]) = &names {
        status.set("remote", json!({ "cidr": { "pod": pod, "external": external } }));
    }
    status.conditions.push(match (sights.problem(known), names) {
        (Some(problem), _) => waiting(CONFIGURED, "Refused", problem),
        (None, Some(_)) => holds(
            CONFIGURED,
            "Remapped",
            "status.remote.cidr has what the prefixes are called here, in the order of spec.remote.cidr",
        ),
        (None, None) => waiting(CONFIGURED, "NotInForce", "it is not in force yet; `meshctl status` says more"),
    });
    status
}

/// Index by index; `None` where some have no name yet.
fn names(configuration: &Configuration, share: &Share) -> Option<[Vec<IpNet>; 2]> {
    let of = |real: &[IpNet]| real.iter().map(|net| share.presented.get(net).copied()).collect::<Option<Vec<_>>>();
    Some([of(&configuration.real.pod)?, of(&configuration.real.external)?])
}
