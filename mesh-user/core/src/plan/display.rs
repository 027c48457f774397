//! A plan as text, a line a fact, and the difference of two plans as an operator reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mesh_common::maps::Role;

use super::{
    Attachment, Connection, HookChoice, InterfaceRole, Nat, Peer, Plan, Remap, Route, RouteTarget, Sysctl, SysctlKey,
    TableEntry, Transport,
    groups::lines::{group_diff, group_lines},
};

/// Shows one thing of a plan within a line.
pub(crate) struct Line<'a, T>(pub(crate) &'a T);

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Plan {
    /// What `new` has and this plan has not (`+`), and the reverse (`-`), in the order of the plan. Empty: no difference.
    pub fn diff(&self, new: &Plan) -> String {
        // What both have becomes no line: a plan has thousands, and a change a few.
        let (old, come) = (self.apart_from(new).own_lines(), new.apart_from(self).own_lines());
        let (had, has): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), come.iter().collect());
        let gone = old.iter().filter(|line| !has.contains(line)).map(|line| format!("- {line}\n"));
        let come = come.iter().filter(|line| !had.contains(line)).map(|line| format!("+ {line}\n"));
        gone.chain(come).collect::<String>() + &group_diff(&self.groups, &new.groups)
    }

    /// All of this plan that the other one has not, or has otherwise; the groups aside.
    fn apart_from(&self, other: &Plan) -> Plan {
        Plan {
            connections: entries(&self.connections, &other.connections),
            tunnels: entries(&self.tunnels, &other.tunnels),
            interfaces: entries(&self.interfaces, &other.interfaces),
            addresses: self.addresses.difference(&other.addresses).cloned().collect(),
            routes: self.routes.difference(&other.routes).cloned().collect(),
            neighbours: self.neighbours.difference(&other.neighbours).cloned().collect(),
            sysctls: entries(&self.sysctls, &other.sysctls),
            table: entries(&self.table, &other.table),
            remaps: entries(&self.remaps, &other.remaps),
            ..Plan::default()
        }
    }

    fn lines(&self) -> Vec<String> {
        let groups = self.groups.iter().flat_map(|(device, tunnel)| group_lines(device, tunnel));
        self.own_lines().into_iter().chain(groups).collect()
    }

    /// All but the groups, which may have thousands of peers.
    fn own_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, connection) in &self.connections {
            lines.push(format!("connection {}: {}", id.0, Line(connection)));
        }
        for (device, tunnel) in &self.tunnels {
            let addresses = list(&tunnel.addresses);
            lines.push(format!("tunnel {device}: mtu {}, {}, {addresses}", tunnel.mtu, ports(&tunnel.listen_ports)));
            for (key, peer) in &tunnel.peers {
                lines.push(format!("peer {key} of {device}: {}", Line(peer)));
                for (net, entry) in &peer.announced {
                    lines.push(format!("announced on connection {}: {net} is {}", peer.connection.0, entry.to));
                }
            }
        }
        lines.extend(self.table.iter().map(|(net, entry)| format!("entry {net}: {}", Line(entry))));
        lines.extend(self.remaps.iter().map(|(id, remap)| format!("remap {}: {}", id.0, Line(remap))));
        lines.extend(self.interfaces.iter().map(|(name, one)| format!("interface {name}: {}", Line(one))));
        lines.extend(self.addresses.iter().map(|one| format!("address {} on {}", one.address, one.device)));
        lines.extend(self.routes.iter().map(|route| format!("route {}", Line(route))));
        lines.extend(self.neighbours.iter().map(|one| format!("next hop {} on {}", one.address, one.device)));
        lines.extend(self.sysctls.iter().map(|(sysctl, value)| format!("sysctl {} = {value}", Line(sysctl))));
        lines.extend(self.nat.iter().flat_map(Nat::lines));
        lines
    }
}

fn entries<K: Ord + Clone, V: PartialEq + Clone>(all: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> BTreeMap<K, V> {
    let differs = |(key, value): &(&K, &V)| other.get(*key) != Some(*value);
    all.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

pub(crate) fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(" ") }
}

pub(crate) fn ports(ports: &[u16]) -> String {
    match ports {
        [0] => "any port".to_owned(),
        [port] => format!("port {port}"),
        [0, ..] => format!("any ports for {} lanes", ports.len()),
        ports => format!("ports {}", list(ports)),
    }
}

impl fmt::Display for Line<'_, Connection> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connection { name, remote, transport, probe, paths: _, thresholds: _ } = self.0;
        write!(f, "{name} to {remote} ")?;
        match transport {
            Transport::WireguardServer { device } => write!(f, "by WireGuard, server, {device}"),
            Transport::WireguardClient { device } => write!(f, "by WireGuard, client, {device}"),
            Transport::Direct { next_hops, device } => write!(f, "direct by {} on {device}", list(next_hops)),
        }?;
        match probe {
            Some(probe) => write!(f, ", probe {} -> {}", probe.from, probe.to),
            None => f.write_str(", no probe"),
        }
    }
}

