//! What a cluster of the demo is before it exists: its id, its prefixes, its place on the underlay, its settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where gateways send what they have no route for: the switch itself, so that a leak is seen on the underlay.
pub(super) const DEFAULT_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 254);

/// How two clusters are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Encrypted, through a TUN device on each gateway.
    Wireguard,
    /// Over the underlay itself, rewritten and forwarded in the kernel.
    Direct,
}

#[derive(Clone, Debug)]
pub struct Site {
    pub id: String,
    /// Real prefixes of each family. All sites of the demo use the same ones: that is the point.
    pub pods: Vec<String>,
    pub external: Vec<String>,
    /// Mesh-wide prefixes, for `direct`.
    pub presented_pods: Vec<String>,
    pub presented_external: Vec<String>,
    /// Address of the gateway on the underlay, and its IPv6 one where there are IPv6 pods.
    pub underlay: Ipv4Addr,
    pub underlay_v6: Option<Ipv6Addr>,
    /// Hook of the interfaces, as in `meshd.toml`.
    pub hook: &'static str,
}

impl Site {
    /// The `number`th cluster, with pods in 10.243.0.0/16 like every other.
    pub fn new(number: u8) -> Site {
        Site {
            id: format!("cl{number:02}"),
            pods: vec!["10.243.0.0/16".into()],
            external: vec!["10.70.0.0/16".into()],
            presented_pods: vec![format!("10.{}.0.0/16", 100 + number)],
            presented_external: vec![format!("10.{}.0.0/16", 150 + number)],
            underlay: Ipv4Addr::new(172, 31, 0, number),
            underlay_v6: None,
            hook: "auto",
        }
    }

    /// The same with IPv6 pods beside the IPv4 ones.
    pub fn dual_stack(mut self) -> Site {
        let number = self.id.trim_start_matches("cl").to_owned();
        self.pods.push("fd00:10:243::/48".into());
        self.external.push("fd00:10:70::/48".into());
        self.presented_pods.push(format!("fd00:10:1{number}::/48"));
        self.presented_external.push(format!("fd00:10:2{number}::/48"));
        self.underlay_v6 = Some(Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0, 0, 0, 0, self.underlay.octets()[3].into()));
        self
    }

    pub fn with_hook(mut self, hook: &'static str) -> Site {
        self.hook = hook;
        self
    }

    pub fn is_dual_stack(&self) -> bool {
        self.underlay_v6.is_some()
    }

    /// `meshd.toml` without the directories.
    pub fn settings(&self) -> String {
        let mut text = format!(
            "cluster_id = {:?}\n\n[cidr]\npod = {:?}\nexternal = {:?}\ninternal = [\"10.80.0.0/16\"]\n",
            self.id, self.pods, self.external
        );
        for (name, role) in [("pods1", "workload"), ("pods2", "workload"), ("und0", "underlay")] {
            let hook = self.hook;
            text.push_str(&format!("\n[[interface]]\nname = {name:?}\nrole = {role:?}\nhook = {hook:?}\n"));
        }
        text
    }

    /// The manifest in which `self` learns of the prefixes of `remote`.
    pub fn configuration(&self, remote: &Site, connection: Connection) -> String {
        let (mut ours, mut theirs) = (String::new(), String::new());
        if connection == Connection::Direct {
            ours = format!("  local:\n{}", self.presented());
            theirs = remote.presented();
        }
        format!(
            "{}spec:\n{ours}  remote:\n{theirs}    cidr:\n      external: {}\n      pod: {}\n",
            head("Configuration", &remote.id, &remote.id),
            list(&remote.external),
            list(&remote.pods),
        )
    }

    /// The manifest in which `self` lets `client` connect, on this UDP port.
    pub fn gateway_server(&self, client: &Site, port: u16) -> String {
        format!(
            "{}spec:\n  endpoint:\n    port: {port}\n    nodePort: {port}\n    serviceType: NodePort\n  mtu: {}\n  serverTemplateRef:\n\
             \x20   apiVersion: networking.liqo.io/v1beta1\n    kind: WgGatewayServerTemplate\n\
             \x20   name: wireguard-server\n    namespace: liqo\n",
            head("GatewayServer", &client.id, &format!("server-{}", client.id)),
            super::TUNNEL_MTU,
        )
    }

    /// The manifest in which `self` learns where `server` is reached. The port means nothing to `direct`.
    pub fn gateway_client(&self, server: &Site, connection: Connection, port: u16) -> String {
        let (template, mtu) = match connection {
            Connection::Wireguard => ("wireguard-client", super::TUNNEL_MTU),
            Connection::Direct => ("direct", super::DIRECT_MTU),
        };
        format!(
            "{}spec:\n  clientTemplateRef:\n    apiVersion: networking.liqo.io/v1beta1\n\
             \x20   kind: WgGatewayClientTemplate\n    name: {template}\n    namespace: liqo\n  endpoint:\n\
             \x20   addresses:{}\n    port: {port}\n    protocol: UDP\n  mtu: {mtu}\n",
            head("GatewayClient", &server.id, &format!("client-{}", server.id)),
            server.endpoints(connection),
        )
    }

    /// The manifest with the key that this site proves itself with, for the others.
    pub fn public_key(&self, key: &str) -> String {
        format!(
            "apiVersion: networking.liqo.io/v1beta1\nkind: PublicKey\nmetadata:\n  labels:\n\
             \x20   liqo.io/remote-cluster-id: {0}\n    networking.liqo.io/gateway-resource: \"true\"\n  name: {0}\n\
             spec:\n  publicKey: {key}\n",
            self.id,
        )
    }

    /// The items of a YAML list: a tunnel needs one address, `direct` a next hop of each family.
    fn endpoints(&self, connection: Connection) -> String {
        let v6 = self.underlay_v6.filter(|_| connection == Connection::Direct);
        let v6 = v6.map(|address| format!("\n    - {address}")).unwrap_or_default();
        format!("\n    - {}{v6}", self.underlay)
    }

    fn presented(&self) -> String {
        format!(
            "    presented:\n      external: {}\n      pod: {}\n",
            list(&self.presented_external),
            list(&self.presented_pods)
        )
    }
}

