//! What is shown of objects, and since when.

use super::*;
use crate::{
    model::fixtures::{CLIENT, CONFIGURATION, KEY, OWN_KEY, SERVER, facts, intent},
    plan::plan,
};

const SETTINGS: &str = crate::model::fixtures::SETTINGS;

/// The objects of these manifests on a node that has planned them.
struct Node {
    objects: BTreeMap<ObjectId, Known>,
    intent: ValidIntent,
    allocations: Allocations,
    plan: Plan,
    transitions: Transitions,
}

impl Node {
    fn new(texts: &[&str]) -> Node {
        let intent = intent(SETTINGS, texts);
        let objects = known(&intent.manifests, |_| 1_000_000_000, &BTreeMap::new());
        let intent = intent.validate().unwrap();
        let (plan, allocations) = plan(&intent, &facts(), &Allocations::default()).unwrap();
        Node { objects, intent, allocations, plan, transitions: Transitions::default() }
    }

    fn look(&mut self, kind: ObjectKind, problems: &[String], now: u64) -> Vec<Value> {
        let sights = Sights {
            objects: &self.objects,
            intent: Some(&self.intent),
            allocations: &self.allocations,
            plan: &self.plan,
            public_key: OWN_KEY,
            gateway_keys: &BTreeMap::new(),
            connections: &[],
            problems,
            now,
        };
        shown(kind, &sights, &mut self.transitions).into_iter().map(|one| one.manifest).collect()
    }

    fn condition(&mut self, kind: ObjectKind, number: usize) -> (String, String) {
        let shown = self.look(kind, &[], 0);
        let condition = &shown[0]["status"]["conditions"][number];
        (condition["status"].as_str().unwrap().to_owned(), condition["reason"].as_str().unwrap().to_owned())
    }
}

/// LQ-03: index by index.
#[test]
fn a_configuration_shows_what_its_prefixes_are_called() {
    let two = CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: [10.50.0.0/16, 10.243.0.0/16]");
    let shown = &Node::new(&[&two]).look(ObjectKind::Configuration, &[], 0)[0];
    let cidr = json!({ "pod": ["10.50.0.0/16", "10.51.0.0/16"], "external": ["10.48.0.0/16"] });
    assert_eq!(shown["status"]["remote"]["cidr"], cidr);
    assert_eq!(shown["metadata"]["creationTimestamp"], "2001-09-09T01:46:40Z");
    assert_eq!(shown["metadata"]["labels"], json!({ "liqo.io/remote-cluster-id": "cl02" }));
}

#[test]
fn gateways_say_what_they_wait_for() {
    let server = ObjectKind::GatewayServer;
    let of = |reason: &str, status: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(Node::new(&[SERVER]).condition(server, 1), of("WaitsForConfiguration", "False"));
    assert_eq!(Node::new(&[SERVER, CONFIGURATION]).condition(server, 1), of("WaitsForPublicKey", "True"));
    assert_eq!(Node::new(&[SERVER, CONFIGURATION, KEY]).condition(server, 1), of("Connection", "True"));
    let key = ObjectKind::PublicKey;
    assert_eq!(Node::new(&[KEY]).condition(key, 0), of("WaitsForConfiguration", "False"));
    assert_eq!(Node::new(&[KEY, CONFIGURATION]).condition(key, 0), of("Accepted", "True"));
}

/// LQ-09: there is one of each gateway that has what it needs.
#[test]
fn connections_come_with_gateway_configuration_and_key() {
    assert_eq!(Node::new(&[CLIENT, CONFIGURATION]).look(ObjectKind::Connection, &[], 0), [] as [Value; 0]);
    let shown = Node::new(&[CLIENT, CONFIGURATION, KEY]).look(ObjectKind::Connection, &[], 0);
    assert_eq!((&shown[0]["metadata"]["name"], &shown[0]["spec"]["type"]), (&json!("cl02"), &json!("Client")));
    assert_eq!(shown[0]["spec"]["gatewayRef"]["kind"], "GatewayClient");
}

#[test]
fn a_condition_has_the_time_at_which_it_became_so() {
    let mut node = Node::new(&[CONFIGURATION]);
    let other = ["a.yaml: Configuration default/dry-paper-2: spec: no".to_owned()];
    let own = ["a.yaml: Configuration default/dry-paper: spec: no".to_owned()];
    let mut look = |problems: &[String], now| {
        let shown = node.look(ObjectKind::Configuration, problems, now).remove(0);
        let condition = &shown["status"]["conditions"][0];
        (condition["status"].as_str().unwrap().to_owned(), condition["lastTransitionTime"].as_str().unwrap().to_owned())
    };
    let at = |status: &str, seconds| (status.to_owned(), time(seconds));
    assert_eq!(look(&[], 10), at("True", 10));
    assert_eq!(look(&other, 20), at("True", 10), "a problem of another object");
    assert_eq!(look(&own, 30), at("False", 30));
    assert_eq!(look(&own, 40), at("False", 30));
    assert_eq!(look(&[], 50), at("True", 50));
}

#[test]
fn an_object_of_a_file_is_the_same_whenever_it_is_read() {
    let version = |text: &str| {
        let objects = known(&intent(SETTINGS, &[text]).manifests, |_| 7, &BTreeMap::new());
        let one = objects.into_values().find(|known| known.object.id.kind == ObjectKind::Configuration).unwrap();
        (one.object.uid, one.version)
    };
    let (first, again) = (version(CONFIGURATION), version(&format!("# more\n{CONFIGURATION}")));
    assert_eq!(first, again);
    let changed = version(&CONFIGURATION.replace("10.243", "10.9"));
    assert!(changed.0 == first.0 && changed.1 != first.1);
    assert_ne!(version(&CONFIGURATION.replace("dry-paper", "other")).0, first.0);
}
