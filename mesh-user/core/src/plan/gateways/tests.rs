//! What servers are given, and what clients are told.

use super::*;
use crate::{
    model::fixtures::{CLIENT, CONFIGURATION, KEY, SERVER, SETTINGS, facts, intent, of, valid},
    plan::{Plan, plan},
};

fn planned(manifests: &[&str], facts: &NodeFacts, previous: &Allocations) -> (Plan, Allocations) {
    plan(&valid(manifests), facts, previous).unwrap()
}

fn endpoint(plan: &Plan) -> &GatewayEndpoint {
    plan.gateways.values().next().unwrap()
}

fn ports(plan: &Plan, device: &str) -> Vec<u16> {
    plan.tunnels[&DeviceName(device.to_owned())].listen_ports.clone()
}

/// The server with these lines in its endpoint.
fn server(lines: &str) -> String {
    SERVER.replace("port: 51840\n    serviceType: NodePort", lines)
}

fn told(lines: &str) -> GatewayEndpoint {
    endpoint(&planned(&[CONFIGURATION, &server(lines), KEY], &facts(), &Allocations::default()).0).clone()
}

#[test]
fn a_node_port_is_chosen_once() {
    let (first, given) = planned(&[CONFIGURATION, SERVER, KEY], &facts(), &Allocations::default());
    let chosen = ports(&first, "mesh-cl02");
    assert!(chosen.len() == 1 && NODE_PORTS.contains(&chosen[0]), "{chosen:?}");
    assert_eq!(
        (&endpoint(&first).ports, endpoint(&first).addresses.as_slice()),
        (&chosen, ["192.0.2.1".parse().unwrap()].as_slice())
    );
    // Somebody else takes it meanwhile, another server comes, the gateway goes and comes: it stays.
    let mut busy = facts();
    busy.busy_ports.extend(NODE_PORTS);
    let (again, kept) = planned(&[CONFIGURATION, SERVER, KEY], &busy, &given);
    assert_eq!((ports(&again, "mesh-cl02"), &kept), (chosen.clone(), &given));
    let (without, kept) = planned(&[CONFIGURATION], &facts(), &given);
    assert!(without.gateways.is_empty() && kept.node_ports == given.node_ports);
    // Without the Configuration it is free.
    assert_eq!(planned(&[], &facts(), &kept).1.node_ports, BTreeMap::new());
    // What is busy is not chosen, and two servers have different ones.
    busy.busy_ports.clear();
    busy.busy_ports.extend(&chosen);
    let (other, _) = planned(&[CONFIGURATION, SERVER, KEY], &busy, &Allocations::default());
    assert_ne!(ports(&other, "mesh-cl02"), chosen);
}

#[test]
fn as_many_ports_as_lanes_and_no_port_twice() {
    let lanes = server("ports: [1, 2, 3]\n    serviceType: NodePort");
    let key =
        KEY.replace("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=");
    let two = [CONFIGURATION, &lanes, KEY, &of("cl03", CONFIGURATION), &of("cl03", &lanes), &of("cl03", &key)];
    let (three, given) = planned(&two, &facts(), &Allocations::default());
    let all: BTreeSet<u16> = [ports(&three, "mesh-cl02"), ports(&three, "mesh-cl03")].concat().into_iter().collect();
    assert_eq!(all.len(), 6);
    // Fewer lanes: the first ports stay. More: they are added.
    let before = ports(&three, "mesh-cl02");
    let (fewer, _) = planned(&[CONFIGURATION, SERVER, KEY], &facts(), &given);
    assert_eq!(ports(&fewer, "mesh-cl02"), before[..1]);
    let four = server("ports: [1, 2, 3, 4]\n    serviceType: NodePort");
    let (more, _) = planned(&[CONFIGURATION, &four, KEY], &facts(), &given);
    assert_eq!(ports(&more, "mesh-cl02")[..3], before);
    // A port that was chosen is not to be given to another.
    let fixed = of("cl03", &server(&format!("nodePort: {}\n    serviceType: NodePort", before[0])));
    let both = valid(&[CONFIGURATION, SERVER, KEY, &of("cl03", CONFIGURATION), &fixed]);
    let refused = plan(&both, &facts(), &given).unwrap_err().to_string();
    assert!(refused.contains("was given to the gateway server of cl02"), "{refused}");
}