impl fmt::Display for Line<'_, Peer> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.0;
        write!(f, "connection {}, endpoints {}", peer.connection.0, list(&peer.endpoints))?;
        if !peer.lane_ports.is_empty() {
            write!(f, ", lanes to ports {}", list(&peer.lane_ports))?;
        }
        match peer.keepalive_seconds {
            Some(seconds) => write!(f, ", keepalive {seconds} s"),
            None => Ok(()),
        }?;
        if peer.preshared_key.is_some() {
            f.write_str(", preshared key")?;
        }
        write!(f, ", announces {}", list(peer.announced.keys()))
    }
}

impl fmt::Display for Line<'_, TableEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableEntry { to, remap, role } = self.0;
        write!(f, "{} -> {to}", roles(*role))?;
        if remap.0 == 0 { Ok(()) } else { write!(f, " (remap {})", remap.0) }
    }
}

impl fmt::Display for Line<'_, Remap> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remap { connection, real, presented, mtu: _ } = self.0;
        match connection {
            Some(id) => write!(f, "{real} of connection {} is {presented}", id.0),
            None => write!(f, "our {real} is {presented}"),
        }
    }
}

impl fmt::Display for Line<'_, Attachment> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.0.role {
            InterfaceRole::Workload => "workload",
            InterfaceRole::Underlay => "underlay",
        };
        let hook = match self.0.hook {
            HookChoice::Auto => "auto",
            HookChoice::Xdp => "xdp",
            HookChoice::XdpGeneric => "xdp-generic",
            HookChoice::Tcx => "tcx",
            HookChoice::Off => "off",
        };
        write!(f, "{role}, hook {hook}")
    }
}

impl fmt::Display for Line<'_, Route> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { destination, metric, target } = self.0;
        let (way, source) = match target {
            RouteTarget::Unreachable => ("unreachable".to_owned(), &None),
            RouteTarget::Device { device, source, mtu: Some(mtu) } => (format!("dev {device} mtu {mtu}"), source),
            RouteTarget::Device { device, source, mtu: None } => (format!("dev {device}"), source),
            RouteTarget::Via { next_hop, source } => (format!("via {next_hop}"), source),
            RouteTarget::Shared { next_hops } => {
                let hops: Vec<String> = next_hops.iter().map(ToString::to_string).collect();
                (format!("via {}", hops.join(" or ")), &None)
            }
        };
        write!(f, "{destination} {way} metric {metric}")?;
        match source {
            Some(source) => write!(f, " src {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Line<'_, Sysctl> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.0.device;
        match self.0.key {
            SysctlKey::ForwardingV4 => write!(f, "net.ipv4.conf.{device}.forwarding"),
            SysctlKey::ForwardingV6 => write!(f, "net.ipv6.conf.{device}.forwarding"),
            SysctlKey::RpFilter => write!(f, "net.ipv4.conf.{device}.rp_filter"),
            SysctlKey::MultipathHashV4 => f.write_str("net.ipv4.fib_multipath_hash_policy"),
            SysctlKey::MultipathHashV6 => f.write_str("net.ipv6.fib_multipath_hash_policy"),
        }
    }
}

/// The roles of an entry, such as `local+presented`.
pub(crate) fn roles(role: Role) -> String {
    let names = [
        (Role::LOCAL, "local"),
        (Role::PRESENTED, "presented"),
        (Role::TUNNEL, "tunnel"),
        (Role::DIRECT, "direct"),
        (Role::PRESENT_SOURCE, "present-source"),
        (Role::BARRED, "barred"),
        (Role::RESERVED, "reserved"),
    ];
    let found: Vec<&str> = names.into_iter().filter(|(one, _)| role.has(*one)).map(|(_, name)| name).collect();
    found.join("+")
}

#[cfg(test)]
mod tests {
    use crate::{
        allocate::Allocations,
        model::fixtures::{CLIENT, CONFIGURATION, KEY, SERVER, facts, of, valid},
        plan::plan,
    };

    #[test]
    fn a_diff_says_what_goes_and_what_comes() {
        let (old, given) = plan(&valid(&[CONFIGURATION, CLIENT, KEY]), &facts(), &Allocations::default()).unwrap();
        let moved = CLIENT.replace("172.19.0.8", "172.19.0.9").replace("1340", "1400");
        let another = [of("cl03", CONFIGURATION), of("cl03", SERVER)];
        let (new, _) = plan(&valid(&[CONFIGURATION, &moved, KEY, &another[0], &another[1]]), &facts(), &given).unwrap();
        let expected = "\
- tunnel mesh-cl02: mtu 1340, any port, 10.70.0.2/32
- peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= of mesh-cl02: connection 1, endpoints 172.19.0.8:32009, \
keepalive 25 s, announces 10.70.0.0/16 10.243.0.0/16
+ tunnel mesh-cl02: mtu 1400, any port, 10.70.0.2/32
+ peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= of mesh-cl02: connection 1, endpoints 172.19.0.9:32009, \
keepalive 25 s, announces 10.70.0.0/16 10.243.0.0/16
+ entry 10.64.0.0/16: barred -> 10.64.0.0/16
+ entry 10.69.0.0/16: barred -> 10.69.0.0/16
+ route 10.64.0.0/16 unreachable metric 4278198272
+ route 10.69.0.0/16 unreachable metric 4278198272
";
        assert_eq!(old.diff(&new), expected);
        assert_eq!(new.diff(&new), "");
    }
}
