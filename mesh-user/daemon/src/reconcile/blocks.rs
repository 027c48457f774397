//! How is a blocked member closed to everything but its groups?
//!
//! Twice, and each alone would do. The table bars the addresses of its instances, so that the hooks of the settings drop what
//! is from or to them where it comes in. And a program with the same table runs at the ingress of every interface that an
//! instance has in its own network namespace: it also meets what another workload or this host sends it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use mesh_core::{
    model::group::MemberId,
    plan::{DEVICE_PREFIX, DeviceName, Plan, block::BlockedInstances},
};

use super::World;
use crate::kernel::{
    bpf_links::Doorkeeper,
    netlink::{Links, Netlink},
    netns,
};

/// What an instance has in its namespace, as it was seen last.
#[derive(Debug, Default)]
pub(super) struct Premises {
    by_netns: BTreeMap<PathBuf, Premise>,
}

#[derive(Debug)]
struct Premise {
    netns: netns::Identity,
    links: Links,
    addresses: BTreeSet<IpAddr>,
}

impl World {
    /// Bars the addresses of blocked members in the plan. What could not be closed is told, a line each.
    pub async fn block(&mut self, plan: &mut Plan, blocked: &BlockedInstances) -> Vec<String> {
        let mut troubles = Vec::new();
        self.premises.by_netns.retain(|netns, _| blocked.contains_key(&Some(netns.clone())));
        for (netns, members) in blocked {
            let Some(member) = members.first() else { continue };
            let Some(netns) = netns else {
                troubles.extend(members.iter().map(without_netns));
                continue;
            };
            if let Err(error) = self.visit(netns).await {
                troubles.push(format!("{member} is blocked, but what it has is not known now: {error:#}"));
            }
            let addresses = self.premises.by_netns.get(netns).map(|premise| premise.addresses.clone());
            troubles.extend(addresses.into_iter().flatten().filter_map(|address| plan.block(address, member).err()));
        }
        if !blocked.is_empty() && self.programs.is_none() {
            troubles.push(
                "members are blocked, but no program runs: give the settings an [[interface]] with a hook, or the \
                 instance a netns, and restart meshd"
                    .to_owned(),
            );
        }
        troubles
    }

    /// Lets the program run at the interfaces of blocked members' instances, and at no others. The table has their addresses
    /// already.
    pub fn keep_doors(&mut self) -> Vec<String> {
        let Some(programs) = &mut self.programs else { return Vec::new() };
        let mut troubles = Vec::new();
        let mut kept = BTreeSet::new();
        for (path, premise) in &self.premises.by_netns {
            for (device, link) in &premise.links {
                let door = Doorkeeper { path, netns: premise.netns, device, index: link.index };
                match programs.bpf.keep_door(&door) {
                    Ok(pin) => drop(kept.insert(pin)),
                    Err(error) => troubles.push(format!("cannot close {device} in {}: {error:#}", path.display())),
                }
            }
        }
        if let Err(error) = programs.bpf.leave_doors(&kept) {
            troubles.push(format!("{error:#}"));
        }
        troubles
    }

    /// Looks at a namespace again. What was known of it stays where it cannot be asked, and goes with it.
    async fn visit(&mut self, path: &PathBuf) -> Result<()> {
        let Some(identity) = netns::identity(path) else {
            self.premises.by_netns.remove(path);
            return Ok(());
        };
        let runtime = tokio::runtime::Handle::current();
        let netlink = netns::within(Some(path), || {
            let _entered = runtime.enter();
            Netlink::open()
        })?;
        let mut links = netlink.links().await.with_context(|| path.display().to_string())?;
        // Groups come in by our own devices.
        links.retain(|device, link| !device.0.starts_with(DEVICE_PREFIX) && !is_loopback(device) && link.index.0 != 0);
        let found = netlink.addresses(&links).await.with_context(|| path.display().to_string())?;
        let addresses = found.into_iter().map(|address| address.address.addr()).collect();
        self.premises.by_netns.insert(path.clone(), Premise { netns: identity, links, addresses });
        Ok(())
    }
}

fn is_loopback(device: &DeviceName) -> bool {
    device.0 == "lo"
}

/// The node's own addresses carry the tunnels of all groups and its way to the hub: closed, it would never hear `unblock`.
fn without_netns(member: &MemberId) -> String {
    format!(
        "{member} is blocked, but runs in the network namespace of meshd, whose addresses are the node's: give its \
         instance a netns of its own"
    )
}
