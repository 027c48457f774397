//! The sequences, with two clusters that are made up: what they do in which order, what they find when they were
//! interrupted, and what they leave.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Instant,
};

use mesh_core::{
    api::{Action, Applied, ApplyReply, ClusterNetwork, ClusterReply, Status},
    model::ObjectKind,
};
use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    connect::{self, ClientWish, Wish},
    files::{self, Exchange},
    reading::text,
    report::{End, Report},
    side::Side,
    undo,
};
use crate::{
    exit::{Exit, Failure},
    manifest::{REMOTE_LABEL, ServerSpec, Service, TemplateRef},
    output::Form,
};

type Key = (&'static str, String, String);

/// A cluster whose daemon takes everything, gives each object the status that it would have, and may fail.
struct Fake {
    id: &'static str,
    objects: RefCell<BTreeMap<Key, Value>>,
    /// So many requests are answered before one is not.
    left: Cell<u32>,
    has_addresses: bool,
    changes: RefCell<Vec<String>>,
}

impl Fake {
    fn new(id: &'static str) -> Fake {
        let (objects, changes) = Default::default();
        Fake { id, objects, left: Cell::new(u32::MAX), has_addresses: true, changes }
    }

    fn asked(&self) -> Result<(), Failure> {
        let left = self.left.get();
        if left == 0 {
            return Err(Failure::new(Exit::Unreachable, "the connection broke", ""));
        }
        self.left.set(left - 1);
        Ok(())
    }

    fn key(manifest: &Value) -> Key {
        let kind: ObjectKind = text(manifest, "/kind").parse().unwrap();
        let namespace = manifest.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
        (kind.plural(), namespace.to_owned(), text(manifest, "/metadata/name").to_owned())
    }

    fn of_kind(&self, kind: ObjectKind) -> Vec<Value> {
        self.objects
            .borrow()
            .iter()
            .filter(|((plural, ..), _)| *plural == kind.plural())
            .map(|(_, o)| o.clone())
            .collect()
    }

    fn has(&self, kind: ObjectKind, remote: &str) -> bool {
        self.of_kind(kind).iter().any(|object| object["metadata"]["labels"][REMOTE_LABEL] == remote)
    }

    fn status_of(&self, kind: ObjectKind, object: &Value) -> Value {
        let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
            let status = if holds { "True" } else { "False" };
            json!({ "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1 })
        };
        let remote = object["metadata"]["labels"][REMOTE_LABEL].as_str().unwrap_or_default();
        match kind {
            ObjectKind::Configuration => json!({
                "remote": { "cidr": { "pod": ["10.71.0.0/16"], "external": ["10.68.0.0/16"] } },
                "conditions": [condition("NetworkCIDRsConfigured", true, "Remapped", "")],
            }),
            ObjectKind::GatewayServer => {
                let ready = self.has(ObjectKind::PublicKey, remote);
                let ready = condition("Ready", ready, "WaitsForPublicKey", "apply the PublicKey");
                if !self.has_addresses {
                    let message = "nothing says where it is reached: `advertise` or --gw-server-service-type NodePort";
                    return json!({ "conditions": [ready, condition("EndpointAssigned", false, "NoAddress", message)] });
                }
                let given = &object["spec"]["endpoint"];
                let port = given.get("nodePort").unwrap_or(&given["port"]);
                json!({
                    "endpoint": { "addresses": ["172.31.0.2"], "port": port, "protocol": "UDP" },
                    "conditions": [ready, condition("EndpointAssigned", true, "Assigned", "")],
                })
            }
            ObjectKind::GatewayClient => {
                let ready = self.has(ObjectKind::PublicKey, remote);
                json!({ "conditions": [condition("Ready", ready, "WaitsForPublicKey", "apply the PublicKey")] })
            }
            _ => Value::Null,
        }
    }

    fn connections(&self) -> Vec<Value> {
        let gateways = [ObjectKind::GatewayServer, ObjectKind::GatewayClient].map(|kind| self.of_kind(kind)).concat();
        let remotes = gateways.iter().map(|object| object["metadata"]["labels"][REMOTE_LABEL].as_str().unwrap());
        let complete = remotes.filter(|remote| self.has(ObjectKind::PublicKey, remote));
        complete
            .map(|remote| {
                json!({
                    "kind": "Connection", "metadata": { "name": remote, "namespace": "x" },
                    "status": { "value": "Connected", "latency": { "value": "420us" } },
                })
            })
            .collect()
    }
}

impl Cluster for Fake {
    fn place(&self) -> String {
        format!("/run/{}.sock", self.id)
    }

    fn info(&self) -> Result<ClusterReply, Failure> {
        self.asked()?;
        let nets = |text: &str| vec![text.parse().unwrap()];
        Ok(ClusterReply {
            schema: 1,
            version: "1".to_owned(),
            cluster_id: self.id.to_owned(),
            node_id: self.id.to_owned(),
            public_key: format!("key of {}", self.id),
            hub: None,
            network: ClusterNetwork {
                pod_cidrs: nets("10.243.0.0/16"),
                external_cidrs: nets("10.70.0.0/16"),
                ..ClusterNetwork::default()
            },
        })
    }

    fn status(&self) -> Result<Status, Failure> {
        self.asked()?;
        Ok(serde_json::from_value(json!({
            "schema": 1, "version": "1", "cluster": self.id, "public_key": "", "interfaces": [], "connections": [],
            "remaps": [], "drops": {}, "problems": [], "notices": [],
        }))
        .unwrap())
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Value>, Failure> {
        self.asked()?;
        Ok(match kind {
            ObjectKind::Connection => self.connections(),
            ObjectKind::WgGatewayServerTemplate | ObjectKind::WgGatewayClientTemplate => {
                let name =
                    if kind == ObjectKind::WgGatewayServerTemplate { "wireguard-server" } else { "wireguard-client" };
                let spec = json!({ "ports": ["{{ .Spec.Endpoint.NodePort }}"] });
                vec![json!({ "kind": kind.as_str(), "metadata": { "name": name, "namespace": "liqo" }, "spec": spec })]
            }
            kind => {
                let mut objects = self.of_kind(kind);
                for object in &mut objects {
                    object["status"] = self.status_of(kind, object);
                }
                objects
            }
        })
    }

    fn apply(&self, manifests: &[Value], dry_run: bool) -> Result<ApplyReply, Failure> {
        self.asked()?;
        let mut changes = Vec::new();
        for manifest in manifests {
            let key = Fake::key(manifest);
            let old = self.objects.borrow().get(&key).cloned();
            let action = match &old {
                None => Action::Created,
                Some(old) if old == manifest => Action::Unchanged,
                Some(_) => Action::Changed,
            };
            let (kind, name) = (text(manifest, "/kind").to_owned(), key.2.clone());
            if !dry_run && action != Action::Unchanged {
                self.changes.borrow_mut().push(format!("{action:?} {kind} {}/{name}", key.1));
                self.objects.borrow_mut().insert(key, manifest.clone());
            }
            changes.push(Applied { action, kind, name, diff: Vec::new() });
        }
        let reply = json!({ "schema": 1, "dryRun": dry_run, "changes": changes, "plan": [] });
        Ok(serde_json::from_value(reply).unwrap())
    }

    fn delete(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<bool, Failure> {
        self.asked()?;
        let key = (kind.plural(), namespace.to_owned(), name.to_owned());
        Ok(self.objects.borrow_mut().remove(&key).is_some())
    }
}

fn pair() -> [Fake; 2] {
    ["cl01", "cl02"].map(Fake::new)
}

fn side(end: End, fake: &Fake) -> Result<Side<'_>, Failure> {
    Side::alone(end, fake, Instant::now())
}

fn wish() -> Wish {
    let template = |kind, name: &str| TemplateRef { kind, name: name.to_owned(), namespace: "liqo".to_owned() };
    Wish {
        server_at: End::Remote,
        server: ServerSpec {
            service: Service::NodePort,
            port: 51_840,
            node_port: None,
            load_balancer_ip: None,
            lanes: 1,
            mtu: 1_340,
            template: template(ObjectKind::WgGatewayServerTemplate, "wireguard-server"),
        },
        client: ClientWish {
            address: None,
            port: None,
            template: template(ObjectKind::WgGatewayClientTemplate, "wireguard-client"),
            mtu: 1_340,
        },
        share_keys: true,
        validate: true,
        wait: true,
    }
}

/// The lines that were said, and how it ended.
fn connect([local, remote]: &[Fake; 2], wish: &Wish) -> (Vec<String>, Result<(), Failure>) {
    let mut report = Report::new(Form::Json, false);
    let done =
        side(End::Local, local).and_then(|local| connect::run(&local, &side(End::Remote, remote)?, wish, &mut report));
    (report.lines.iter().map(ToString::to_string).collect(), done)
}

fn objects(fakes: &[Fake; 2]) -> [Vec<Key>; 2] {
    fakes.each_ref().map(|fake| fake.objects.borrow().keys().cloned().collect())
}

fn changes(fakes: &[Fake; 2]) -> Vec<String> {
    let of = |fake: &Fake| {
        let changes: Vec<String> = fake.changes.borrow_mut().drain(..).collect();
        changes.into_iter().map(|change| format!("{}: {change}", fake.id)).collect::<Vec<_>>()
    };
    fakes.iter().flat_map(of).collect()
}

/// LQ-49: the steps of the documentation, in their order.
#[test]
fn the_steps_of_connect() {
    let fakes = pair();
    let (lines, done) = connect(&fakes, &wish());
    assert_eq!(done, Ok(()));
    let expected = [
        "(local) Network configuration of cl01 retrieved",
        "(remote) Network configuration of cl02 retrieved",
        "(local) Network configuration of cl02 set up",
        "(remote) Network configuration of cl01 set up",
        "(local) Configuration applied",
        "(remote) Configuration applied",
        "(remote) Gateway server template \"wireguard-server/liqo\" checked",
        "(local) Gateway client template \"wireguard-client/liqo\" checked",
        "(local) Network initialized: 10.243.0.0/16 is 10.71.0.0/16 here",
        "(remote) Network initialized",
        "(remote) Gateway server set up",
        "(remote) Gateway gw-cl01 is ready",
        "(remote) Gateway server Service created: 172.31.0.2, UDP port 51840",
        "(local) Gateway client set up",
        "(local) Gateway gw-cl02 is ready",
        "(remote) Gateway server key is there",
        "(local) Public key created",
        "(local) Gateway client key is there",
        "(remote) Public key created",
        "(remote) Connection created",
        "(local) Connection created",
        "(local) Connection is established (420us)",
        "(remote) Connection is established (420us)",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!(" INFO   {expected}")), "{line:?} is not {expected:?}");
    }
    let client = &fakes[0].objects.borrow()[&("gatewayclients", "liqo-tenant-cl02".to_owned(), "cl02".to_owned())];
    let endpoint = json!({ "addresses": ["172.31.0.2"], "port": 51_840, "protocol": "UDP" });
    assert_eq!(client["spec"]["endpoint"], endpoint);
}

/// LQ-51: nothing changes the second time; a parameter changes in place.
#[test]
fn connect_again_changes_what_is_said_anew() {
    let fakes = pair();
    assert_eq!(connect(&fakes, &wish()).1, Ok(()));
    changes(&fakes);
    assert_eq!(connect(&fakes, &wish()).1, Ok(()));
    assert_eq!(changes(&fakes), Vec::<String>::new());
    let mut other = wish();
    other.server.node_port = Some(32_009);
    assert_eq!(connect(&fakes, &other).1, Ok(()));
    let expected =
        ["cl01: Changed GatewayClient liqo-tenant-cl02/cl02", "cl02: Changed GatewayServer liqo-tenant-cl01/cl01"];
    assert_eq!(changes(&fakes), expected);
    // Both ends and both keys have the new MTU before a connection uses it.
    (other.server.mtu, other.client.mtu) = (1_400, 1_400);
    assert_eq!(connect(&fakes, &other).1, Ok(()));
    for fake in &fakes {
        let keys = fake.of_kind(ObjectKind::PublicKey);
        assert_eq!(keys[0]["metadata"]["annotations"]["mesh/mtu"], "1400", "{}", fake.id);
    }
}

/// LQ-47: keys that admins exchange by other means are not touched.
#[test]
fn keys_are_shared_unless_told_otherwise() {
    let fakes = pair();
    let alone = Wish { share_keys: false, wait: false, ..wish() };
    let (lines, _) = connect(&fakes, &alone);
    assert!(!lines.iter().any(|line| line.contains("Public key")), "{lines:#?}");
    for fake in &fakes {
        assert!(fake.of_kind(ObjectKind::PublicKey).is_empty(), "{}", fake.id);
        assert_eq!(fake.of_kind(ObjectKind::Configuration).len(), 1, "{}", fake.id);
    }
}

/// LQ-48: what every object is to be marked with.
#[test]
fn global_labels_and_annotations_are_on_every_object() {
    let fakes = pair();
    let mut report = Report::new(Form::Json, false);
    let marked = |end, fake| {
        let side = Side::alone(end, fake, Instant::now()).unwrap();
        let text = |name: &str| [(name.to_owned(), "net".to_owned())].into();
        Side { labels: text("team"), annotations: text("owner"), ..side }
    };
    let (local, remote) = (marked(End::Local, &fakes[0]), marked(End::Remote, &fakes[1]));
    assert_eq!(connect::run(&local, &remote, &wish(), &mut report), Ok(()));
    for object in fakes.iter().flat_map(|fake| fake.objects.borrow().values().cloned().collect::<Vec<_>>()) {
        let metadata = &object["metadata"];
        assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["owner"]), (&json!("net"), &json!("net")));
    }
}

