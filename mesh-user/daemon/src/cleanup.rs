//! How is everything that is ours taken out of the kernel, and nothing else? Without a daemon, and as often as one likes.

use anyhow::{Context as _, Result};
use mesh_core::{
    model::Settings,
    plan::{DeviceName, NAT_TABLE},
};

use crate::{
    kernel::{
        bpf::Pins,
        netlink::{Links, Netlink},
        nft, privileges,
    },
    reconcile,
    run_directory::RunDirectory,
    state::{Record, StateDirectory},
    wg,
};

/// Removes routes, addresses, neighbours and devices, gives sysctls their old values back, and forgets what was applied.
/// The private key and the allocations stay. Refuses while a daemon runs.
pub async fn run(settings: &Settings) -> Result<()> {
    privileges::check(false)?;
    let run_directory = RunDirectory::lock(&settings.directories.run).context("cleanup needs the daemon stopped")?;
    let state = StateDirectory::open(&settings.directories.state)?;
    let record = state.record()?;
    // Programs go first: what they redirected falls back to the kernel, which no longer has routes for it a moment later.
    let pins = Pins::remove(&settings.directories.pins)?;
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;

    let devices = remove_devices(&netlink, &links, &record).await?;
    let routes = netlink.remove_our_routes().await?;
    let addresses = remove_addresses(&netlink, &record).await?;
    let neighbours = remove_neighbours(&netlink, &links).await?;
    for (sysctl, _) in &record.sysctls {
        reconcile::restore_sysctl(&record, sysctl)?;
    }
    let sockets = wg::remove_sockets(&settings.directories.uapi, record.tunnels.iter().chain(record.groups.keys()))?;
    if record.nat.is_some() {
        nft::remove(NAT_TABLE)?;
    }
    state.forget_record()?;
    run_directory.remove()?;
    tracing::info!(pins, devices, routes, addresses, neighbours, sockets, sysctls = record.sysctls.len(), "cleaned up");
    Ok(())
}

async fn remove_devices(netlink: &Netlink, links: &Links, record: &Record) -> Result<usize> {
    let ours: Vec<(&DeviceName, _)> =
        record.tunnels.iter().filter_map(|device| Some((device, links.get(device)?))).collect();
    let mut removed = 0;
    for (device, link) in ours.into_iter().filter(|(_, link)| link.is_tun()) {
        netlink.delete_link(link.index).await.with_context(|| device.0.clone())?;
        removed += 1;
    }
    for (device, group) in &record.groups {
        removed += usize::from(reconcile::delete_group(netlink, device, group).await?);
    }
    Ok(removed)
}

async fn remove_addresses(netlink: &Netlink, record: &Record) -> Result<usize> {
    let links = netlink.links().await?;
    let ours = netlink.our_addresses(&links, &record.addresses).await?;
    for address in &ours {
        if let Some(link) = links.get(&address.device) {
            netlink.remove_address(link.index, address).await?;
        }
    }
    Ok(ours.len())
}

async fn remove_neighbours(netlink: &Netlink, links: &Links) -> Result<usize> {
    let ours = netlink.our_neighbours(links).await?;
    for neighbour in &ours {
        if let Some(link) = links.get(&neighbour.device) {
            netlink.remove_neighbour(link.index, neighbour).await?;
        }
    }
    Ok(ours.len())
}
