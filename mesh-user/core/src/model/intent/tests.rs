//! All problems of a set of manifests are told at once, each with its path.

use crate::model::fixtures::{CLIENT, CONFIGURATION, KEY, OWN_KEY, SERVER, SETTINGS, direct, intent, mesh_wide, of};

const WIDE: [[&str; 2]; 2] = [["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]];

fn refused(manifests: &[&str]) -> String {
    intent(SETTINGS, manifests).validate().unwrap_err().to_string()
}

/// One line says all of `words`.
fn assert_says(manifests: &[&str], words: &str) {
    let problems = refused(manifests);
    assert!(problems.lines().any(|line| line.contains(words)), "{words:?} is not said by:\n{problems}");
}

#[test]
fn documents_as_they_come_from_the_remote() {
    let all = [CONFIGURATION, "---", SERVER, "---", KEY, "\n---\n"].join("\n");
    let valid = intent(SETTINGS, &[&all]).validate().unwrap();
    let remote = &valid.remotes[&"cl02".parse().unwrap()];
    assert!(remote.is_complete() && valid.notices.is_empty());
    let json = r#"{"apiVersion": "networking.liqo.io/v1beta1", "kind": "Configuration", "metadata": {"name": "a",
        "labels": {"liqo.io/remote-cluster-id": "cl03"}, "uid": "1"}, "status": {"remote": {"cidr": {"pod": "x"}}},
        "spec": {"remote": {"cidr": {"pod": ["10.1.0.0/16", "10.2.0.0/16"], "external": "10.3.0.0/16"}}}}"#;
    let valid = intent(SETTINGS, &[json]).validate().unwrap();
    let configuration = &valid.remotes[&"cl03".parse().unwrap()].configuration;
    assert_eq!((configuration.real.pod.len(), configuration.real.external.len()), (2, 1));
}

#[test]
fn what_waits_is_told() {
    let valid = intent(SETTINGS, &[CONFIGURATION, CLIENT, &of("cl03", CONFIGURATION)]).validate().unwrap();
    let expected = [
        "GatewayClient default/client (1.yaml): waits for the PublicKey of cl02",
        "Configuration default/cl03 (2.yaml): no gateway for cl03, so no connection",
    ];
    assert_eq!(valid.notices, expected);
}

#[test]
fn every_problem_is_told_at_once() {
    let broken = "kind: [";
    let configuration = CONFIGURATION.replace("10.243.0.0/16", "10.243.0.7/16").replace("spec:", "speed: 9\nspec:");
    let server = SERVER.replace("port: 51840", "port: 0").replace("v1beta1\nkind: Gateway", "v1\nkind: Gateway");
    let problems = refused(&[&configuration, broken, &server, KEY]);
    let expected = [
        "0.yaml: Configuration default/dry-paper: speed: unknown field; remove it",
        "0.yaml: Configuration default/dry-paper: spec.remote.cidr.pod: 10.243.0.7/16 has host bits set; write \
         10.243.0.0/16",
        "1.yaml:1: not readable: ",
        "2.yaml: GatewayServer default/server: apiVersion: \"networking.liqo.io/v1\" is not known",
        "2.yaml: GatewayServer default/server: spec.endpoint.port: 0 is no port",
    ];
    for words in expected {
        assert!(problems.lines().any(|line| line.starts_with(words)), "{words:?} is not said by:\n{problems}");
    }
}

