//! How is a network namespace made a pod of this node: a pair of devices, the pod's addresses, and the routes to and from
//! them.
//!
//! Neither end asks who has an address: each has the other as a lasting neighbour. The routes are not those of the plan
//! (their protocol is `static`), so that the reconciler leaves them alone. All of it ends with the namespace.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mesh_common::ids::IfIndex;
use mesh_core::plan::{DeviceName, Sysctl, SysctlKey};
use rtnetlink::{
    LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::address::{AddressAttribute, AddressFlags},
};

use super::{
    netlink::{Link, Netlink},
    sysctl,
};

/// The device in the namespace.
const INSIDE: &str = "eth0";
/// What the pod calls its router; nobody has these addresses.
const ROUTERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

impl Netlink {
    /// Connects the namespace of `path` to this one by `device`, and gives it these addresses.
    pub async fn cable(&self, path: &Path, device: &DeviceName, addresses: &[IpAddr]) -> Result<IfIndex> {
        let inside = Netlink::open_in(path)?;
        // Made inside, so that nobody here sees a device that is not ready.
        let pair = LinkVeth::new(INSIDE, &device.0).build();
        inside.handle.link().add(pair).execute().await.context("cannot make a pair of devices (veth)")?;
        let pod = inside.find(INSIDE).await?;
        let far = inside.find(&device.0).await?;
        let here = File::open("/proc/self/ns/net").context("cannot open /proc/self/ns/net")?;
        let moved = LinkUnspec::new_with_index(far.index.0).setns_by_fd(here.as_raw_fd()).build();
        inside.handle.link().set(moved).execute().await.with_context(|| format!("cannot bring {device} here"))?;
        let host = self.find(&device.0).await?;
        forward(device)?;
        self.set_up(host.index).await?;
        inside.set_up(pod.index).await?;
        for address in addresses {
            inside.live_at(pod.index, *address, host.mac).await?;
            self.lead_to(host.index, *address, pod.mac).await.with_context(|| format!("{device} cannot be used"))?;
        }
        Ok(host.index)
    }

    async fn find(&self, name: &str) -> Result<Link> {
        let mut links = self.links().await?;
        links.remove(&DeviceName(name.to_owned())).with_context(|| format!("the device {name} is gone"))
    }

    /// Inside: the address, and everything else by the router.
    async fn live_at(&self, index: IfIndex, address: IpAddr, router_mac: Option<[u8; 6]>) -> Result<()> {
        let router = ROUTERS[usize::from(address.is_ipv6())];
        let mut request = self.handle.address().add(index.0, address, IpNet::from(address).prefix_len());
        if address.is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.with_context(|| format!("cannot add {address}"))?;
        self.know(index, router, router_mac).await?;
        let everywhere =
            IpNet::new(if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }, 0)?;
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(everywhere.addr(), everywhere.prefix_len())?
            .gateway(router)?
            .output_interface(index.0)
            .onlink()
            .build();
        self.handle.route().add(route).execute().await.context("cannot add the default route of the pod")
    }

    /// Here: the way to the address.
    async fn lead_to(&self, index: IfIndex, address: IpAddr, mac: Option<[u8; 6]>) -> Result<()> {
        self.know(index, address, mac).await?;
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, IpNet::from(address).prefix_len())?
            .output_interface(index.0)
            .build();
        self.handle.route().add(route).execute().await.with_context(|| format!("cannot add the route to {address}"))
    }

    async fn know(&self, index: IfIndex, neighbour: IpAddr, mac: Option<[u8; 6]>) -> Result<()> {
        let mac = mac.context("a pair of devices has link-layer addresses")?;
        let request = self.handle.neighbours().add(index.0, neighbour).link_layer_address(&mac).replace();
        request.execute().await.with_context(|| format!("cannot add the neighbour {neighbour}"))
    }
}

/// Lets packets in by this device that are for others. Without IPv6 there is nothing to let in.
fn forward(device: &DeviceName) -> Result<()> {
    const YES: &str = "1";
    sysctl::without_link_local(device)?;
    for key in [SysctlKey::ForwardingV4, SysctlKey::ForwardingV6] {
        let setting = Sysctl { device: device.clone(), key };
        if sysctl::read(&setting)?.is_some() {
            sysctl::write(&setting, YES)?;
        }
    }
    Ok(())
}
