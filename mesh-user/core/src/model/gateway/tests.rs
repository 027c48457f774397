//! What gateway objects say, and what templates make of them.

use super::*;
use crate::model::{
    ServiceType,
    fixtures::{CLIENT, CONFIGURATION, KEY, SERVER, SETTINGS, intent, of, valid},
};

/// A template whose listener has these fields.
fn template(kind: &str, name: &str, spec: &str) -> String {
    let object = kind.trim_end_matches("Template");
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: custom }}\nspec:\n  \
         objectKind: {{ apiVersion: networking.liqo.io/v1beta1, kind: {object} }}\n  template:\n    metadata:\n      \
         name: \"gw-{{{{ .Name }}}}\"\n      labels: {{ of: \"{{{{ .ClusterID }}}}\" }}\n    spec: {spec}\n"
    )
}

fn gateway(manifests: &[&str]) -> Gateway {
    valid(manifests).remotes[&"cl02".parse().unwrap()].gateway.clone().unwrap()
}

fn server(text: &str) -> GatewayServer {
    match gateway(&[CONFIGURATION, text, KEY]) {
        Gateway::Server(server) => server,
        Gateway::Client(client) => panic!("{client:?}"),
    }
}

fn client(text: &str) -> GatewayClient {
    match gateway(&[CONFIGURATION, text, KEY]) {
        Gateway::Client(client) => client,
        Gateway::Server(server) => panic!("{server:?}"),
    }
}

fn assert_says(manifests: &[&str], words: &str) {
    let problems = intent(SETTINGS, manifests).validate().unwrap_err().to_string();
    assert!(problems.lines().any(|line| line.contains(words)), "{words:?} is not said by:\n{problems}");
}

/// The server without a service type, with these lines in its endpoint.
fn ports(lines: &str) -> String {
    SERVER.replace("port: 51840\n    serviceType: NodePort", lines)
}

#[test]
fn node_ports_are_given_or_left_to_the_node() {
    let given = server(&SERVER.replace("port: 51840", "port: 51840\n    nodePort: 32009"));
    assert_eq!((given.service, given.fixed_ports()), (Some(ServiceType::NodePort), Some([32_009].as_slice())));
    let left = server(SERVER);
    assert_eq!((left.fixed_ports(), left.ports.as_slice()), (None, [51_840].as_slice()));
    assert_says(&[&ports("serviceType: LoadBalancer\n    nodePort: 32009")], "only a service of type NodePort has one");
    assert_says(&[&ports("nodePort: 32009")], "only a service of type NodePort has one");
    assert_says(&[&SERVER.replace("port: 51840", "nodePort: 5\n    nodePorts: [6]")], "given beside nodePort");
    assert_says(&[&SERVER.replace("port: 51840", "nodePorts: [6, 6]\n    ports: [1, 2]")], "6 stands twice");
    assert_says(&[&SERVER.replace("port: 51840", "nodePorts: [6, 7]")], "2 node ports for 1 ports");
}

#[test]
fn each_lane_has_a_port() {
    assert_eq!(server(&ports("ports: [51840, 51841, 51842]")).fixed_ports(), Some([51_840, 51_841, 51_842].as_slice()));
    assert_eq!(server(&ports("annotations: { a: b }")).ports, [51_840]);
    assert_says(&[&ports("ports: [5, 6, 5]")], "spec.endpoint.ports: 5 stands twice; give each lane a port of its own");
    assert_says(&[&ports("ports: []")], "spec.endpoint.ports: empty");
    assert_says(&[&ports("ports: [0]")], "0 is no port");
    assert_says(&[&ports("port: 5\n    ports: [6]")], "spec.endpoint.ports: given beside port; give one of the two");
    let many: Vec<_> = (1..=65).map(|port| port.to_string()).collect();
    let many = ports(&format!("ports: [{}]", many.join(", ")));
    assert_says(&[&many], "spec.endpoint.ports: 65 ports; a connection has at most 64 lanes");
    let uneven = SERVER.replace("port: 51840", "ports: [5, 6]\n    nodePorts: [7, 8, 9]");
    assert_says(&[&uneven], "spec.endpoint.nodePorts: 3 node ports for 2 ports");
    let other = of("cl03", &ports("ports: [51839, 51840]"));
    assert_says(&[&ports("port: 51840"), &other], "port 51840 is taken by GatewayServer default/server (0.yaml)");
    let lanes = client(&CLIENT.replace("port: 32009", "ports: [1, 2]"));
    assert_eq!(lanes.reach.lanes(), 2);
}

