//! Which table of nftables does a plan need?

use crate::{
    allocate::Allocations,
    model::fixtures::{CLIENT, CONFIGURATION, KEY, SETTINGS, direct, facts, intent, mesh_wide},
    plan::{Plan, plan},
};

const OUTSIDE: &str = "\
apiVersion: ipam.liqo.io/v1alpha1
kind: IP
metadata:
  name: database
spec:
  ip: 192.0.2.50
  masquerade: true
";

fn planned(settings: &str, manifests: &[&str]) -> Plan {
    let mut facts = facts();
    facts.routes = ["0.0.0.0/0", "198.51.100.0/24", "198.51.100.0/25"].map(|net| net.parse().unwrap()).into();
    plan(&intent(settings, manifests).validate().unwrap(), &facts, &Allocations::default()).unwrap().0
}

fn table(settings: &str, manifests: &[&str]) -> String {
    planned(settings, manifests).nat.map_or_else(String::new, |nat| nat.to_string())
}

/// LQ-26: what this node knows the way to becomes the unknown source, and so does what a DNAT of this node let in.
#[test]
fn sources_that_are_no_workloads_become_the_unknown_source() {
    let expected = "\
add table inet mesh
delete table inet mesh
table inet mesh {
\tset tunnelled_ip {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.68.0.0/16, 10.71.0.0/16 }
\t}
\tset tunnelled_kept_ip {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.70.0.0/16, 10.243.0.0/16 }
\t}
\tset tunnelled_nearby_ip {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.243.0.0/16, 192.0.2.0/24, 198.51.100.0/24 }
\t}
\tchain leaving {
\t\ttype nat hook postrouting priority 95; policy accept;
\t\tip daddr @tunnelled_ip ip saddr @tunnelled_kept_ip return
\t\tip daddr @tunnelled_ip ct status dnat snat ip to 10.70.0.1
\t\tip daddr @tunnelled_ip ip saddr @tunnelled_nearby_ip snat ip to 10.70.0.1
\t}
}
";
    assert_eq!(table(SETTINGS, &[CONFIGURATION, CLIENT, KEY]), expected);
}

#[test]
fn without_a_connection_or_a_wish_there_is_no_table() {
    assert_eq!(table(SETTINGS, &[CONFIGURATION, CLIENT]), "", "a remote that is not connected");
    assert_eq!(table(SETTINGS, &[CONFIGURATION, OUTSIDE]), "");
    let off = format!("{SETTINGS}\n[remap]\nunknown_source = false\n");
    assert_eq!(table(&off, &[CONFIGURATION, CLIENT, KEY]), "");
}

/// LQ-26
#[test]
fn full_masquerade_keeps_only_the_addresses_of_the_gateway() {
    let settings = format!("{SETTINGS}\n[remap]\nfull_masquerade = true\n");
    let table = table(&settings, &[CONFIGURATION, CLIENT, KEY]);
    assert!(table.contains("elements = { 10.70.0.2/31 }"), "{table}");
    assert!(table.contains("\t\tip daddr @tunnelled_ip snat ip to 10.70.0.1\n"), "{table}");
    assert!(!table.contains("nearby"), "{table}");
}

/// LQ-77
#[test]
fn workloads_are_untracked_where_that_is_asked_for() {
    let settings = format!("{SETTINGS}\n[remap]\nnotrack = true\n");
    let table = table(&settings, &[CONFIGURATION, CLIENT, KEY]);
    assert!(table.contains("\t\tip saddr @tunnelled_untracked_ip ip daddr @tunnelled_ip notrack\n"), "{table}");
    assert!(table.contains("\t\tip saddr @tunnelled_ip ip daddr @tunnelled_untracked_ip notrack\n"), "{table}");
}

/// LQ-25: both directions of a masqueraded host, towards a tunnel and towards a `direct` remote, which calls it otherwise.
#[test]
fn a_masqueraded_host_is_translated_both_ways() {
    let plan = planned(SETTINGS, &[CONFIGURATION, CLIENT, KEY, OUTSIDE]);
    let nat = plan.nat.unwrap();
    let (name, host) = nat.v4.inside.first_key_value().unwrap();
    assert_eq!(host.to_string(), "192.0.2.50");
    assert!(!plan.table.contains_key(&(*name).into()), "nothing rewrites it before");
    let text = nat.to_string();
    assert!(text.contains("ip saddr @tunnelled_ip dnat ip to ip daddr map @inside_ip\n"), "{text}");
    assert!(text.contains("ip saddr @tunnelled_ip ip daddr @masqueraded_ip masquerade\n"), "{text}");
    assert!(text.contains(&format!("elements = {{ 192.0.2.50 : {name} }}")), "{text}");

    let wide = mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]);
    let plan = planned(SETTINGS, &[&wide, &direct("192.0.2.2"), OUTSIDE]);
    let nat = plan.nat.unwrap();
    assert!(nat.v4.inside.keys().any(|name| name.to_string().starts_with("10.62.")), "{nat}");
    assert_eq!(nat.v4.direct.unknown.unwrap().address.to_string(), "10.62.0.1");
}
