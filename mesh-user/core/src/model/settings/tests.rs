//! Defaults, and refusals that name file and line.

use super::{cluster::DEFAULT_EXTERNAL, *};
use crate::{
    model::group::MemberKind,
    plan::{HookChoice, InterfaceRole},
};

const GOOD: &str = "cluster_id = \"cl01\"\n[cidr]\npod = [\"10.243.0.0/16\"]\n";

fn refused(text: &str) -> String {
    Settings::parse("meshd.toml", text).unwrap_err().to_string()
}

#[test]
fn defaults() {
    let settings = Settings::parse("meshd.toml", GOOD).unwrap();
    assert_eq!(settings.cluster.id.as_str(), "cl01");
    assert_eq!(settings.cluster.external.cidrs[0].to_string(), DEFAULT_EXTERNAL);
    assert!(!settings.cluster.external.given && settings.interfaces.is_empty() && !settings.log_bpf);
    assert_eq!(settings.directories.run, PathBuf::from("/run/mesh"));
    assert_eq!(settings.private_key_file, PathBuf::from("/var/lib/mesh/private.key"));
}

#[test]
fn the_number_of_shards_is_given_or_left_to_the_cores() {
    let shards = |line: &str| Settings::parse("meshd.toml", &format!("{line}\n{GOOD}")).map(|s| s.shards);
    assert_eq!(shards("shards = 3").unwrap(), NonZeroUsize::new(3));
    assert_eq!(shards("").unwrap(), None);
    for bad in ["shards = 0", "shards = 65"] {
        let refused = shards(bad).unwrap_err().to_string();
        assert!(refused.starts_with("meshd.toml:1: shards:"), "{refused}");
    }
}

#[test]
fn interfaces_have_role_and_hook() {
    let text = format!("{GOOD}[[interface]]\nname = \"pods0\"\nrole = \"workload\"\nhook = \"xdp-generic\"\n");
    let settings = Settings::parse("meshd.toml", &text).unwrap();
    let expected = Attachment { role: InterfaceRole::Workload, hook: HookChoice::XdpGeneric };
    assert_eq!(settings.interfaces[&DeviceName("pods0".into())], expected);
}

#[test]
fn refusals_name_the_line() {
    assert!(
        refused("cluster_id = \"a\"\nspeed = 9\n[cidr]\npod = []\n").starts_with("meshd.toml:2: unknown field `speed`")
    );
    assert!(
        refused(&GOOD.replace("0.0/16", "1.0/16")).starts_with("meshd.toml:3: cidr.pod: 10.243.1.0/16 has host bits")
    );
    let overlapping = format!("{GOOD}pools = [\"10.0.0.0/8\", \"10.4.0.0/16\"]\n");
    assert!(refused(&overlapping).contains("pools 10.0.0.0/8 and 10.4.0.0/16 overlap"));
    let clash = format!("{GOOD}external = [\"10.243.1.0/24\"]\n");
    assert!(refused(&clash).contains("10.243.1.0/24 overlaps pod 10.243.0.0/16"));
    assert!(refused("cluster_id = \"A\"\n[cidr]\npod = [\"10.243.0.0/33\"]\n").lines().count() == 2);
}

const WHOLE: &str = r#"
cluster_id = "cl01"
node_id = "hv-a"
advertise = "192.0.2.1"
org = "acme"
hub = "head"
contexts_file = "/tmp/contexts.toml"
[ng]
pool = ["10.128.0.0/9"]
prefix_length = 20
suffixes = ["cc-ng.cloud", "Mesh.Test."]
ports = "40000-40099"
mtu = 1280
lease_seconds = 20
[ng.kinds]
"lb_" = "loadbalancer"
[dns]
listen = ["127.0.0.153:53", "[::1]:5353"]
forward = ["9.9.9.9"]
ttl = 1
register = false
[api]
listen = "0.0.0.0:7443"
ca = "/etc/mesh/ca.pem"
cert = "/etc/mesh/cert.pem"
key = "/etc/mesh/key.pem"
[[principal]]
name = "alice"
roles = ["admin of acme", "member of default/myNG", "read"]
[[instance]]
member = "app_x"
netns = "/run/netns/x"
[[instance]]
member = "app_x"
org = "other"
"#;

