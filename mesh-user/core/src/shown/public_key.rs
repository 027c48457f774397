//! Is the key of a remote taken?

use super::{Known, Sights, Status, holds, waiting};

const ACCEPTED: &str = "Accepted";

pub(super) fn status(known: &Known, sights: &Sights<'_>) -> Status {
    let remote = known.remote();
    let has_configuration =
        sights.intent.zip(remote.as_ref()).is_some_and(|(intent, remote)| intent.remotes.contains_key(remote));
    let statement = match (sights.problem(known), remote) {
        (Some(problem), _) => waiting(ACCEPTED, "Refused", problem),
        (None, None) => waiting(ACCEPTED, "NotInForce", "it says no remote cluster"),
        (None, Some(remote)) if !has_configuration => {
            waiting(ACCEPTED, "WaitsForConfiguration", format!("apply the Configuration of {remote}"))
        }
        (None, Some(remote)) => holds(ACCEPTED, "Accepted", format!("gateways of {remote} prove themselves with it")),
    };
    Status { conditions: vec![statement], ..Status::default() }
}
