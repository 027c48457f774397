//! Which neighbour entries are ours, and how the kernel is told to keep a next hop resolved.
//!
//! `NTF_EXT_MANAGED` (Linux 5.16) makes the kernel probe the entry by itself: XDP never refreshes neighbours.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use mesh_common::ids::IfIndex;
use mesh_core::plan::Neighbour;
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState},
};

use super::{
    netlink::{Links, Netlink, errno, our_protocol},
    netlink_address::device_name,
};

impl Netlink {
    pub async fn our_neighbours(&self, links: &Links) -> Result<BTreeSet<Neighbour>> {
        let messages: Vec<NeighbourMessage> =
            self.handle.neighbours().get().execute().try_collect().await.context("cannot list the neighbours")?;
        Ok(messages.iter().filter(|message| is_ours(message)).filter_map(|message| neighbour(message, links)).collect())
    }

    /// Adds a managed entry, or turns the one that the kernel learned into one.
    pub async fn add_neighbour(&self, index: IfIndex, neighbour: &Neighbour) -> Result<()> {
        let mut request =
            self.handle.neighbours().add(index.0, neighbour.address).state(NeighbourState::None).replace();
        let attributes = &mut request.message_mut().attributes;
        attributes.push(NeighbourAttribute::Protocol(our_protocol()));
        attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        request.execute().await.with_context(|| {
            format!(
                "cannot keep the next hop {} on {} resolved (needs Linux 5.16)",
                neighbour.address, neighbour.device.0
            )
        })
    }

    /// Deletes an entry; one that is gone already, also with its device, is fine.
    pub async fn remove_neighbour(&self, index: IfIndex, neighbour: &Neighbour) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = match neighbour.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = index.0;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(neighbour.address)));
        match self.handle.neighbours().del(message).execute().await {
            Err(error) if matches!(errno(&error), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => Ok(()),
            done => done.with_context(|| {
                format!("cannot delete the neighbour {} on {}", neighbour.address, neighbour.device.0)
            }),
        }
    }
}

pub(super) fn is_ours(message: &NeighbourMessage) -> bool {
    message.attributes.contains(&NeighbourAttribute::Protocol(our_protocol()))
}

fn neighbour(message: &NeighbourMessage, links: &Links) -> Option<Neighbour> {
    let device = device_name(links, IfIndex(message.header.ifindex))?;
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    Some(Neighbour { device, address })
}