#[test]
fn a_node_of_groups_needs_no_prefixes_of_its_own() {
    let settings = Settings::parse("meshd.toml", "").unwrap();
    assert!(settings.cluster.pod.is_empty() && settings.cluster.external.cidrs.is_empty());
    assert_eq!(settings.groups, GroupSettings::default());
    assert_eq!((settings.groups.pool[0].to_string().as_str(), settings.groups.prefix_length), ("10.0.0.0/8", 16));
    assert_eq!((settings.groups.suffixes[0].as_str(), settings.groups.mtu), ("cc-ng.cloud", 1340));
    assert_eq!((settings.groups.ports.clone().count(), settings.groups.kinds.len()), (1000, 7));
    assert_eq!(settings.org, Org::default());
    assert!(settings.node_id.is_none() && settings.advertise.is_none() && settings.hub.is_none());
    assert!(settings.api.is_none() && settings.principals.is_empty() && settings.instances.is_empty());
    let dns = settings.dns;
    assert!(dns.enabled && dns.register && dns.forward.is_empty() && dns.ttl == 5);
    assert_eq!(dns.listen, ["127.0.0.153:53".parse().unwrap()]);
}

#[test]
fn every_key_of_network_groups() {
    let settings = Settings::parse("meshd.toml", WHOLE).unwrap();
    assert_eq!(settings.node_id.unwrap().as_str(), "hv-a");
    assert_eq!(settings.advertise, Some("192.0.2.1".parse().unwrap()));
    assert_eq!((settings.org.as_str(), settings.hub.as_deref()), ("acme", Some("head")));
    assert_eq!(settings.directories.contexts, PathBuf::from("/tmp/contexts.toml"));
    let groups = settings.groups;
    assert_eq!((groups.pool[0].to_string().as_str(), groups.prefix_length), ("10.128.0.0/9", 20));
    assert_eq!(groups.suffixes[1].as_str(), "mesh.test");
    assert_eq!((groups.ports, groups.mtu, groups.lease_seconds), (40_000..=40_099, 1280, 20));
    assert_eq!((groups.kinds["lb_"], groups.kinds["app_"]), (MemberKind::Loadbalancer, MemberKind::Application));
    assert_eq!(settings.dns.listen[1], "[::1]:5353".parse().unwrap());
    assert_eq!(settings.dns.forward, ["9.9.9.9:53".parse().unwrap()]);
    assert!(settings.dns.ttl == 1 && !settings.dns.register);
    let api = settings.api.unwrap();
    assert_eq!((api.listen.port(), api.ca), (7443, PathBuf::from("/etc/mesh/ca.pem")));
    let group = Role::Member { org: Org::default(), group: "myNG".to_owned() };
    let roles = vec![Role::Admin("acme".parse().unwrap()), group, Role::Read];
    assert_eq!(settings.principals[&PrincipalName("alice".to_owned())], roles);
    let orgs: Vec<_> = settings.instances.iter().map(|instance| instance.org.as_str()).collect();
    assert_eq!(orgs, ["acme", "other"]);
    assert_eq!(settings.instances[0].netns, Some(PathBuf::from("/run/netns/x")));
}