/// LQ-51: wherever it is interrupted, the same command goes on.
#[test]
fn an_interrupted_connect_goes_on() {
    let whole = pair();
    assert_eq!(connect(&whole, &wish()).1, Ok(()));
    let mut interrupted = 0;
    for broken in 0..2 {
        for after in 0.. {
            let fakes = pair();
            fakes[broken].left.set(after);
            let (lines, done) = connect(&fakes, &wish());
            let Err(failure) = done else { break };
            interrupted += 1;
            assert_eq!(failure.exit, Exit::Unreachable, "{lines:#?}");
            fakes[broken].left.set(u32::MAX);
            assert_eq!(connect(&fakes, &wish()).1, Ok(()), "after {after} requests to {}", fakes[broken].id);
            assert_eq!(objects(&fakes), objects(&whole), "after {after} requests to {}", fakes[broken].id);
        }
    }
    assert!(interrupted > 30, "{interrupted}");
}

/// LQ-50, LQ-51: the server may be here; one that is here already serves whatever is asked for.
#[test]
fn roles_are_reversed_and_a_reversed_gateway_is_used() {
    let fakes = pair();
    let mut reversed = wish();
    reversed.server_at = End::Local;
    assert_eq!(connect(&fakes, &reversed).1, Ok(()));
    assert!(fakes[0].has(ObjectKind::GatewayServer, "cl02") && fakes[1].has(ObjectKind::GatewayClient, "cl01"));
    changes(&fakes);
    let mut other = wish();
    other.server.node_port = Some(32_009);
    let (lines, done) = connect(&fakes, &other);
    assert_eq!(done, Ok(()));
    assert!(lines.iter().any(|line| line.contains("(local) The gateway for cl02 is the server already")), "{lines:#?}");
    assert_eq!(changes(&fakes), Vec::<String>::new());
}

