//! A routing table in a namespace, and what the host's run is told instead of asking it.

use anyhow::Result;
use mesh_common::{
    datapath::route::{Link, Onward, Route},
    ids::IfIndex,
    testkit::World,
};
use mesh_lab::Namespace;

/// Of the way out; above the least that IPv6 takes, below some of the generated frames.
pub(crate) const MTU: u16 = 1_300;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 8];
const NEXT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// What the kernel's routing table says to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// The node does not forward.
    NoForwarding,
    Unreachable,
    Prohibited,
    /// To an interface that takes redirects.
    Onward,
    /// To one that takes none from XDP.
    OnwardByKernel,
    /// The same with redirects switched off.
    PassUp,
}

impl Case {
    pub(crate) const ALL: [Case; 6] =
        [Case::NoForwarding, Case::Unreachable, Case::Prohibited, Case::Onward, Case::OnwardByKernel, Case::PassUp];

    pub(crate) fn onward(self) -> Onward {
        if self == Case::PassUp { Onward::PassUp } else { Onward::Redirect }
    }

    pub(crate) fn takes_redirects(self) -> bool {
        self == Case::Onward
    }

    /// Sets the namespace up; gives the interface of the way out, or none.
    pub(crate) fn prepare(self, namespace: &Namespace) -> Result<IfIndex> {
        namespace.ip(&["link", "set", "lo", "address", &text(World::MAC), "up"])?;
        if self == Case::NoForwarding {
            return Ok(IfIndex(0));
        }
        namespace.sysctl("net/ipv4/conf/all/forwarding", "1")?;
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let kind = match self {
            Case::Unreachable => "unreachable",
            Case::Prohibited => "prohibit",
            Case::NoForwarding | Case::Onward | Case::OnwardByKernel | Case::PassUp => return way_out(namespace),
        };
        namespace.ip(&["route", "add", kind, "default"])?;
        namespace.ip(&["-6", "route", "add", kind, "default"])?;
        Ok(IfIndex(0))
    }

    /// The answer for a program of this hook.
    pub(crate) fn route(self, hook: &str, interface: IfIndex) -> Route {
        match self {
            Case::NoForwarding => Route::Local,
            Case::Unreachable => Route::Unreachable,
            Case::Prohibited => Route::Prohibited,
            Case::OnwardByKernel if hook == "xdp" => Route::NeedsKernel,
            Case::Onward | Case::OnwardByKernel | Case::PassUp => {
                let link = (hook == "xdp").then_some(Link { dst: NEXT_MAC, src: OUR_MAC });
                Route::Redirect { interface, link }
            }
        }
    }
}

/// A default route over a pair of devices to a neighbour that is known.
fn way_out(namespace: &Namespace) -> Result<IfIndex> {
    let (ours, next, mtu) = (text(OUR_MAC), text(NEXT_MAC), MTU.to_string());
    namespace.ip(&["link", "add", "out", "mtu", &mtu, "address", &ours, "type", "veth", "peer", "name", "far"])?;
    namespace.ip(&["link", "set", "out", "up"])?;
    namespace.ip(&["link", "set", "far", "up"])?;
    namespace.ip(&["address", "add", "198.51.100.1/24", "dev", "out"])?;
    namespace.ip(&["address", "add", "fd99::1/64", "dev", "out", "nodad"])?;
    for (family, hop) in [("-4", "198.51.100.2"), ("-6", "fd99::2")] {
        namespace.ip(&[family, "neighbour", "add", hop, "lladdr", &next, "dev", "out", "nud", "permanent"])?;
        namespace.ip(&[family, "route", "add", "default", "via", hop, "dev", "out"])?;
    }
    let line = namespace.ip(&["-o", "link", "show", "dev", "out"])?;
    let index = line.split(':').next().and_then(|index| index.trim().parse().ok());
    Ok(IfIndex(index.ok_or_else(|| anyhow::anyhow!("no index in {line:?}"))?))
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
