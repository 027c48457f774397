//! What do hosts outside the cluster become in a plan?

use super::*;
use crate::{
    model::fixtures::{CLIENT, CONFIGURATION, KEY, SETTINGS, facts, intent, mesh_wide, of},
    plan::{check, plan},
};

fn host(name: &str, address: &str) -> String {
    let head = "apiVersion: ipam.liqo.io/v1alpha1\nkind: IP\nmetadata:\n  name: ";
    format!("{head}{name}\nspec:\n  ip: {address}\n")
}

fn planned(settings: &str, manifests: &[&str], previous: &Allocations) -> Result<(Plan, Allocations), Problems> {
    let made = plan(&intent(settings, manifests).validate()?, &facts(), previous)?;
    assert_eq!(check(&made.0), [], "{}", made.0);
    Ok(made)
}

/// LQ-25: one entry a direction, and no connection tracking.
#[test]
fn a_host_is_rewritten_both_ways_by_the_one_table() {
    let manifests = [CONFIGURATION, CLIENT, KEY, &host("db", "192.0.2.50")];
    let (plan, given) = planned(SETTINGS, &manifests, &Allocations::default()).unwrap();
    let name = given.outside[0].address;
    let (to_host, from_host) = (plan.table[&IpNet::from(name)], plan.table[&"192.0.2.50/32".parse::<IpNet>().unwrap()]);
    assert_eq!((to_host.to.to_string(), to_host.role), ("192.0.2.50/32".to_owned(), Role::PRESENTED));
    assert!(from_host.role.is_outside() && from_host.to == IpNet::from(name));
    assert!(plan.nat.is_some_and(|nat| nat.v4.inside.is_empty()));
    let (plan, _) = planned(SETTINGS, &[CONFIGURATION, &host("db", "192.0.2.50")], &given).unwrap();
    assert!(!plan.table.contains_key(&IpNet::from(name)), "without a connection nothing is rewritten");
}

/// LQ-25, LQ-27: whatever came first, and over restarts; a host that is gone frees its address.
#[test]
fn an_address_follows_from_the_name_and_stays() {
    let hosts: Vec<String> = (1..40).map(|n| host(&format!("host-{n}"), &format!("198.51.100.{n}"))).collect();
    let all: Vec<&str> = std::iter::once(CONFIGURATION).chain(hosts.iter().map(String::as_str)).collect();
    let reversed: Vec<&str> = all.iter().rev().copied().collect();
    let (_, given) = planned(SETTINGS, &all, &Allocations::default()).unwrap();
    assert_eq!(planned(SETTINGS, &reversed, &Allocations::default()).unwrap().1.outside, given.outside);
    assert_eq!(planned(SETTINGS, &all, &given).unwrap().1.outside, given.outside);
    let distinct: BTreeSet<IpAddr> = given.outside.iter().map(|share| share.address).collect();
    assert_eq!(distinct.len(), 39);
    assert!(distinct.iter().all(|address| *address >= "10.70.0.25".parse::<IpAddr>().unwrap()), "{distinct:?}");
    let (_, fewer) = planned(SETTINGS, &all[..20], &given).unwrap();
    assert_eq!(fewer.outside.len(), 19);
    assert!(fewer.outside.iter().all(|share| given.outside.contains(share)), "the others stay where they were");
}

#[test]
fn a_small_external_cidr_is_used_up_and_no_reserved_address_is_given() {
    let settings = SETTINGS.replace("pod =", "external = [\"10.90.0.0/29\"]\npod =");
    let hosts: Vec<String> = (1..5).map(|n| host(&format!("host-{n}"), &format!("198.51.100.{n}"))).collect();
    let three: Vec<&str> = hosts.iter().take(3).map(String::as_str).collect();
    let (_, given) = planned(&settings, &three, &Allocations::default()).unwrap();
    let shown: BTreeSet<String> = given.outside.iter().map(|share| share.address.to_string()).collect();
    assert_eq!(shown, ["10.90.0.4", "10.90.0.5", "10.90.0.6"].map(str::to_owned).into());
    let all: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let refusal = planned(&settings, &all, &given).unwrap_err().to_string();
    assert!(refusal.contains("10.90.0.0/29 has no free address"), "{refusal}");
}

#[test]
fn hosts_that_cannot_be_are_refused() {
    let refused = |manifests: &[&str]| planned(SETTINGS, manifests, &Allocations::default()).unwrap_err().to_string();
    let says = |told: String, expected: &str| assert!(told.contains(expected), "{told}");
    says(refused(&[&host("a", "192.0.2.50"), &host("b", "192.0.2.50")]), "has an address already, by IP default/a");
    says(refused(&[&host("a", "10.243.7.7")]), "lies in 10.243.0.0/16 of this cluster");
    says(refused(&[&host("a", "10.70.7.7")]), "lies in 10.70.0.0/16 of this cluster");
    says(refused(&[&host("a", "2001:db8::7")]), "no external CIDR of IPv6");
    let manifests = [CONFIGURATION, &host("a", "10.71.3.4")];
    says(refused(&manifests), "10.71.3.4 lies in 10.71.0.0/16, the prefix of cl02: remotes may not reach each other");
}

/// LQ-79: the host is a workload of another remote.
#[test]
fn a_host_of_another_remote_is_reached_where_that_is_allowed() {
    let settings = format!("{SETTINGS}\n[remap]\ndeny_direct_connections = false\n");
    let more = [of("cl03", CONFIGURATION), of("cl03", CLIENT), of("cl03", KEY).replace("BwcH", "BwgH")];
    let leaf = host("leaf", "10.71.3.4");
    let manifests = [CONFIGURATION, CLIENT, KEY, &more[0], &more[1], &more[2], &leaf];
    let (plan, given) = planned(&settings, &manifests, &Allocations::default()).unwrap();
    assert!(!plan.table.contains_key(&IpNet::from(given.outside[0].address)));
    let nat = plan.nat.unwrap();
    assert_eq!(nat.v4.inside.len(), 1);
    assert!(nat.v4.masqueraded.is_empty() && nat.v4.tunnelled.outside.is_empty(), "it sees our unknown source");
}

/// Remotes that call us by different names: only connection tracking knows which one each uses.
#[test]
fn mixed_names_are_tracked() {
    let wide = mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]);
    let more = [of("cl03", CONFIGURATION), of("cl03", CLIENT), of("cl03", KEY).replace("BwcH", "BwgH")];
    let host = host("db", "192.0.2.50");
    let (plan, given) = planned(SETTINGS, &[&wide, CLIENT, KEY, &host], &Allocations::default()).unwrap();
    let name = IpNet::from(given.outside[0].address);
    assert_eq!(plan.table[&"192.0.2.50/32".parse::<IpNet>().unwrap()].to.to_string().split('.').nth(1), Some("62"));
    assert!(plan.table.contains_key(&name));
    let manifests = [&wide, CLIENT, KEY, &more[0], &more[1], &more[2], &host];
    let (plan, _) = planned(SETTINGS, &manifests, &given).unwrap();
    assert!(!plan.table.contains_key(&name));
    assert!(plan.nat.is_some_and(|nat| nat.v4.masqueraded.is_empty() && nat.v4.tunnelled.outside.len() == 1));
}