/// Objects that somebody made under other names are used, and keep what is not ours to say.
#[test]
fn objects_that_are_there_are_used() {
    let fakes = pair();
    let spec = json!({ "endpoint": { "port": 1_000 }, "secretRef": { "name": "own" } });
    let labels = json!({ REMOTE_LABEL: "cl01", "team": "net" });
    let metadata = json!({ "name": "server", "namespace": "default", "labels": labels });
    let server = json!({ "apiVersion": "v", "kind": "GatewayServer", "metadata": metadata, "spec": spec });
    fakes[1].apply(&[server], false).unwrap();
    // Its own key is not there yet, and that of the node is not taken instead.
    let (_, done) = connect(&fakes, &wish());
    let failure = done.unwrap_err();
    assert_eq!(failure.exit, Exit::Timeout);
    let message = &failure.error.message;
    assert!(
        message.starts_with("(remote) key, meshd on /run/cl02.sock: ") && message.contains("default/server"),
        "{message}"
    );
    let servers = fakes[1].of_kind(ObjectKind::GatewayServer);
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0]["spec"]["secretRef"]["name"], "own");
    assert_eq!(servers[0]["metadata"]["labels"]["team"], "net");
    assert_eq!(servers[0]["spec"]["endpoint"]["port"], 51_840);
}

