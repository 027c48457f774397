//! What around the connections is wrong with this node itself: forwarding that is off, interfaces towards pods that are down.

use mesh_core::{
    plan::{InterfaceRole, Plan, SysctlKey},
    probe::Faults,
};

use crate::kernel::{netlink::Links, sysctl};

/// What is wrong, as remotes are told it and in words with the next step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnFaults {
    pub(super) bits: Faults,
    pub(super) words: Vec<String>,
}

/// `links`: as they are now; where that is not known, interfaces are not judged.
pub(super) fn look(plan: &Plan, links: Option<&Links>) -> OwnFaults {
    let mut faults = OwnFaults::default();
    for (setting, wanted) in &plan.sysctls {
        let (bit, name) = match setting.key {
            SysctlKey::ForwardingV4 => (Faults::FORWARDING_V4_OFF, "ipv4"),
            SysctlKey::ForwardingV6 => (Faults::FORWARDING_V6_OFF, "ipv6"),
            SysctlKey::RpFilter | SysctlKey::MultipathHashV4 | SysctlKey::MultipathHashV6 => continue,
        };
        // A device that is gone has no settings; that it is gone is told below, or mended by the control loop.
        let Ok(Some(found)) = sysctl::read(setting) else { continue };
        if found != *wanted {
            faults.bits = faults.bits.with(bit);
            let key = format!("net.{name}.conf.{}.forwarding", setting.device);
            faults.words.push(format!("{key} is {found}: `sysctl -w {key}={wanted}`"));
        }
    }
    let Some(links) = links.filter(|_| !plan.connections.is_empty()) else { return faults };
    for (device, _) in plan.interfaces.iter().filter(|(_, one)| one.role == InterfaceRole::Workload) {
        let words = match links.get(device) {
            None => format!("the interface {device} towards pods is gone"),
            Some(link) if !link.up => format!("the interface {device} towards pods is down: `ip link set {device} up`"),
            Some(_) => continue,
        };
        faults.bits = faults.bits.with(Faults::WORKLOAD_DOWN);
        faults.words.push(words);
    }
    faults
}