/// In `WHOLE`, one thing is written differently; each is refused with its line.
#[test]
fn what_is_wrong_with_groups_is_told_with_its_line() {
    let cases = [
        ("node_id = \"hv-a\"", "node_id = \"hv a\"", "meshd.toml:3: node_id: \"hv a\" is no node id: "),
        ("\"192.0.2.1\"", "\"192.0.2\"", "meshd.toml:4: advertise: "),
        ("\"192.0.2.1\"", "\"0.0.0.0\"", "meshd.toml:4: advertise: 0.0.0.0 is no address of one machine; "),
        ("\"acme\"", "\"a/b\"", "meshd.toml:5: org: \"a/b\" is no org: "),
        ("\"head\"", "\" \"", "meshd.toml:6: hub: no name; "),
        ("10.128.0.0/9", "10.0.0.0/24", "meshd.toml:9: ng.pool: 10.0.0.0/24 has no room for a group of /20; "),
        ("10.128.0.0/9", "fd00::/8", "meshd.toml:9: ng.pool: fd00::/8 is no IPv4 prefix; "),
        ("10.128.0.0/9", "10.128.0.0/9\", \"10.192.0.0/16", "meshd.toml:9: ng.pool: 10.128.0.0/9 and 10.192.0.0/16"),
        ("lease_seconds = 20", "lease_seconds = 2", "meshd.toml:14: ng.lease_seconds: 2 s; write 3 to 86400"),
        ("prefix_length = 20", "prefix_length = 15", "meshd.toml:10: ng.prefix_length: /15; write 16 to 28"),
        ("\"Mesh.Test.\"", "\"a..b\"", "meshd.toml:11: ng.suffixes: \"a..b\" is no domain name: "),
        ("40000-40099", "40099-40000", "meshd.toml:12: ng.ports: \"40099-40000\" is no range of ports; "),
        ("40000-40099", "0-9", "meshd.toml:12: ng.ports: "),
        ("mtu = 1280", "mtu = 100", "meshd.toml:13: ng.mtu: 100 bytes; write 576 to 65535"),
        ("loadbalancer", "toaster", "meshd.toml:16: ng.kinds: \"toaster\" is no member kind: "),
        ("\"lb_\"", "\"lb\"", "meshd.toml:16: ng.kinds: \"lb\" is no beginning of an id; "),
        ("\"lb_\"", "\"ng_\"", "meshd.toml:16: ng.kinds: ng_ is what ids of groups begin with; "),
        ("[::1]:5353", "::1:x", "meshd.toml:18: dns.listen: \"::1:x\" is no address and port; "),
        ("9.9.9.9", "127.0.0.153", "meshd.toml:19: dns.forward: 127.0.0.153:53 is where this server listens; "),
        ("ttl = 1", "ttl = 100000", "meshd.toml:20: dns.ttl: 100000 seconds; write 0 to 86400"),
        ("0.0.0.0:7443", "0.0.0.0", "meshd.toml:23: api.listen: "),
        ("key = \"/etc/mesh/key.pem\"\n", "", "meshd.toml:22: missing field `key`"),
        ("\"read\"]", "\"root\"]", "meshd.toml:29: principal.roles: \"root\" is no role: "),
        ("default/myNG", "default", "meshd.toml:29: principal.roles: \"member of default\" is no role: "),
        ("/run/netns/x", "x", "meshd.toml:32: instance.netns: x is no absolute path; "),
        ("\"app_x\"\norg", "\"app x\"\norg", "meshd.toml:34: instance.member: \"app x\" is no member id: "),
        ("org = \"other\"", "netns = \"/run/netns/x\"", "meshd.toml:34: instance.member: app_x stands twice"),
        (
            "\"alice\"",
            "\"alice\"\nroles = []\n[[principal]]\nname = \"alice\"",
            "meshd.toml:31: principal.name: alice stands",
        ),
        ("ttl = 1", "tll = 1", "meshd.toml:20: unknown field `tll`"),
    ];
    for (right, wrong, expected) in cases {
        assert!(WHOLE.contains(right), "{right}");
        let told = refused(&WHOLE.replacen(right, wrong, 1));
        assert!(told.starts_with(expected), "{right} -> {wrong}: {told}");
    }
    let section = "[api]\nlisten = \"0.0.0.0:7443\"\nca = \"/etc/mesh/ca.pem\"\ncert = \"/etc/mesh/cert.pem\"\n\
                   key = \"/etc/mesh/key.pem\"\n";
    assert!(WHOLE.contains(section));
    let told = refused(&WHOLE.replace(section, ""));
    assert!(told.starts_with("meshd.toml:23: principal: alice cannot reach the API: "), "{told}");
}

#[test]
fn a_cluster_without_name_is_called_after_its_node() {
    let on_host = |text: &str| {
        let settings = Settings::parse("meshd.toml", text).unwrap().on_host("Box.example");
        (settings.node_id.unwrap().to_string(), settings.cluster.id.to_string())
    };
    assert_eq!(on_host(""), ("Box-example".to_owned(), "box-example".to_owned()));
    assert_eq!(on_host("node_id = \"hv_a\"\n"), ("hv_a".to_owned(), "hv-a".to_owned()));
    assert_eq!(on_host("cluster_id = \"c\"\n"), ("Box-example".to_owned(), "c".to_owned()));
    let told = refused("node_id = \"a\"\n[cidr]\npod = [\"10.1.0.0/16\"]\n");
    assert!(told.starts_with("meshd.toml:2: cluster_id: missing beside [cidr]; choose a short name"), "{told}");
    assert!(refused("cluster_id = \"A\"\n").starts_with("meshd.toml:1: cluster_id: "));
}

#[test]
fn a_node_is_called_after_its_host() {
    for (host, node) in [("hv-a", "hv-a"), ("hv.example.org", "hv-example-org"), ("", "localhost"), ("ü", "-")] {
        assert_eq!(NodeId::of_host(host).as_str(), node);
    }
    assert_eq!(NodeId::of_host(&"x".repeat(64)).as_str().len(), 63);
}

