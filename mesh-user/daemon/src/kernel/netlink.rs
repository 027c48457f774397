//! How do we talk to rtnetlink: one connection for requests, links by name, and the events that make us look again.
//!
//! Addresses, routes and neighbours have a file each beside this one.

use std::{collections::BTreeMap, fs::File, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mesh_common::ids::IfIndex;
use mesh_core::plan::{DeviceName, ROUTE_PROTOCOL};
use rtnetlink::{
    Handle, LinkUnspec, MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
        route::RouteProtocol,
    },
};
use tokio::sync::mpsc;

/// A connection to the rtnetlink of the network namespace that the calling thread is in.
#[derive(Clone, Debug)]
pub struct Netlink {
    pub(super) handle: Handle,
}

/// A network device, as far as anything here asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: IfIndex,
    pub mtu: u32,
    pub up: bool,
    /// The Ethernet address; `None` for a device without one.
    pub mac: Option<[u8; 6]>,
    /// `tun`, `veth`, ... ; `None` for a physical device.
    pub kind: Option<String>,
    pub xdp: XdpPrograms,
}

/// Ids of the XDP programs on a device, whoever attached them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpPrograms {
    pub driver: Option<u32>,
    pub generic: Option<u32>,
}

impl Link {
    /// The kind of device that tunnels are made of.
    pub fn is_tun(&self) -> bool {
        self.kind.as_deref() == Some("tun")
    }
}

/// The devices of the namespace by name.
pub type Links = BTreeMap<DeviceName, Link>;

impl Netlink {
    /// Opens a connection; must be called within a tokio runtime, which then drives it.
    ///
    /// Dumps are filtered by the kernel (`NETLINK_GET_STRICT_CHK`, Linux 4.20).
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .context("cannot open a netlink socket: is the kernel built with CONFIG_NET?")?;
        tokio::spawn(connection);
        Ok(Netlink { handle })
    }

    /// The same in the network namespace of `path`, which lives at least as long as what this returns.
    pub fn open_in(path: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().context("no tokio runtime drives netlink here")?;
        super::netns::within(Some(path), || {
            let _within = runtime.enter();
            Netlink::open()
        })
    }

    pub async fn links(&self) -> Result<Links> {
        let messages: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.context("cannot list the network devices")?;
        Ok(messages.iter().filter_map(link).collect())
    }

    pub async fn set_mtu(&self, index: IfIndex, mtu: u32) -> Result<()> {
        let change = LinkUnspec::new_with_index(index.0).mtu(mtu).build();
        self.handle.link().set(change).execute().await.with_context(|| format!("cannot set the MTU to {mtu}"))
    }

    /// The longest super-packet that the kernel gives the device.
    pub async fn set_gso_max_size(&self, index: IfIndex, size: u32) -> Result<()> {
        let change =
            LinkUnspec::new_with_index(index.0).append_extra_attribute(LinkAttribute::GsoMaxSize(size)).build();
        self.handle.link().set(change).execute().await.with_context(|| format!("cannot set gso_max_size to {size}"))
    }

    pub async fn set_up(&self, index: IfIndex) -> Result<()> {
        let change = LinkUnspec::new_with_index(index.0).up().build();
        self.handle.link().set(change).execute().await.context("cannot bring the device up")
    }

    pub async fn move_to(&self, index: IfIndex, namespace: &File) -> Result<()> {
        let change = LinkUnspec::new_with_index(index.0).setns_by_fd(namespace.as_raw_fd()).build();
        self.handle.link().set(change).execute().await.context("cannot move the device to another network namespace")
    }

    /// Deletes a device; one that is gone already is fine.
    pub async fn delete_link(&self, index: IfIndex) -> Result<()> {
        match self.handle.link().del(index.0).execute().await {
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(()),
            done => done.context("cannot delete the device"),
        }
    }
}

/// A wake-up for each change of links, addresses, routes and neighbours that may concern us. Wake-ups merge: one in the
/// queue says "look again", whatever happened since.
pub fn changes() -> Result<mpsc::Receiver<()>> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Neigh,
    ];
    let (connection, _, mut events) =
        rtnetlink::new_multicast_connection(&groups).context("cannot subscribe to netlink events")?;
    tokio::spawn(connection);
    let (wake, woken) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some((event, _)) = events.next().await {
            if concerns_us(&event.payload) && matches!(wake.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return;
            }
        }
    });
    Ok(woken)
}

/// The kernel's error number of a refused request, positive.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(-message.raw_code()),
        _ => None,
    }
}

/// Neighbours change all the time: of those only the loss of one of ours matters. A lost event (`Overrun`) is a change.
fn concerns_us(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    let NetlinkPayload::InnerMessage(message) = payload else {
        return true;
    };
    match message {
        RouteNetlinkMessage::NewNeighbour(_) => false,
        RouteNetlinkMessage::DelNeighbour(neighbour) => super::netlink_neighbour::is_ours(neighbour),
        _ => true,
    }
}

fn link(message: &LinkMessage) -> Option<(DeviceName, Link)> {
    let mut name = None;
    let mut mtu = 0;
    let (mut mac, mut kind) = (None, None);
    let mut xdp = XdpPrograms::default();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(DeviceName(value.clone())),
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::Address(value) => mac = value.as_slice().try_into().ok(),
            LinkAttribute::LinkInfo(info) => kind = info.iter().find_map(info_kind),
            LinkAttribute::Xdp(attributes) => xdp = xdp_programs(attributes),
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up);
    Some((name?, Link { index: IfIndex(message.header.index), mtu, up, mac, kind, xdp }))
}

fn xdp_programs(attributes: &[LinkXdp]) -> XdpPrograms {
    let id = |id: u32| (id != 0).then_some(id);
    let mut mode = None;
    let (mut only, mut programs) = (None, XdpPrograms::default());
    for attribute in attributes {
        match attribute {
            LinkXdp::Attached(attached) => mode = Some(*attached),
            LinkXdp::ProgId(program) => only = id(*program),
            LinkXdp::DrvProgId(program) => programs.driver = id(*program),
            LinkXdp::SkbProgId(program) => programs.generic = id(*program),
            _ => {}
        }
    }
    match mode {
        Some(XdpAttached::Driver) => programs.driver = programs.driver.or(only),
        Some(XdpAttached::SocketBuffer) => programs.generic = programs.generic.or(only),
        _ => {}
    }
    programs
}

fn info_kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// [`ROUTE_PROTOCOL`] in the words of the crate.
pub(super) const fn our_protocol() -> RouteProtocol {
    RouteProtocol::Other(ROUTE_PROTOCOL)
}
