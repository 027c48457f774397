//! Requests about objects of the inter-cluster network: those that stand in files or in the store, and the Connections that
//! the daemon makes, each with the status that this node sees.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, PoisonError},
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::sse::{Event, Sse},
};
use futures_util::{Stream, stream::unfold};
use mesh_core::{
    api::{ClusterNetwork, ClusterReply, ObjectList, group::SCHEMA},
    model::{ObjectId, ObjectKind},
    registry::Edit,
    shown::{self, Known, Shown, Sights},
};
use serde_json::Value;

use super::{
    Api, Snapshot,
    caller::Caller,
    endpoint::{Endpoint, text},
    errors::Failure,
    manifests::{Scope, now},
    request::{Path, Query},
    status, streams,
};
use crate::control::{Outcome, Wish};

const DEFAULT_NAMESPACE: &str = "default";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/info", info, "This cluster: what it is called and which prefixes it has")
            .reply::<ClusterReply>(),
        Endpoint::get("/v1/objects/{kind}/watch", watch, "Objects of the inter-cluster network whenever one changes")
            .query("namespace", "Only in this namespace; absent: in all", text())
            .query("selector", "Only with these labels: k=v, k!=v or k, with commas between", text())
            .events::<Value>(),
    ]
}

/// Of a path below `/v1/objects`, if it is about objects of the inter-cluster network.
pub(super) fn kind_of_path(path: &str) -> Option<ObjectKind> {
    path.strip_prefix("/v1/objects/")?.split('/').next()?.parse().ok()
}

/// Has the control loop do what is wished.
pub(super) async fn fulfil(api: &Api, caller: &Caller, wish: Wish) -> Result<Outcome, Failure> {
    let ended = || {
        let hint = "see the log of meshd";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the control loop ended", hint)
    };
    api.wishes.ask(wish).await.ok_or_else(ended)?.map_err(|rejection| caller.told(rejection))
}

pub(super) fn list(
    api: &Api,
    caller: &Caller,
    kind: ObjectKind,
    name: Option<&str>,
    scope: &Scope,
) -> Result<Json<ObjectList>, Failure> {
    caller.sees_objects(&api.org)?;
    let selector: Selector = scope.selector.as_deref().unwrap_or_default().parse()?;
    let is_meant = |known: &Known| {
        let id = &known.object.id;
        name.is_none_or(|name| id.name == name)
            && scope.namespace.as_ref().is_none_or(|namespace| id.namespace == *namespace)
            && selector.selects(known)
    };
    let snapshot = Arc::clone(&api.snapshots.borrow());
    let all = shown(api, &snapshot, kind).into_iter();
    let objects: Vec<Value> = all.filter(|one| is_meant(&one.known)).map(|one| one.manifest).collect();
    match name {
        Some(name) if objects.is_empty() => Err(missing(kind, name, scope.namespace.as_deref())),
        _ => Ok(Json(ObjectList { schema: SCHEMA, kind: kind.to_string(), objects })),
    }
}

pub(super) async fn delete(
    api: &Api,
    caller: &Caller,
    kind: ObjectKind,
    name: String,
    scope: &Scope,
) -> Result<Json<ObjectList>, Failure> {
    caller.administers(&api.org)?;
    let namespace = scope.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let id = ObjectId { kind, namespace: namespace.to_owned(), name };
    let snapshot = Arc::clone(&api.snapshots.borrow());
    let found = shown(api, &snapshot, kind).into_iter().find(|one| one.known.object.id == id);
    let Some(Shown { known, manifest }) = found else {
        return Err(missing(kind, &id.name, Some(namespace)));
    };
    refuse_kept(&id, &known)?;
    let wish = Wish { edit: Edit::Delete(id), declarations: Vec::new(), dry_run: false };
    fulfil(api, caller, wish).await?;
    Ok(Json(ObjectList { schema: SCHEMA, kind: kind.to_string(), objects: vec![manifest] }))
}

/// Every object as an event `object`, then each that changed but for its counters; `deleted` with what it was.
async fn watch(
    State(api): State<Api>,
    caller: Caller,
    Path(kind): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let kind: ObjectKind = kind.parse().map_err(|_| Failure::not_found(format!("{kind:?} cannot be watched so")))?;
    caller.sees_objects(&api.org)?;
    let (namespace, selector) = (scope.namespace, scope.selector.as_deref().unwrap_or_default().parse()?);
    let (mut snapshots, mut reports) = (api.snapshots.clone(), api.reports.clone());
    // What is there is news at first.
    snapshots.mark_changed();
    reports.mark_unchanged();
    let watching = Watching { api, kind, namespace, selector, sent: BTreeMap::new(), events: VecDeque::new() };
    let begin = (watching, snapshots, reports);
    Ok(streams::stream(unfold(begin, async |(mut watching, mut snapshots, mut reports)| {
        loop {
            if let Some(event) = watching.events.pop_front() {
                return Some((event, (watching, snapshots, reports)));
            }
            tokio::select! {
                changed = snapshots.changed() => changed.ok()?,
                changed = reports.changed() => changed.ok()?,
            }
            watching.look();
        }
    })))
}

/// One reader of changes.
struct Watching {
    api: Api,
    kind: ObjectKind,
    namespace: Option<String>,
    selector: Selector,
    sent: BTreeMap<ObjectId, Value>,
    events: VecDeque<Event>,
}

