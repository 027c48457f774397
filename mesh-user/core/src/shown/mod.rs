//! How is an object of the inter-cluster network shown? Its manifest as it stands in a file or in the store, with what this
//! node sees of it as `status`.

mod addresses;
mod conditions;
mod configuration;
mod connection;
mod gateway;
mod public_key;

use std::{collections::BTreeMap, sync::Arc};

use blake2::{Blake2s256, Digest};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    allocate::Allocations,
    api::{Condition, Connection},
    model::{
        ClusterId, ClusterObject, Manifest, ObjectId, ObjectKind, ObjectName, Place, Problems, REMOTE_LABEL,
        ValidIntent, document::Document, group::ManagedBy,
    },
    plan::{GatewayEndpoint, Plan, PublicKey},
    registry::Stored,
    template,
};
pub use conditions::Transitions;
use conditions::{Statement, holds, waiting};

/// An object that stands somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub object: Arc<ClusterObject>,
    /// Where it stands, if that is no store.
    pub file: Option<String>,
    /// Another one whenever the object is another.
    pub version: String,
}

/// Everything that stands in the manifests and in the store, and the built-in templates; what cannot be read is left out.
/// `modified` says when a file was written, in seconds since the epoch. An object that stands in both is shown as in the
/// file; the two together are refused.
pub fn known(
    manifests: &[Manifest],
    modified: impl Fn(&str) -> u64,
    stored: &BTreeMap<ObjectId, Stored<ClusterObject>>,
) -> BTreeMap<ObjectId, Known> {
    let of_store = |(id, stored): (&ObjectId, &Stored<ClusterObject>)| {
        let (object, version) = (Arc::clone(&stored.object), stored.modified.0.to_string());
        (id.clone(), Known { object, file: None, version })
    };
    let mut known: BTreeMap<ObjectId, Known> = stored.iter().map(of_store).collect();
    for Manifest { file, text } in manifests.iter().chain([&template::builtin()]) {
        let documents = Document::read_all(file, text, &mut Problems::default());
        known.extend(documents.into_iter().map(|document| (document.id.clone(), of_file(document, modified(file)))));
    }
    known
}

fn of_file(document: Document, created: u64) -> Known {
    let spec = document.raw_spec();
    let hash = Blake2s256::digest(json!([document.labels, document.annotations, spec]).to_string());
    let version = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let Document { id, uid, place, labels, annotations, .. } = document;
    let managed_by = ManagedBy::File;
    let object = ClusterObject { id, uid, created, generation: 1, labels, annotations, spec, managed_by };
    Known { object: Arc::new(object), file: Some(place.file), version }
}

/// What a node sees of objects.
#[derive(Clone, Copy, Debug)]
pub struct Sights<'a> {
    pub objects: &'a BTreeMap<ObjectId, Known>,
    /// In force; `None` before the first plan.
    pub intent: Option<&'a ValidIntent>,
    pub allocations: &'a Allocations,
    pub plan: &'a Plan,
    /// Of this node, and of the secrets that gateways name.
    pub public_key: PublicKey,
    pub gateway_keys: &'a BTreeMap<String, PublicKey>,
    /// As the connections of the plan are now.
    pub connections: &'a [Connection],
    /// Why what stands there is not in force, and what stands in the way of what is; one line each.
    pub problems: &'a [String],
    /// Seconds since the epoch.
    pub now: u64,
}

/// One object as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub known: Known,
    pub manifest: Value,
}