#[test]
fn a_node_is_a_gateway_unless_it_says_where_the_gateways_are() {
    let text = |rest: &str| format!("cluster_id = \"cl01\"\n[cidr]\npod = [\"10.243.0.0/16\"]\n{rest}");
    let gateway = |rest: &str| Settings::parse("meshd.toml", &text(rest)).map(|settings| settings.gateway);
    assert_eq!(gateway(""), Ok(GatewaySettings::default()));
    let worker = gateway("[gateway]\nenabled = false\nnodes = [\"192.0.2.1\", \"192.0.2.2\"]\n").unwrap();
    assert_eq!((worker.enabled, worker.nodes.len()), (false, 2));
    let told = "[gateway]\nadvertise = [\"gw.example\", \"192.0.2.1\"]\nadvertise_command = [\"/bin/x\", \"y\"]\n\
                load_balancer_pool = [\"192.0.2.128/28\"]\n";
    let told = gateway(told).unwrap().advertise;
    assert_eq!((told.addresses.len(), told.command.len(), told.pool.len()), (2, 2, 1));
    for (rest, expected) in [
        ("[gateway]\nenabled = false\n", "gateway.nodes: a worker without gateway nodes"),
        ("[gateway]\nnodes = [\"192.0.2.1\"]\n", "meshd.toml:5: gateway.nodes: this node is a gateway node itself"),
        ("[gateway]\nadvertise = [\"10.0.0.300\"]\n", "meshd.toml:5: gateway.advertise: \"10.0.0.300\" is neither"),
        ("[gateway]\nadvertise_command = [\"x\"]\n", "meshd.toml:5: gateway.advertise_command: [\"x\"] does not begin"),
        ("[gateway]\nload_balancer_pool = [\"10.0.0.1/8\"]\n", "meshd.toml:5: gateway.load_balancer_pool: "),
        ("[gateway]\nindex = 8\n", "meshd.toml:5: gateway.index: 8; write 0 to 7"),
        ("external = [\"10.70.0.0/29\"]\n[gateway]\nindex = 3\n", "gateway.index: 3: 10.70.0.0/29 has no reserved"),
    ] {
        let refusal = gateway(rest).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

/// LQ-76: where Prometheus asks.
#[test]
fn numbers_are_shown_on_tcp_only_where_asked() {
    assert_eq!(Settings::parse("meshd.toml", "").unwrap().metrics, None);
    let settings = Settings::parse("meshd.toml", "[metrics]\nlisten = \"127.0.0.1:9101\"\n").unwrap();
    assert_eq!(settings.metrics, Some("127.0.0.1:9101".parse().unwrap()));
    let refusal = Settings::parse("meshd.toml", "[metrics]\nlisten = \"9101\"\n").unwrap_err().to_string();
    assert!(refusal.contains("metrics.listen") && refusal.contains("ADDRESS:PORT"), "{refusal}");
}

/// LQ-26, LQ-73, LQ-79
#[test]
fn what_becomes_of_sources_and_segments() {
    use crate::model::{MssClamp, RemapSettings};
    let read = |section: &str| Settings::parse("meshd.toml", &format!("[remap]\n{section}")).map(|read| read.remap);
    assert_eq!(read("").unwrap(), RemapSettings::default());
    assert_eq!(read("mss_clamp = false\nmss = 1200").unwrap().mss, MssClamp::Off);
    assert_eq!(read("mss = 1200").unwrap().mss, MssClamp::Fixed(1_200));
    assert!(read("full_masquerade = true\ndeny_direct_connections = false").unwrap().full_masquerade);
    for (section, expected) in [
        ("mss = 100", "remap.mss: segments of 100 bytes"),
        ("full_masquerade = true\nnotrack = true", "remap.notrack: on, and full_masquerade needs"),
        ("full_masquerade = true\nunknown_source = false", "remap.unknown_source: off, and full_masquerade"),
        ("masquerade = true", "unknown field `masquerade`"),
    ] {
        let told = read(section).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!([MssClamp::Auto.mtu(Some(1_340), true), MssClamp::Auto.mtu(None, true)], [1_340, 0]);
    assert_eq!([MssClamp::Fixed(1_200).mtu(None, true), MssClamp::Fixed(1_200).mtu(None, false)], [1_240, 1_260]);
}
