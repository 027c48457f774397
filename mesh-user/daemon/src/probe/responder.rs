//! The responder behind this gateway: a device whose addresses are on no interface, so that what is sent to it, and what it
//! sends, is forwarded by the kernel as packets of pods are.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mesh_core::{
    plan::{DeviceName, PROBE_DEVICE, PROBE_PORT, ROUTE_METRIC, Route, RouteTarget, Sysctl, SysctlKey},
    probe::Datagram,
};
use tokio::task::JoinHandle;

use super::answers::Desk;
use crate::kernel::{
    netlink::{Links, Netlink},
    probe_device::ProbeDevice,
    sysctl,
};

/// Longer than any bare probe.
const BUFFER: usize = 2_048;

/// Made while some address is wanted.
#[derive(Debug)]
pub(super) struct Responder {
    netlink: Option<Netlink>,
    desk: Desk,
    live: Option<Live>,
    trouble: Option<String>,
}

#[derive(Debug)]
struct Live {
    device: Arc<ProbeDevice>,
    receiver: JoinHandle<()>,
}

impl Responder {
    /// Without netlink there is none.
    pub(super) fn new(netlink: Option<Netlink>, desk: Desk) -> Self {
        let trouble = netlink.is_none().then(|| "netlink is not at hand".to_owned());
        Responder { netlink, desk, live: None, trouble }
    }

    /// Sees that the device is there, up, and has the routes to these addresses; called again and again, since others may
    /// take them away.
    pub(super) async fn follow(&mut self, addresses: &BTreeSet<IpAddr>) {
        let Some(netlink) = self.netlink.clone() else { return };
        if addresses.is_empty() {
            self.live = None;
            self.trouble = None;
            return;
        }
        let made = self.make(&netlink, addresses).await;
        let trouble = made.err().map(|error| format!("no responder on {PROBE_DEVICE}: {error:#}"));
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(*trouble)) {
            tracing::warn!("{trouble}");
        }
        self.trouble = trouble;
    }

    pub(super) fn trouble(&self) -> Option<&String> {
        self.trouble.as_ref()
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.is_some() && self.trouble.is_none()
    }

    /// A probe as a pod behind this gateway would send it; one that cannot be sent is a lost one.
    pub(super) fn send(&self, from: IpAddr, to: IpAddr, payload: &[u8]) {
        let datagram = Datagram { from, from_port: PROBE_PORT, to, to_port: PROBE_PORT, payload };
        if let (Some(live), Some(packet)) = (&self.live, datagram.packet()) {
            let _ = live.device.send(&packet);
        }
    }

    async fn make(&mut self, netlink: &Netlink, addresses: &BTreeSet<IpAddr>) -> Result<()> {
        let name = DeviceName(PROBE_DEVICE.to_owned());
        let mut links = netlink.links().await?;
        if self.live.as_ref().is_some_and(|live| live.receiver.is_finished()) || !links.contains_key(&name) {
            // It was deleted by somebody.
            self.live = None;
        }
        if self.live.is_none() {
            let device = Arc::new(ProbeDevice::create(&name)?);
            let receiver = tokio::spawn(receive(Arc::clone(&device), self.desk.clone()));
            self.live = Some(Live { device, receiver });
            links = netlink.links().await?;
        }
        let link = links.get(&name).context("the device vanished")?;
        if !link.up {
            sysctl::without_link_local(&name)?;
            netlink.set_up(link.index).await?;
        }
        // Strict filters would refuse what leaves by another address than the route's.
        for (key, value) in [(SysctlKey::ForwardingV4, "1"), (SysctlKey::RpFilter, "0")] {
            let setting = Sysctl { device: name.clone(), key };
            if sysctl::read(&setting)?.as_deref() != Some(value) {
                sysctl::write(&setting, value)?;
            }
        }
        add_routes(netlink, &links, &name, addresses).await
    }
}

async fn add_routes(netlink: &Netlink, links: &Links, device: &DeviceName, addresses: &BTreeSet<IpAddr>) -> Result<()> {
    let target = RouteTarget::Device { device: device.clone(), source: None, mtu: None };
    let route =
        |address: &IpAddr| Route { destination: IpNet::from(*address), metric: ROUTE_METRIC, target: target.clone() };
    let wanted: BTreeSet<Route> = addresses.iter().map(route).collect();
    let there: BTreeSet<Route> = netlink.our_routes(links).await?;
    for gone in there.iter().filter(|route| route.target == target && !wanted.contains(route)) {
        netlink.remove_route(gone, links).await?;
    }
    for missing in wanted.difference(&there) {
        netlink.add_route(missing, links).await?;
    }
    Ok(())
}

impl Drop for Live {
    /// The device goes with its last handle, which the receiver has.
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

/// Ends with the device.
async fn receive(device: Arc<ProbeDevice>, desk: Desk) {
    let mut buffer = [0; BUFFER];
    while let Ok(length) = device.receive(&mut buffer).await {
        let Some(request) = Datagram::parse(&buffer[..length]).filter(|request| request.to_port == PROBE_PORT) else {
            continue;
        };
        let Some(answer) = desk.receive(request.from, request.payload) else { continue };
        let asker = desk.answers.borrow().askers.get(&request.from).copied();
        // A `direct` remote knows us by our presented address, which nothing else gives back to what we send.
        let from = match asker.map(|asker| asker.responder) {
            Some((known_as, here)) if here == request.to => known_as,
            _ => request.to,
        };
        let reply = Datagram {
            from,
            from_port: PROBE_PORT,
            to: request.from,
            to_port: request.from_port,
            payload: &answer.encode(),
        };
        if let Some(packet) = reply.packet() {
            let _ = device.send(&packet);
        }
    }
}