#[test]
fn what_clients_are_told_by_service_type() {
    let words = |endpoint: &GatewayEndpoint| {
        let addresses: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
        format!("{} {:?} {:?}", addresses.join(","), endpoint.ports, endpoint.internal)
    };
    assert_eq!(words(&told("port: 5")), "192.0.2.1 [5] Some(10.243.0.1:5)");
    assert_eq!(words(&told("nodePort: 32009\n    serviceType: NodePort")), "192.0.2.1 [32009] Some(10.243.0.1:32009)");
    assert_eq!(words(&told("ports: [5, 6]\n    serviceType: ClusterIP")), "10.243.0.1 [5, 6] Some(10.243.0.1:5)");
    let given = told("serviceType: LoadBalancer\n    loadBalancerIP: 198.51.100.9");
    assert_eq!(words(&given), "198.51.100.9 [51840] Some(10.243.0.1:51840)");
    let without = told("serviceType: LoadBalancer").unassigned.unwrap();
    for word in ["advertise", "advertise_command", "load_balancer_pool", "--gw-server-service-type NodePort"] {
        assert!(without.contains(word), "{word} in {without}");
    }
}

#[test]
fn the_address_of_a_load_balancer_has_four_sources() {
    let balancer = server("serviceType: LoadBalancer");
    let told = |section: &str, facts: &NodeFacts, previous: &Allocations| {
        let settings = format!("{SETTINGS}[gateway]\n{section}");
        let valid = intent(&settings, &[CONFIGURATION, &balancer, KEY]).validate().unwrap();
        let (plan, given) = plan(&valid, facts, previous).unwrap();
        let endpoint = endpoint(&plan).clone();
        let addresses: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
        (addresses.join(","), endpoint.unassigned.unwrap_or_default(), plan, given)
    };
    let none = Allocations::default();
    let (addresses, ..) = told("advertise = [\"gw.example\", \"198.51.100.1\"]", &facts(), &none);
    assert_eq!(addresses, "gw.example,198.51.100.1");

    let command = "advertise_command = [\"/bin/x\"]";
    assert!(told(command, &facts(), &none).1.contains("did not end yet"));
    let mut said = facts();
    said.advertised = Some(Ok(vec!["198.51.100.2".parse().unwrap()]));
    assert_eq!(told(command, &said, &none).0, "198.51.100.2");
    said.advertised = Some(Err("/bin/x: not found".to_owned()));
    assert!(told(command, &said, &none).1.contains("not found"));

    let pool = "load_balancer_pool = [\"192.0.2.0/30\"]";
    let (addresses, _, plan, given) = told(pool, &facts(), &none);
    // The first one is that of the node itself.
    assert_eq!(addresses, "192.0.2.2");
    let address = plan.addresses.first().unwrap();
    assert_eq!((address.device.0.as_str(), address.address.to_string().as_str()), ("lo", "192.0.2.2/32"));
    let mut later = facts();
    later.interfaces.insert(DeviceName("lo".to_owned()), vec!["192.0.2.2/32".parse().unwrap()]);
    assert_eq!(told(pool, &later, &given).0, "192.0.2.2");
    let mut full = later;
    full.interfaces.insert(DeviceName("eth9".to_owned()), vec!["192.0.2.1/24".parse().unwrap()]);
    assert!(told(pool, &full, &none).1.contains("no free address"));
}

#[test]
fn a_private_server_is_bound_to_the_cluster_alone() {
    let bind = |lines: &str| {
        let (plan, _) = planned(&[CONFIGURATION, &server(lines), KEY], &facts(), &Allocations::default());
        plan.tunnels.values().next().unwrap().bind.clone()
    };
    assert_eq!(bind("serviceType: ClusterIP"), ["10.243.0.1".parse::<IpAddr>().unwrap()]);
    assert!(bind("serviceType: NodePort").is_empty() && bind("port: 5").is_empty());
}

#[test]
fn a_client_calls_all_that_its_names_stand_for() {
    let client = CLIENT.replace("- 172.19.0.8", "- gw.example\n    - 172.19.0.8");
    let mut facts = facts();
    let endpoints = |facts: &NodeFacts| {
        let (plan, _) = planned(&[CONFIGURATION, &client, KEY], facts, &Allocations::default());
        assert_eq!(endpoint(&plan).addresses.len(), 2);
        let peer = plan.tunnels.values().next().unwrap().peers.values().next().unwrap();
        peer.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(&facts), ["172.19.0.8:32009"]);
    let addresses = ["192.0.2.7", "172.19.0.8", "2001:db8::7"].map(|text| text.parse().unwrap());
    facts.names.insert("gw.example".to_owned(), addresses.into());
    assert_eq!(endpoints(&facts), ["192.0.2.7:32009", "172.19.0.8:32009", "[2001:db8::7]:32009"]);
}