#[test]
fn fields() {
    let unknown = CONFIGURATION.replace("external:", "externel:");
    assert_says(&[&unknown], "spec.remote.cidr.externel: unknown field; remove it; known here: pod, external");
    assert_says(&[&CONFIGURATION.replace("kind: Conf", "kind: Konf")], "kind: \"Konfiguration\" is not known");
    assert_says(&[&CONFIGURATION.replace("cl02", "CL_02")], "is no cluster id");
    let unlabelled = CONFIGURATION.replace("liqo.io/remote-cluster-id", "other");
    assert_says(&[&unlabelled], "metadata.labels.liqo.io/remote-cluster-id: missing; add the label");
    assert_says(&[&CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: []")], "no pod CIDR");
    assert_says(&[&CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: 10.70.9.0/24")], "overlaps the pod CIDR");
    assert_says(&[&CLIENT.replace("32009", "\"32009\"")], "spec.endpoint.port: \"32009\" is no port");
    let address = |text: &str| CLIENT.replace("- 172.19.0.8", text);
    assert_says(&[&address("- 172.19.0.800")], "\"172.19.0.800\" is neither an IP address nor a DNS name");
    assert_says(&[&address("- gw.example\n    - GW.example.")], "spec.endpoint.addresses: gw.example stands twice");
    assert_says(&[&address("- gw.example").replace("wireguard-client", "direct")], "'direct' needs one");
    assert_says(&[&SERVER.replace("wireguard-server", "direct")], "'direct' is given as GatewayClient on both sides");
    assert_says(&[&SERVER.replace("NodePort", "ExternalName")], "serviceType: \"ExternalName\" is not known");
    assert_says(&[&SERVER.replace("1340", "575")], "spec.mtu: 575 is not from 576 to 65000");
    let no_endpoint = CLIENT.replace("    addresses:\n    - 172.19.0.8\n", "");
    assert_says(&[&no_endpoint], "spec.endpoint.addresses: missing; give the address");
}

#[test]
fn objects_that_do_not_go_together() {
    assert_says(&[CONFIGURATION, CONFIGURATION], "metadata.name: it stands in 0.yaml already; keep one of the two");
    let renamed = CONFIGURATION.replace("dry-paper", "other");
    assert_says(&[CONFIGURATION, &renamed], "already has Configuration default/dry-paper (0.yaml)");
    assert_says(&[SERVER, CLIENT], "keep one gateway for each remote cluster, server or client");
    let server = SERVER.replace("    serviceType: NodePort\n", "");
    assert_says(&[&server, &of("cl03", &server)], "port 51840 is taken by GatewayServer default/server (0.yaml)");
    assert_says(&[&of("cl01", CONFIGURATION)], "cl01 is this cluster itself");
    let ours = KEY.replace("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", &OWN_KEY.to_string());
    assert_says(&[&ours], "is our own key");
    assert_says(&[KEY, &of("cl03", KEY)], "the same key as PublicKey default/cl02 (0.yaml)");
    let v6 = CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: [10.243.0.0/16, \"fd00:9::/64\"]");
    assert_says(&[&v6, &CLIENT.replace("1340", "1279")], "1279 is too small: IPv6 needs at least 1280");
}

#[test]
fn mesh_wide_prefixes() {
    let good = mesh_wide(CONFIGURATION, WIDE[0], WIDE[1]);
    let hop = direct("192.0.2.2");
    assert!(intent(SETTINGS, &[&good, &hop]).validate().is_ok());
    assert_says(&[CONFIGURATION, &hop], "'direct' needs mesh-wide presented prefixes");
    let wide = |local, remote| mesh_wide(CONFIGURATION, local, remote);
    assert_says(
        &[&wide(WIDE[0], ["10.61.0.0/17", WIDE[1][1]])],
        "10.61.0.0/17 and the real prefix 10.243.0.0/16 differ",
    );
    assert_says(&[&wide(["10.60.0.0/17", WIDE[0][1]], WIDE[1])], "spec.local.presented.pod: 10.60.0.0/17 and the real");
    assert_says(&[&wide(WIDE[0], WIDE[0])], "10.60.0.0/16 overlaps our own presented prefix 10.60.0.0/16");
    assert_says(&[&wide(["10.70.0.0/16", WIDE[0][1]], WIDE[1])], "10.70.0.0/16 overlaps our own external CIDR");
    let other = of("cl03", &wide(["10.66.0.0/16", WIDE[0][1]], ["10.67.0.0/16", "10.68.0.0/16"]));
    assert_says(&[&good, &other], "a cluster has the same mesh-wide prefixes towards all");
    let same = of("cl03", &good);
    assert_says(&[&good, &same], "10.61.0.0/16 overlaps the presented prefix of cl02 10.61.0.0/16");
    let half = good.split("  local:").next().unwrap();
    assert_says(
        &[half],
        "spec.remote.presented: the remote cluster has mesh-wide prefixes, and this cluster has none; give",
    );
}

#[test]
fn a_connection_needs_prefixes_of_our_own() {
    let validated = intent("cluster_id = \"cl01\"\n", &[CONFIGURATION]).validate();
    let told = validated.unwrap_err().to_string();
    assert!(
        told.contains("a connection needs the prefixes of this cluster, and meshd.toml has none; add [cidr]"),
        "{told}"
    );
    assert!(intent("cluster_id = \"cl01\"\n", &[]).validate().is_ok());
}
