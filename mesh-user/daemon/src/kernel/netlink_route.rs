//! Which routes are ours (protocol 177, main table), and how one is put there and taken away.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, bail};
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use mesh_common::ids::IfIndex;
use mesh_core::plan::{ROUTE_PROTOCOL, Route, RouteTarget};
use rtnetlink::packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteProtocol, RouteScope,
        RouteType,
    },
};

use super::{
    netlink::{Links, Netlink, errno, our_protocol},
    netlink_address::device_name,
};

impl Netlink {
    pub async fn our_routes(&self, links: &Links) -> Result<BTreeSet<Route>> {
        let messages = self.route_messages(our_protocol()).await?;
        Ok(messages.iter().filter_map(|message| route(message, links)).collect())
    }

    /// Where the routes of everybody else lead.
    pub async fn foreign_destinations(&self) -> Result<BTreeSet<IpNet>> {
        let messages = self.route_messages(RouteProtocol::Unspec).await?;
        let foreign = messages.iter().filter(|message| message.header.protocol != our_protocol());
        Ok(foreign.filter_map(destination).collect())
    }

    /// Adds a route, or changes the one of ours that has its destination and metric, in one step. A route of somebody
    /// else there is refused.
    pub async fn add_route(&self, route: &Route, links: &Links) -> Result<()> {
        let message = message(route, links)?;
        match self.handle.route().add(message.clone()).execute().await {
            Ok(()) => return Ok(()),
            Err(error) if errno(&error) == Some(libc::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot add the route {}", shown(route))),
        }
        self.refuse_foreign_route(route).await?;
        let replaced = self.handle.route().add(message).replace().execute().await;
        replaced.with_context(|| format!("cannot change the route {}", shown(route)))
    }

    /// Deletes exactly this route; one that is gone already, also with its device, is fine.
    pub async fn remove_route(&self, route: &Route, links: &Links) -> Result<()> {
        if let RouteTarget::Device { device, .. } = &route.target
            && !links.contains_key(device)
        {
            return Ok(());
        }
        self.delete(message(route, links)?, || shown(route)).await
    }

    /// Deletes every route that carries our protocol number, in whatever table and form.
    pub async fn remove_our_routes(&self) -> Result<usize> {
        let messages = self.route_messages(our_protocol()).await?;
        let count = messages.len();
        for message in messages {
            let name = format!("{:?}", destination(&message));
            self.delete(message, || name).await?;
        }
        Ok(count)
    }

    async fn delete(&self, message: RouteMessage, name: impl FnOnce() -> String) -> Result<()> {
        match self.handle.route().del(message).execute().await {
            Err(error) if matches!(errno(&error), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
            done => done.with_context(|| format!("cannot delete the route {}", name())),
        }
    }

    async fn refuse_foreign_route(&self, route: &Route) -> Result<()> {
        let same = |message: &&RouteMessage| {
            destination(message) == Some(route.destination) && priority(message) == route.metric
        };
        let messages = self.route_messages(RouteProtocol::Unspec).await?;
        if let Some(other) = messages.iter().find(|message| same(message) && message.header.protocol != our_protocol())
        {
            bail!(
                "a route to {} with metric {} exists already and is not ours (protocol {}, ours is {ROUTE_PROTOCOL}): \
                 remove it, or take {} out of the pools",
                route.destination,
                route.metric,
                u8::from(other.header.protocol),
                route.destination,
            );
        }
        Ok(())
    }

    /// Routes of the main table, both families; `Unspec`: of every protocol.
    async fn route_messages(&self, protocol: RouteProtocol) -> Result<Vec<RouteMessage>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            filter.header.protocol = protocol;
            let messages: Vec<RouteMessage> =
                self.handle.route().get(filter).execute().try_collect().await.context("cannot list the routes")?;
            found.extend(messages);
        }
        // The kernel filters the dump only if it knows strict checking.
        found.retain(|message| protocol == RouteProtocol::Unspec || message.header.protocol == protocol);
        found.retain(|message| message.header.table == RouteHeader::RT_TABLE_MAIN);
        Ok(found)
    }
}

fn message(route: &Route, links: &Links) -> Result<RouteMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = match route.destination {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = our_protocol();
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    message.attributes.push(RouteAttribute::Priority(route.metric));
    match &route.target {
        RouteTarget::Device { device, source, mtu } => {
            let link = links.get(device).with_context(|| format!("no device {} for {}", device.0, shown(route)))?;
            message.attributes.push(RouteAttribute::Oif(link.index.0));
            if route.destination.addr().is_ipv4() {
                message.header.scope = RouteScope::Link;
            }
            message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
            message.attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        }
        RouteTarget::Via { next_hop, source } => {
            message.attributes.push(RouteAttribute::Gateway((*next_hop).into()));
            message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
        }
        RouteTarget::Shared { next_hops } => {
            let hops = next_hops.iter().map(|next_hop| {
                let mut hop = RouteNextHop::default();
                hop.attributes.push(RouteAttribute::Gateway((*next_hop).into()));
                hop
            });
            message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
        }
        RouteTarget::Unreachable => message.header.kind = RouteType::Unreachable,
    }
    Ok(message)
}

/// The route in the words of the plan; `None` if it has a form that we never make.
fn route(message: &RouteMessage, links: &Links) -> Option<Route> {
    let destination = destination(message)?;
    let metric = priority(message);
    let source = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(source) => ip(source),
        _ => None,
    });
    let next_hop = gateway(&message.attributes);
    let shared = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops.iter().filter_map(|hop| gateway(&hop.attributes)).collect()),
        _ => None,
    });
    let target = match (message.header.kind, next_hop) {
        (RouteType::Unreachable, _) => RouteTarget::Unreachable,
        (RouteType::Unicast, None) if shared.is_some() => RouteTarget::Shared { next_hops: shared? },
        (RouteType::Unicast, Some(next_hop)) => RouteTarget::Via { next_hop, source },
        (RouteType::Unicast, None) => {
            let index = message.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(IfIndex(*index)),
                _ => None,
            })?;
            RouteTarget::Device { device: device_name(links, index)?, source, mtu: mtu(message) }
        }
        _ => return None,
    };
    Some(Route { destination, metric, target })
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(next_hop) => ip(next_hop),
        _ => None,
    })
}

/// A default route has no destination attribute.
fn destination(message: &RouteMessage) -> Option<IpNet> {
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let network = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(network) => ip(network),
        _ => None,
    });
    IpNet::new(network.unwrap_or(any), message.header.destination_prefix_length).ok()
}

fn priority(message: &RouteMessage) -> u32 {
    let found = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    found.unwrap_or(0)
}

fn mtu(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(*mtu),
            _ => None,
        }),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn shown(route: &Route) -> String {
    let target = match &route.target {
        RouteTarget::Device { device, .. } => format!("through {}", device.0),
        RouteTarget::Via { next_hop, .. } => format!("via {next_hop}"),
        RouteTarget::Shared { next_hops } => format!("via {next_hops:?}"),
        RouteTarget::Unreachable => "unreachable".to_owned(),
    };
    format!("{} {target}, metric {}", route.destination, route.metric)
}