#[test]
fn candidates_are_addresses_and_names() {
    let text = CLIENT.replace("- 172.19.0.8", "- 172.19.0.8\n    - GW.Example\n    - \"2001:db8::1\"");
    let client = client(&text);
    let Reach::Wireguard { candidates, ports } = &client.reach else { panic!("{client:?}") };
    let candidates: Vec<_> = candidates.iter().map(ToString::to_string).collect();
    assert_eq!(
        (candidates, ports.as_slice()),
        (["172.19.0.8", "gw.example", "2001:db8::1"].map(String::from).into(), [32_009].as_slice())
    );
    assert_eq!(Gateway::Client(client).names().collect::<Vec<_>>(), ["gw.example"]);
}

#[test]
fn a_template_of_ones_own() {
    let listener = "{ driver: wireguard, ports: [51999], advertisedPorts: \"{{ .Spec.Endpoint.Ports }}\", \
        mtu: \"{{ .Spec.ExtraMtu }}\", bind: 192.0.2.1, nodes: [hv-a, hv-b], ?secretName: \"{{ .SecretName }}\", \
        probe: { enabled: false, interval: 5, loss: 3 } }";
    let own = template("WgGatewayServerTemplate", "target-port", listener);
    let text =
        ports("port: 51840").replace("wireguard-server\n    namespace: liqo", "target-port\n    namespace: custom");
    let text = text.replace("mtu: 1340", "mtu: 1340\n  extraMtu: 1300\n  secretRef: { name: \"42\" }");
    // In whatever order they stand; the node runs it, as it is one of those.
    let settings = format!("node_id = \"hv-b\"\n{SETTINGS}");
    let valid = intent(&settings, &[&text, CONFIGURATION, &own, KEY]).validate().unwrap();
    let Some(Gateway::Server(server)) = &valid.remotes[&"cl02".parse().unwrap()].gateway else { panic!("{valid:?}") };
    assert_eq!(
        (server.ports.as_slice(), server.advertised_ports.as_slice()),
        ([51_999].as_slice(), [51_840].as_slice())
    );
    let Listener { mtu, bind, secret, thresholds, .. } = &server.listener;
    assert_eq!((*mtu, bind.len(), secret.as_deref(), thresholds.enabled), (1_300, 1, Some("42"), false));
    assert_eq!((thresholds.interval.as_secs(), thresholds.loss), (5, 3));
    // A changed template makes another gateway of the same object.
    let changed = own.replace("51999", "51998");
    let valid = intent(&settings, &[&text, CONFIGURATION, &changed, KEY]).validate().unwrap();
    assert_eq!(valid.remotes[&"cl02".parse().unwrap()].gateway.as_ref().unwrap().listener().mtu, 1_300);
    assert!(
        matches!(&valid.remotes[&"cl02".parse().unwrap()].gateway, Some(Gateway::Server(s)) if s.ports == [51_998])
    );
    // On another node it waits.
    let elsewhere = intent(SETTINGS, &[&text, CONFIGURATION, &own, KEY]).validate().unwrap();
    assert_eq!(elsewhere.remotes[&"cl02".parse().unwrap()].gateway, None);
    assert!(elsewhere.notices[0].contains("runs on the nodes hv-a, hv-b"), "{:?}", elsewhere.notices);
}

