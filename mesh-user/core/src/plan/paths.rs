//! Between which addresses the probes of a connection go.

use super::{
    PathProbe, Probe, Transport,
    kernel::{self, Reserved},
};
use crate::{allocate::Share, model::Remote};

/// From our reserved addresses to the remote's, as we call them: by its first external CIDR of each family.
pub(super) fn paths(remote: &Remote, share: &Share, transport: &Transport, reserved: &Reserved) -> Vec<PathProbe> {
    let is_direct = matches!(transport, Transport::Direct { .. });
    let mut paths: Vec<PathProbe> = Vec::new();
    for external in &remote.configuration.real.external {
        let Some(presented) = share.presented.get(external) else { continue };
        if paths.iter().any(|path| path.gateway.to.is_ipv4() == presented.addr().is_ipv4()) {
            continue;
        }
        let gateway = match is_direct {
            true => reserved.presented_gateway_for(presented),
            false => reserved.gateway_for(presented),
        };
        let (Some(gateway), Some((responder, [answers_at, answers_also_at]))) =
            (gateway, reserved.responder_for(presented, is_direct))
        else {
            continue;
        };
        paths.push(PathProbe {
            gateway: Probe { from: gateway, to: kernel::nth(presented, kernel::GATEWAY) },
            responder: Probe { from: responder, to: kernel::nth(presented, kernel::RESPONDER) },
            answers_at,
            answers_also_at,
        });
    }
    paths
}