/// All objects of a kind, in the order of namespaces and names.
pub fn shown(kind: ObjectKind, sights: &Sights<'_>, transitions: &mut Transitions) -> Vec<Shown> {
    let of_kind: Vec<Known> = match kind {
        ObjectKind::Connection => connection::all(sights),
        _ => sights.objects.values().filter(|known| known.object.id.kind == kind).cloned().collect(),
    };
    let show = |known: Known| {
        let Status { fields, conditions, seen } = status(&known, sights);
        let mut status = fields;
        let conditions = transitions.dated(&known.object, conditions, seen, sights.now);
        if conditions != json!([]) {
            status.insert("conditions".to_owned(), conditions);
        }
        let status = if status.is_empty() { Value::Null } else { status.into() };
        Shown { manifest: known.manifest(status), known }
    };
    let shown: Vec<Shown> = of_kind.into_iter().map(show).collect();
    transitions.keep(|id| id.kind != kind || shown.iter().any(|one| one.known.object.id == *id));
    shown
}

/// What is seen of one object.
#[derive(Default)]
struct Status {
    fields: Map<String, Value>,
    conditions: Vec<Statement>,
    /// Conditions of which somebody else knows since when they hold.
    seen: Vec<Condition>,
}

fn status(known: &Known, sights: &Sights<'_>) -> Status {
    match known.object.id.kind {
        ObjectKind::Configuration => configuration::status(known, sights),
        ObjectKind::GatewayServer | ObjectKind::GatewayClient => gateway::status(known, sights),
        ObjectKind::PublicKey => public_key::status(known, sights),
        ObjectKind::Connection => connection::status(known, sights),
        ObjectKind::Network => addresses::network(known, sights),
        ObjectKind::Ip => addresses::ip(known, sights),
        ObjectKind::WgGatewayServerTemplate | ObjectKind::WgGatewayClientTemplate => Status::default(),
    }
}

impl Sights<'_> {
    /// Where the gateway is reached, if it is in force.
    fn gateway(&self, known: &Known) -> Option<&GatewayEndpoint> {
        let found = self.plan.gateways.iter().find(|(name, _)| known.is_called(name));
        found.map(|(_, endpoint)| endpoint)
    }

    /// What is wrong with the object itself, as far as it was told.
    fn problem(&self, known: &Known) -> Option<&str> {
        let name = known.object.id.to_string();
        // The name may be the beginning of another.
        let names = |line: &str| {
            line.match_indices(&name).any(|(at, _)| {
                let next = line[at + name.len()..].chars().next();
                next.is_none_or(|next| !next.is_ascii_alphanumeric() && !matches!(next, '-' | '.'))
            })
        };
        self.problems.iter().map(String::as_str).find(|line| names(line))
    }
}

impl Status {
    fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.fields.insert(field.to_owned(), value.into());
    }
}

impl Known {
    /// The remote cluster that it is about.
    fn remote(&self) -> Option<ClusterId> {
        self.object.labels.get(REMOTE_LABEL)?.parse().ok()
    }

    fn is_at(&self, place: &Place) -> bool {
        place.object.as_ref().is_some_and(|object| self.is_called(object))
    }

    fn is_called(&self, name: &ObjectName) -> bool {
        let id = &self.object.id;
        name.kind == id.kind.as_str() && name.namespace == id.namespace && name.name == id.name
    }

    /// `status` is left out where it is null.
    pub fn manifest(&self, status: Value) -> Value {
        let ClusterObject { id, uid, created, generation, labels, annotations, spec, .. } = &*self.object;
        let mut metadata = json!({
            "name": id.name, "namespace": id.namespace, "uid": uid, "creationTimestamp": time(*created),
            "generation": generation, "resourceVersion": self.version,
        });
        for (field, texts) in [("labels", labels), ("annotations", annotations)] {
            if !texts.is_empty() {
                metadata[field] = json!(texts);
            }
        }
        let mut manifest = Map::new();
        manifest.insert("apiVersion".to_owned(), id.kind.api_version().into());
        manifest.insert("kind".to_owned(), id.kind.as_str().into());
        manifest.insert("metadata".to_owned(), metadata);
        manifest.insert("spec".to_owned(), spec.clone());
        if !status.is_null() {
            manifest.insert("status".to_owned(), status);
        }
        manifest.into()
    }
}

/// RFC 3339, UTC, of seconds since the epoch.
pub fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