/// LQ-41: it is of no use to wait for an address that nothing gives.
#[test]
fn a_server_without_an_address_fails_at_once() {
    let [local, remote] = pair();
    let fakes = [local, Fake { has_addresses: false, ..remote }];
    let failure = connect(&fakes, &wish()).1.unwrap_err();
    assert_eq!(failure.exit, Exit::Conflict);
    let message = failure.error.message;
    assert!(message.starts_with("(remote) gateway server endpoint, meshd on /run/cl02.sock: "), "{message}");
    assert!(message.contains("advertise") && message.contains("--gw-server-service-type NodePort"), "{message}");
}

/// LQ-48: a field that the template does not use is found before anything is made of it.
#[test]
fn templates_are_checked() {
    let fakes = pair();
    let mut other = wish();
    other.server.load_balancer_ip = Some("192.0.2.7".parse().unwrap());
    let failure = connect(&fakes, &other).1.unwrap_err();
    assert!(failure.error.message.contains("does not use .Spec.Endpoint.loadBalancerIP"), "{failure:?}");
    other.validate = false;
    assert_eq!(connect(&fakes, &other).1, Ok(()));
    let mut absent = wish();
    absent.client.template.name = "other".to_owned();
    let failure = connect(&fakes, &absent).1.unwrap_err();
    assert_eq!(failure.exit, Exit::NotFound, "{failure:?}");
}