/// Where hosts and pods of a cluster stand: host 1 and host 2, each with a range of pods behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostAddresses {
    pub gateway: IpAddr,
    pub host: IpAddr,
    pub length: u8,
    pub pods: IpAddr,
    pub pods_length: u8,
}

pub(super) fn host_addresses(host: u8, v6: bool) -> HostAddresses {
    if v6 {
        let address = |high: u16, low: u16| Ipv6Addr::new(0xfd00, 0x10, 0x243, host.into(), high, 0, 0, low).into();
        HostAddresses {
            gateway: address(0, 1),
            host: address(0, 2),
            length: 64,
            pods: address(0x8000, 0),
            pods_length: 65,
        }
    } else {
        let address = |last| Ipv4Addr::new(10, 243, host, last).into();
        HostAddresses { gateway: address(1), host: address(2), length: 24, pods: address(128), pods_length: 25 }
    }
}

/// A random pod of a host.
pub(super) fn pod_address(host: u8, v6: bool, random: u64) -> IpAddr {
    let bytes = random.to_be_bytes();
    if v6 {
        let part = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Ipv6Addr::new(0xfd00, 0x10, 0x243, host.into(), 0x8000, part(0), part(2), part(4) | 1).into()
    } else {
        // The first and the last of the range would look like a network and its broadcast address.
        Ipv4Addr::new(10, 243, host, 129 + bytes[0] % 126).into()
    }
}

fn head(kind: &str, remote: &str, name: &str) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: {kind}\nmetadata:\n  labels:\n\
         \x20   liqo.io/remote-cluster-id: {remote}\n  name: {name}\n"
    )
}

fn list(prefixes: &[String]) -> String {
    match prefixes {
        [one] => one.clone(),
        several => format!("[{}]", several.iter().map(|prefix| format!("{prefix:?}")).collect::<Vec<_>>().join(", ")),
    }
}
