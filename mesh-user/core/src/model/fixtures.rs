//! Texts of settings and manifests for tests.

use super::{Intent, Manifest, Settings, ValidIntent};
use crate::plan::{DeviceName, NodeFacts, PublicKey};

pub(crate) const OWN_KEY: PublicKey = PublicKey([9; 32]);

pub(crate) const SETTINGS: &str = r#"
cluster_id = "cl01"
[cidr]
pod = ["10.243.0.0/16"]
[[interface]]
name = "pods0"
role = "workload"
[[interface]]
name = "wan0"
role = "underlay"
"#;

pub(crate) const CONFIGURATION: &str = "
apiVersion: networking.liqo.io/v1beta1
kind: Configuration
metadata:
  labels:
    liqo.io/remote-cluster-id: cl02
  name: dry-paper
spec:
  remote:
    cidr:
      external: 10.70.0.0/16
      pod: 10.243.0.0/16
";

pub(crate) const SERVER: &str = "
apiVersion: networking.liqo.io/v1beta1
kind: GatewayServer
metadata:
  labels:
    liqo.io/remote-cluster-id: cl02
  name: server
spec:
  endpoint:
    port: 51840
    serviceType: NodePort
  mtu: 1340
  serverTemplateRef:
    apiVersion: networking.liqo.io/v1beta1
    kind: WgGatewayServerTemplate
    name: wireguard-server
    namespace: liqo
";

pub(crate) const CLIENT: &str = "
apiVersion: networking.liqo.io/v1beta1
kind: GatewayClient
metadata:
  creationTimestamp: null
  labels:
    liqo.io/remote-cluster-id: cl02
  name: client
  namespace: default
spec:
  clientTemplateRef:
    apiVersion: networking.liqo.io/v1beta1
    kind: WgGatewayClientTemplate
    name: wireguard-client
    namespace: liqo
  endpoint:
    addresses:
    - 172.19.0.8
    port: 32009
    protocol: UDP
  mtu: 1340
";

pub(crate) const KEY: &str = "
apiVersion: networking.liqo.io/v1beta1
kind: PublicKey
metadata:
  creationTimestamp: null
  labels:
    liqo.io/remote-cluster-id: cl02
    networking.liqo.io/gateway-resource: \"true\"
  name: cl02
spec:
  publicKey: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
";

pub(crate) fn intent(settings: &str, manifests: &[&str]) -> Intent {
    let manifest = |(index, text): (usize, &&str)| Manifest { file: format!("{index}.yaml"), text: (*text).to_owned() };
    Intent {
        settings: Settings::parse("meshd.toml", settings).unwrap(),
        own_key: OWN_KEY,
        parsed: Default::default(),
        manifests: manifests.iter().enumerate().map(manifest).collect(),
        objects: Vec::new(),
    }
}

pub(crate) fn valid(manifests: &[&str]) -> ValidIntent {
    intent(SETTINGS, manifests).validate().unwrap()
}

/// The same of another remote, whose name it has.
pub(crate) fn of(remote: &str, text: &str) -> String {
    let named =
        |text: String, name: &str| text.replace(&format!("\n  name: {name}\n"), &format!("\n  name: {remote}\n"));
    ["dry-paper", "server", "client"].into_iter().fold(text.replace("cl02", remote), named)
}

/// With mesh-wide prefixes for both sides.
pub(crate) fn mesh_wide(configuration: &str, local: [&str; 2], remote: [&str; 2]) -> String {
    let section = |[pod, external]: [&str; 2]| format!("presented: {{ pod: {pod}, external: {external} }}");
    format!("{}    {}\n  local:\n    {}\n", configuration, section(remote), section(local))
}

pub(crate) fn direct(next_hop: &str) -> String {
    CLIENT.replace("name: wireguard-client", "name: direct").replace("172.19.0.8", next_hop)
}

pub(crate) fn facts() -> NodeFacts {
    let interface = |name: &str, address: &str| (DeviceName(name.to_owned()), vec![address.parse().unwrap()]);
    NodeFacts {
        interfaces: [
            interface("lo", "127.0.0.1/8"),
            interface("pods0", "10.243.0.1/16"),
            interface("wan0", "192.0.2.1/24"),
        ]
        .into(),
        ..NodeFacts::default()
    }
}
