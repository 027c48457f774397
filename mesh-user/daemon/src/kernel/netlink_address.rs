//! Which addresses on devices are ours, and how one is put there and taken away.
//!
//! Ours carry `IFA_PROTO` 177 (Linux 5.18). Older kernels drop the mark, so the caller also names those it remembers.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result, bail};
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use mesh_common::ids::IfIndex;
use mesh_core::plan::{DeviceAddress, DeviceName, ROUTE_PROTOCOL};
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol},
};

use super::netlink::{Links, Netlink, errno};

impl Netlink {
    /// The addresses that are ours: by their mark, or unmarked and among `remembered`.
    pub async fn our_addresses(
        &self,
        links: &Links,
        remembered: &BTreeSet<DeviceAddress>,
    ) -> Result<BTreeSet<DeviceAddress>> {
        let messages = self.address_messages().await?;
        let found = messages.iter().filter_map(|message| Some((message, device_address(message, links)?)));
        Ok(found
            .filter(|(message, address)| match protocol(message) {
                Some(protocol) => protocol == ROUTE_PROTOCOL,
                None => remembered.contains(address),
            })
            .map(|(_, address)| address)
            .collect())
    }

    /// Every address of the namespace, whoever put it there.
    pub async fn addresses(&self, links: &Links) -> Result<BTreeSet<DeviceAddress>> {
        Ok(self.address_messages().await?.iter().filter_map(|message| device_address(message, links)).collect())
    }

    /// Adds an address of ours; one that is there already and ours is fine, one of somebody else is refused.
    pub async fn add_address(&self, index: IfIndex, address: &DeviceAddress) -> Result<()> {
        let mut request = self.handle.address().add(index.0, address.address.addr(), address.address.prefix_len());
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL)));
        if address.address.addr().is_ipv6() {
            // Nobody else can have it on these devices, and duplicate address detection would delay its use.
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await {
            Ok(()) => Ok(()),
            Err(error) if errno(&error) == Some(libc::EEXIST) => self.refuse_foreign(index, address).await,
            Err(error) => Err(error).with_context(|| format!("cannot add {} to {}", address.address, address.device.0)),
        }
    }

    /// Deletes an address; one that is gone already, also with its device, is fine.
    pub async fn remove_address(&self, index: IfIndex, address: &DeviceAddress) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = match address.address {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = address.address.prefix_len();
        message.header.index = index.0;
        message.attributes.push(AddressAttribute::Local(address.address.addr()));
        message.attributes.push(AddressAttribute::Address(address.address.addr()));
        match self.handle.address().del(message).execute().await {
            Err(error) if matches!(errno(&error), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            done => done.with_context(|| format!("cannot delete {} from {}", address.address, address.device.0)),
        }
    }

    async fn refuse_foreign(&self, index: IfIndex, address: &DeviceAddress) -> Result<()> {
        let messages = self.address_messages().await?;
        let there = messages
            .iter()
            .find(|message| message.header.index == index.0 && host_net(message) == Some(address.address))
            .and_then(protocol);
        if there.is_some_and(|protocol| protocol != ROUTE_PROTOCOL) {
            bail!(
                "{} is on {} already and is not ours: remove it, or choose another external CIDR",
                address.address,
                address.device.0
            );
        }
        Ok(())
    }

    async fn address_messages(&self) -> Result<Vec<AddressMessage>> {
        self.handle.address().get().execute().try_collect().await.context("cannot list the addresses")
    }
}

fn device_address(message: &AddressMessage, links: &Links) -> Option<DeviceAddress> {
    let device = device_name(links, IfIndex(message.header.index))?;
    Some(DeviceAddress { device, address: host_net(message)? })
}

/// IPv4 has the host's own address in `IFA_LOCAL` (`IFA_ADDRESS` is the peer's); IPv6 has it in `IFA_ADDRESS`.
fn host_net(message: &AddressMessage) -> Option<IpNet> {
    let mut own: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => own = own.or(Some(*address)),
            _ => {}
        }
    }
    IpNet::new(own?, message.header.prefix_len).ok()
}

fn protocol(message: &AddressMessage) -> Option<u8> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    })
}

pub(super) fn device_name(links: &Links, index: IfIndex) -> Option<DeviceName> {
    links.iter().find(|(_, link)| link.index == index).map(|(name, _)| name.clone())
}