/// LQ-52, LQ-53, LQ-27.
#[test]
fn disconnect_keeps_what_reset_removes() {
    let fakes = pair();
    assert_eq!(connect(&fakes, &wish()).1, Ok(()));
    let undo = |is_reset: bool| {
        let (local, remote) = (side(End::Local, &fakes[0]).unwrap(), side(End::Remote, &fakes[1]).unwrap());
        let sides = undo::sides(&local, Some(&remote), remote.id());
        let mut report = Report::new(Form::Json, false);
        let done = match is_reset {
            true => undo::reset(&sides, &mut report),
            false => undo::disconnect(&sides, true, &mut report),
        };
        assert_eq!(done, Ok(()));
        report.lines.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let lines = undo(false);
    assert_eq!(lines[..2], [" INFO   (local) Gateway client deleted", " INFO   (remote) Gateway server deleted"]);
    assert!(fakes.iter().all(|fake| !fake.of_kind(ObjectKind::Configuration).is_empty()));
    undo(false);
    assert_eq!(connect(&fakes, &wish()).1, Ok(()));
    let lines = undo(true);
    let last = lines.last().unwrap();
    assert!(last.starts_with(" INFO   (remote) Nothing of cl01 is left"), "{lines:#?}");
    assert_eq!(objects(&fakes), [Vec::new(), Vec::new()]);
    undo(true);
}

/// LQ-61: two admins with one directory; neither asks the other's daemon.
#[test]
fn two_admins_exchange_files() {
    let folder = tempfile::tempdir().unwrap();
    let fakes = pair();
    let mut server_wish = wish();
    server_wish.server_at = End::Local;
    let mut client_wish = wish();
    (server_wish.wait, client_wish.wait) = (false, false);
    let run = |fake: &Fake, wish: &Wish| {
        let exchange = Exchange { directory: folder.path(), remote: None };
        let mut report = Report::new(Form::Json, false);
        files::connect(&side(End::Local, fake).unwrap(), &exchange, wish, &mut report)
    };
    let waits = |done: Result<(), Failure>, what: &str| {
        let failure = done.unwrap_err();
        assert_eq!((failure.exit, failure.error.message.contains(what)), (Exit::Waiting, true), "{failure:?}");
    };
    waits(run(&fakes[0], &client_wish), "Configuration");
    // The client's key is there already, so that the server's admin needs to run it once only.
    assert_eq!(run(&fakes[1], &server_wish), Ok(()));
    assert_eq!(run(&fakes[0], &client_wish), Ok(()));
    assert_eq!(fakes[0].connections().len() + fakes[1].connections().len(), 2);
    changes(&fakes);
    assert_eq!(run(&fakes[0], &client_wish), Ok(()));
    assert_eq!(changes(&fakes), Vec::<String>::new());
    let client = &fakes[0].of_kind(ObjectKind::GatewayClient)[0];
    assert_eq!(client["spec"]["endpoint"]["addresses"], json!(["172.31.0.2"]));
    // An admin who applies our files instead gets the same server.
    let third = Fake::new("cl03");
    for part in ["configuration", "gatewayserver", "publickey"] {
        let file = std::fs::read_to_string(folder.path().join(format!("cl01-{part}.yaml"))).unwrap();
        third.apply(&serde_saphyr::from_multiple::<Value>(&file).unwrap(), false).unwrap();
    }
    assert_eq!(third.connections().len(), 1);
    let exchange = Exchange { directory: folder.path(), remote: Some("cl02") };
    let mut report = Report::new(Form::Json, false);
    exchange.withdraw(&side(End::Local, &fakes[0]).unwrap(), &mut report).unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name.to_str().unwrap().starts_with("cl02-")), "{left:?}");
}