#[test]
fn what_is_wrong_with_a_rendered_listener_is_told_with_its_template() {
    let refused = |listener: &str, words: &str| {
        let own = template("WgGatewayClientTemplate", "mine", listener);
        let text = CLIENT.replace("wireguard-client\n    namespace: liqo", "mine\n    namespace: custom");
        assert_says(&[CONFIGURATION, &text, &own, KEY], words);
    };
    let rest = "addresses: \"{{ .Spec.Endpoint.Addresses }}\", ports: \"{{ .Spec.Endpoint.Ports }}\"";
    let with = |more: &str| format!("{{ {rest}, {more} }}");
    let at = |path: &str| format!("GatewayClient default/client: template custom/mine.spec.{path}");
    refused(
        &with("mtu: \"{{ .Spec.Endpoint.Mtu }}\""),
        &format!("{}: there is no variable .Spec.Endpoint.Mtu", at("mtu")),
    );
    refused(&with("mtu: \"{{ .Spec.Endpoint.Port }}x\""), &at("mtu: \"32009x\" is not from 576 to 65000"));
    refused(&with("driver: ipsec"), &at("driver: \"ipsec\" is not known; write wireguard, direct or exec"));
    refused(&with("colour: red"), &at("colour: unknown field"));
    refused(&with("driver: exec"), &at("exec: missing beside driver: exec"));
    refused(&with("exec: { command: [x] }"), &at("exec: given without driver: exec"));
    refused(&with("driver: exec, exec: { command: [] }"), &at("exec.command: missing"));
    refused(&with("bind: [192.0.2.1, 192.0.2.2]"), &at("bind: more than one address of a family"));
    refused(&with("probe: { enabled: 3, interval: 0 }"), &at("probe.interval: 0 is not from 1 to 300"));
    refused(&with("secretName: \"../x\""), &at("secretName: \"../x\" is no name of a secret"));
    refused("{ ports: [1] }", &at("addresses: missing"));
    refused("{ addresses: [192.0.2.1] }", &at("ports: missing"));
    let server = template("WgGatewayServerTemplate", "mine", "{ driver: direct, ports: [1] }");
    let text = SERVER.replace("wireguard-server\n    namespace: liqo", "mine\n    namespace: custom");
    assert_says(&[CONFIGURATION, &text, &server, KEY], "template custom/mine.spec.driver: 'direct' has no server");
}

#[test]
fn templates_that_are_no_good() {
    let good = template("WgGatewayClientTemplate", "mine", "{ ports: [1] }");
    assert_says(&[&good, &good], "metadata.name: there is already WgGatewayClientTemplate custom/mine (0.yaml)");
    let builtin = good.replace("name: mine, namespace: custom", "name: direct, namespace: liqo");
    assert_says(&[&builtin], "there is already WgGatewayClientTemplate liqo/direct (built-in); it cannot be changed");
    assert_says(
        &[&good.replace("kind: WgGatewayClient }", "kind: Deployment }")],
        "objectKind.kind: \"Deployment\" is not known",
    );
    assert_says(&[&good.replace("    spec: { ports: [1] }\n", "")], "spec.template.spec: missing");
    let other = CLIENT.replace("name: wireguard-client", "name: other");
    assert_says(
        &[&other],
        "no template \"other\" for this kind in the namespace liqo; apply a WgGatewayClientTemplate",
    );
    assert_says(
        &[&SERVER.replace("name: wireguard-server", "name: direct")],
        "'direct' is given as GatewayClient on both sides",
    );
}

#[test]
fn unequal_mtus_are_refused_and_both_named() {
    let annotated =
        |mtu: &str| KEY.replace("  name: cl02", &format!("  annotations: {{ mesh/mtu: \"{mtu}\" }}\n  name: cl02"));
    assert!(intent(SETTINGS, &[CONFIGURATION, CLIENT, &annotated("1340")]).validate().is_ok());
    assert_says(
        &[CONFIGURATION, CLIENT, &annotated("1420")],
        "PublicKey default/cl02: metadata.annotations.mesh/mtu: the MTU of cl02 is 1420, and that of GatewayClient \
         default/client (1.yaml) is 1340",
    );
    assert_says(&[CONFIGURATION, SERVER, &annotated("1280")], "that of GatewayServer default/server (1.yaml) is 1340");
    assert_says(&[&annotated("big")], "metadata.annotations.mesh/mtu: \"big\"; write the bytes as a number");
    // Before there is a gateway nothing can be compared.
    assert!(intent(SETTINGS, &[CONFIGURATION, &annotated("9000")]).validate().is_ok());
}