impl Watching {
    fn look(&mut self) {
        let snapshot = Arc::clone(&self.api.snapshots.borrow());
        let all = shown(&self.api, &snapshot, self.kind).into_iter();
        let namespace = self.namespace.as_ref();
        let mut now: BTreeMap<ObjectId, Value> = all
            .filter(|one| namespace.is_none_or(|namespace| one.known.object.id.namespace == *namespace))
            .filter(|one| self.selector.selects(&one.known))
            .map(|one| (one.known.object.id.clone(), one.manifest))
            .collect();
        for (id, gone) in &self.sent {
            if !now.contains_key(id) {
                self.events.push_back(streams::event("deleted", gone));
            }
        }
        for (id, manifest) in &mut now {
            match self.sent.get(id).filter(|sent| calm(sent) == calm(manifest)) {
                // So that it is compared with what was sent, not with what was seen.
                Some(sent) => manifest.clone_from(sent),
                None => self.events.push_back(streams::event("object", manifest)),
            }
        }
        self.sent = now;
    }
}

/// Without what changes all the time.
fn calm(manifest: &Value) -> Value {
    let mut calm = manifest.clone();
    if let Some(status) = calm.get_mut("status").and_then(Value::as_object_mut) {
        for restless in ["latency", "rxBytes", "txBytes", "rxPackets", "txPackets", "lanes"] {
            status.remove(restless);
        }
    }
    calm
}

/// What stands elsewhere is deleted there.
fn refuse_kept(id: &ObjectId, known: &Known) -> Result<(), Failure> {
    if id.kind == ObjectKind::Connection {
        let hint = "delete the GatewayServer or GatewayClient that it is of";
        return Err(Failure::new(StatusCode::CONFLICT, "conflict", format!("{id} is made by the daemon"), hint));
    }
    let Some(file) = &known.file else { return Ok(()) };
    let message = format!("{id} stands in {file}, which alone may change it");
    Err(Failure::new(StatusCode::CONFLICT, "managed_by_file", message, "take it out of that file"))
}

/// All of a kind, in the order of namespaces and names.
fn shown(api: &Api, snapshot: &Snapshot, kind: ObjectKind) -> Vec<Shown> {
    let connections = status::connections(api, snapshot);
    let sights = Sights {
        objects: &snapshot.objects,
        intent: snapshot.intent.as_deref(),
        allocations: &snapshot.allocations,
        plan: &snapshot.plan,
        public_key: api.public_key,
        gateway_keys: &snapshot.gateway_keys,
        connections: &connections,
        problems: &snapshot.problems,
        now: now(),
    };
    // A panic elsewhere leaves each entry as it was.
    let mut transitions = api.transitions.lock().unwrap_or_else(PoisonError::into_inner);
    shown::shown(kind, &sights, &mut transitions)
}

async fn info(State(api): State<Api>, caller: Caller) -> Result<Json<ClusterReply>, Failure> {
    caller.sees_objects(&api.org)?;
    let snapshot = Arc::clone(&api.snapshots.borrow());
    Ok(Json(ClusterReply {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_id: api.cluster.clone(),
        node_id: api.node.clone(),
        public_key: api.public_key.to_string(),
        hub: api.hub.clone(),
        network: network(&snapshot),
    }))
}

fn network(snapshot: &Snapshot) -> ClusterNetwork {
    let Some(intent) = &snapshot.intent else {
        return ClusterNetwork { detail: "the first plan is not in force yet".to_owned(), ..ClusterNetwork::default() };
    };
    let cluster = &intent.cluster;
    let moved =
        |wishes: &[ipnet::IpNet]| wishes.iter().map(|net| *snapshot.allocations.own.get(net).unwrap_or(net)).collect();
    let detail = if cluster.pod.is_empty() {
        format!("{} gives no cidr.pod, so this node has no connections", intent.settings_file)
    } else {
        String::new()
    };
    ClusterNetwork {
        pod_cidrs: cluster.pod.clone(),
        service_cidrs: cluster.service.clone(),
        external_cidrs: moved(&cluster.external.cidrs),
        internal_cidrs: moved(&cluster.internal.cidrs),
        reserved_subnets: cluster.reserved.clone(),
        detail,
    }
}

fn missing(kind: ObjectKind, name: &str, namespace: Option<&str>) -> Failure {
    let place = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    let message = format!("there is no {kind} {name:?}{place}");
    let hint = format!("'meshctl get {} -A' lists those that are there", kind.plural());
    Failure::new(StatusCode::NOT_FOUND, "not_found", message, hint)
}

/// Labels that are wanted, all of them.
#[derive(Default)]
struct Selector(Vec<Term>);

enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
}

impl Selector {
    fn selects(&self, known: &Known) -> bool {
        let labels = &known.object.labels;
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
        })
    }
}

impl std::str::FromStr for Selector {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Selector, Failure> {
        let mut terms = Vec::new();
        for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            let of = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
            let parsed = match term.split_once("!=").map(of) {
                Some((key, value)) => Term::IsNot(key, value),
                None => match term.split_once("==").or_else(|| term.split_once('=')).map(of) {
                    Some((key, value)) => Term::Is(key, value),
                    None => Term::Has(term.to_owned()),
                },
            };
            let (Term::Is(key, _) | Term::IsNot(key, _) | Term::Has(key)) = &parsed;
            if key.is_empty() {
                return Err(Failure::invalid(format!("{term:?} names no label"), "write k=v, k!=v or k"));
            }
            terms.push(parsed);
        }
        Ok(Selector(terms))
    }
}
