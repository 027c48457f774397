//! Steps as an operator reads them.

use std::fmt;

use super::{GroupStep, Step};
use crate::plan::{
    DeviceName,
    display::{self, Line},
};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::SetNode(_) => f.write_str("set reserved addresses"),
            Step::CreateTunnel(device, tunnel) => {
                write!(f, "create tunnel {device}: mtu {}, {}", tunnel.mtu, display::ports(&tunnel.listen_ports))
            }
            Step::SetMtu(device, mtu) => write!(f, "set mtu of {device} to {mtu}"),
            Step::SetListenPorts(device, ports) => write!(f, "set ports of {device}: {}", display::ports(ports)),
            Step::RemoveTunnel(device) => write!(f, "remove tunnel {device}"),
            Step::AddTunnelAddress(device, net) => write!(f, "add address {net} to {device}"),
            Step::RemoveTunnelAddress(device, net) => write!(f, "remove address {net} from {device}"),
            Step::AddPeer(device, key, peer) => write!(f, "add peer {key} to {device}: {}", Line(peer)),
            Step::UpdatePeer(device, key, peer) => write!(f, "update peer {key} of {device}: {}", Line(peer)),
            Step::SetEndpoints(device, key, endpoints) => {
                write!(f, "set endpoints of {key} of {device}: {}", display::list(endpoints))
            }
            Step::RemovePeer(device, key) => write!(f, "remove peer {key} from {device}"),
            Step::AddAddress(address) => write!(f, "add address {} to {}", address.address, address.device),
            Step::RemoveAddress(address) => write!(f, "remove address {} from {}", address.address, address.device),
            Step::AddRoute(route) => write!(f, "add route {}", Line(route)),
            Step::RemoveRoute(route) => write!(f, "remove route {}", Line(route)),
            Step::AddNeighbour(hop) => write!(f, "add next hop {} on {}", hop.address, hop.device),
            Step::RemoveNeighbour(hop) => write!(f, "remove next hop {} on {}", hop.address, hop.device),
            Step::SetSysctl(sysctl, value) => write!(f, "set {} = {value}", Line(sysctl)),
            Step::RestoreSysctl(sysctl) => write!(f, "restore {}", Line(sysctl)),
            Step::SetRemap(id, remap) => write!(f, "set remap {}: {}", id.0, Line(remap)),
            Step::RemoveRemap(id) => write!(f, "remove remap {}", id.0),
            Step::SetEntry(net, entry) => write!(f, "set entry {net}: {}", Line(entry)),
            Step::RemoveEntry(net) => write!(f, "remove entry {net}"),
            Step::Attach(device, attachment) => write!(f, "attach {device}: {}", Line(attachment)),
            Step::Detach(device) => write!(f, "detach {device}"),
            Step::AddConnection(id, connection) => write!(f, "add connection {}: {}", id.0, Line(connection)),
            Step::RemoveConnection(id) => write!(f, "remove connection {}", id.0),
            Step::SetNat(_) => f.write_str("set address translation"),
            Step::RemoveNat => f.write_str("remove address translation"),
            Step::AwaitShards => f.write_str("await shards"),
            Step::Group(device, step) => group(device, step, f),
        }
    }
}

fn group(device: &DeviceName, step: &GroupStep, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match step {
        GroupStep::Create(tunnel) => write!(f, "create group tunnel {device}: {}", Line(&**tunnel)),
        GroupStep::SetMtu(mtu) => write!(f, "set mtu of {device} to {mtu}"),
        GroupStep::SetPort(port) => write!(f, "set port of {device} to {port}"),
        GroupStep::SetPolicy(Some(_)) => write!(f, "set access rules of {device}"),
        GroupStep::SetPolicy(None) => write!(f, "allow everything on {device}"),
        GroupStep::Remove => write!(f, "remove group tunnel {device}"),
        GroupStep::AddPeer(key, peer) => write!(f, "add peer {key} to {device}: {}", Line(&**peer)),
        GroupStep::UpdatePeer(key, peer) => write!(f, "update peer {key} of {device}: {}", Line(&**peer)),
        GroupStep::RemovePeer(key) => write!(f, "remove peer {key} from {device}"),
        GroupStep::Route => write!(f, "route packets of {device}"),
    }
}
