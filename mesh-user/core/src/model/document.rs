//! One manifest: which object it is, before anyone looks at what it says.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    cluster_id::ClusterId,
    object::{ClusterObject, ObjectId, ObjectKind, is_name, is_namespace},
    problem::{ObjectName, Problem, Problems},
    tree::{Fields, Sink},
};
use crate::registry::declare::kind::ALL as GROUP_KINDS;

pub const API_VERSION: &str = "networking.liqo.io/v1beta1";
/// Of network groups and what is in them: [`crate::registry::Declaration`] reads those.
pub const GROUPS_API_VERSION: &str = "mesh/v1";
/// Label that says which remote cluster an object is about.
pub const REMOTE_LABEL: &str = "liqo.io/remote-cluster-id";

const DEFAULT_NAMESPACE: &str = "default";

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub object: Option<ObjectName>,
}

/// A manifest of which the frame was read.
pub(crate) struct Document {
    pub(crate) id: ObjectId,
    pub(crate) uid: Uuid,
    pub(crate) place: Place,
    /// `None` where that was not said properly, which is a problem already reported, and for kinds that are about no remote.
    pub(crate) remote: Option<ClusterId>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    root: Map<String, Value>,
}

impl Place {
    pub fn problem(&self, path: &str, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: None,
            object: self.object.clone(),
            path: path.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub fn of_object(file: &str, id: &ObjectId) -> Place {
        let ObjectId { kind, namespace, name } = id.clone();
        Place { file: file.to_owned(), object: Some(ObjectName { kind: kind.to_string(), namespace, name }) }
    }

    /// `namespace/name`, or the file where there is no object.
    pub fn name(&self) -> String {
        match &self.object {
            Some(object) => format!("{}/{}", object.namespace, object.name),
            None => self.file.clone(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object} ({})", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl Document {
    /// All documents of a file: YAML, several with `---` between them, or JSON. What can be read is returned whatever else
    /// is wrong, so that all of it can be told at once. Network groups are left out.
    pub(crate) fn read_all(file: &str, text: &str, problems: &mut Problems) -> Vec<Document> {
        Document::of_values(file, values(file, text, problems), problems)
    }

    /// The same of documents that were parsed before.
    pub(crate) fn of_values(
        file: &str,
        values: impl IntoIterator<Item = Value>,
        problems: &mut Problems,
    ) -> Vec<Document> {
        let values = values.into_iter().filter(|value| api_version(value) != Some(GROUPS_API_VERSION));
        values.filter_map(|value| Document::read(file, value, problems)).collect()
    }

    /// An object that was read before, as if it stood in `file`.
    pub(crate) fn of_object(file: &str, object: &ClusterObject, problems: &mut Problems) -> Option<Document> {
        let ClusterObject { id, uid, labels, annotations, spec, .. } = object;
        let metadata = serde_json::json!({
            "name": id.name, "namespace": id.namespace, "labels": labels, "annotations": annotations,
        });
        let value = serde_json::json!({
            "apiVersion": id.kind.api_version(), "kind": id.kind.as_str(), "metadata": metadata, "spec": spec,
        });
        Document::read(file, value, problems).map(|document| Document { uid: *uid, ..document })
    }

    /// As it stands there; what is no mapping is a problem that [`Document::spec`] tells.
    pub(crate) fn raw_spec(&self) -> Value {
        self.root.get("spec").cloned().unwrap_or_default()
    }

    /// Reads `spec` with `read`; problems found there are appended to `problems`.
    pub(crate) fn spec<T>(
        &self,
        problems: &mut Problems,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let sink = Sink::new(self.place.clone());
        let mut root = Fields::new(&self.root, "", &sink);
        let value = root.required_section("spec").and_then(|mut spec| {
            let value = read(&mut spec);
            spec.finish();
            value
        });
        let found = sink.into_problems().0;
        let clean = found.is_empty();
        problems.0.extend(found);
        value.filter(|_| clean)
    }

    fn read(file: &str, value: Value, problems: &mut Problems) -> Option<Document> {
        let Value::Object(root) = value else {
            let hint = format!("begin with 'apiVersion: {API_VERSION}', or {GROUPS_API_VERSION} for network groups");
            let place = Place { file: file.to_owned(), object: None };
            problems.0.push(place.problem("", "a document that is no mapping", hint));
            return None;
        };
        let kind = root.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = |field: &str| root.get("metadata")?.get(field)?.as_str().map(str::to_owned);
        let (namespace, own) = (name("namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), name("name"));
        let name = own.unwrap_or_default();
        let object = ObjectName {
            kind: if kind.is_empty() { "object".to_owned() } else { kind.clone() },
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let place = Place { file: file.to_owned(), object: Some(object) };
        let sink = Sink::new(place.clone());
        let kind = envelope(&root, &sink);
        let labels = texts(&root, "labels", &sink);
        let annotations = texts(&root, "annotations", &sink);
        let remote = kind.filter(|kind| is_about_remote(*kind)).and_then(|_| remote(&labels, &sink));
        problems.0.extend(sink.into_problems().0);
        let id = ObjectId { kind: kind?, namespace, name };
        Some(Document { uid: id.derived_uid(), id, place, remote, labels, annotations, root })
    }
}

/// The documents of a file, whatever they are.
pub(crate) fn values(file: &str, text: &str, problems: &mut Problems) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| {
        problems.0.push(syntax(file, &error));
        Vec::new()
    })
}

pub(crate) fn api_version(document: &Value) -> Option<&str> {
    document.get("apiVersion")?.as_str()
}

/// Checks everything around `spec`; the kind, where it can be applied.
fn envelope(root: &Map<String, Value>, sink: &Sink) -> Option<ObjectKind> {
    let mut fields = Fields::new(root, "", sink);
    fields.ignore(&["spec", "status"]);
    let is_of_group = root.get("kind").and_then(Value::as_str).is_some_and(|kind| GROUP_KINDS.contains(&kind));
    if is_of_group {
        fields.report("apiVersion", "that of network groups is wanted", format!("write {GROUPS_API_VERSION}"));
        return None;
    }
    let kind = kind(&mut fields);
    let version = kind.map_or(API_VERSION, ObjectKind::api_version);
    match fields.text("apiVersion") {
        Some(given) if given == version => {}
        Some(other) => fields.report("apiVersion", format!("{other:?} is not known"), format!("write {version}")),
        None => fields.report("apiVersion", "missing", format!("write {version}")),
    }
    if let Some(metadata) = fields.required_section("metadata") {
        check_metadata(metadata);
    }
    fields.finish();
    kind
}

fn kind(fields: &mut Fields<'_>) -> Option<ObjectKind> {
    let applied = || ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Connection);
    let hint = || format!("write one of {}", applied().map(ObjectKind::as_str).collect::<Vec<_>>().join(", "));
    let Some(word) = fields.text("kind") else {
        fields.report("kind", "missing", hint());
        return None;
    };
    let kind = applied().find(|kind| kind.as_str() == word);
    if word == ObjectKind::Connection.as_str() {
        let hint = "apply the GatewayServer or GatewayClient that it is of";
        fields.report("kind", "a Connection is made by the daemon for each gateway, and never applied", hint);
    } else if kind.is_none() {
        fields.report("kind", format!("{word:?} is not known"), hint());
    }
    kind
}

fn check_metadata(mut fields: Fields<'_>) {
    fields.ignore(&[
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "labels",
    ]);
    fields.ignore(&[
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]);
    if let Some(namespace) = fields.text("namespace").filter(|namespace| !is_namespace(namespace)) {
        let hint = "write at most 63 of a-z, 0-9 and -, a letter or digit at both ends";
        fields.report("namespace", format!("{namespace:?} is no name of a namespace"), hint);
    }
    match fields.text("name") {
        None | Some("") => fields.report("name", "missing", "give the object a name"),
        Some(name) if !is_name(name) => {
            let hint = "write at most 253 of a-z, 0-9, - and ., a letter or digit at both ends";
            fields.report("name", format!("{name:?} is no name of an object"), hint);
        }
        Some(_) => {}
    }
    fields.finish();
}

/// Whether objects of the kind carry [`REMOTE_LABEL`].
fn is_about_remote(kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::Configuration
        | ObjectKind::GatewayServer
        | ObjectKind::GatewayClient
        | ObjectKind::PublicKey
        | ObjectKind::Connection => true,
        ObjectKind::WgGatewayServerTemplate
        | ObjectKind::WgGatewayClientTemplate
        | ObjectKind::Network
        | ObjectKind::Ip => false,
    }
}

/// The labels or annotations. What they say beside [`REMOTE_LABEL`] is the operator's own.
fn texts(root: &Map<String, Value>, field: &str, sink: &Sink) -> BTreeMap<String, String> {
    let path = format!("metadata.{field}");
    let all = match root.get("metadata").and_then(|metadata| metadata.get(field)) {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(all)) => all,
        Some(_) => {
            sink.report(&path, "no mapping", "indent its fields below it");
            return BTreeMap::new();
        }
    };
    let mut texts = BTreeMap::new();
    for (key, value) in all {
        match value {
            Value::String(text) => drop(texts.insert(key.clone(), text.clone())),
            other => sink.report(&format!("{path}.{key}"), format!("{other} where text is wanted"), "put it in quotes"),
        }
    }
    texts
}

fn remote(labels: &BTreeMap<String, String>, sink: &Sink) -> Option<ClusterId> {
    let path = format!("metadata.labels.{REMOTE_LABEL}");
    let hint = "add the label with the id of the remote cluster ('meshctl info --get clusterid' there)";
    let Some(text) = labels.get(REMOTE_LABEL) else {
        sink.report(&path, "missing", hint);
        return None;
    };
    text.parse().map_err(|error| sink.report(&path, format!("{error}"), hint)).ok()
}

fn syntax(file: &str, error: &serde_saphyr::Error) -> Problem {
    let plain = error.without_snippet().to_string();
    Problem {
        file: file.to_owned(),
        line: error.location().map(|location| location.line() as usize),
        object: None,
        path: String::new(),
        message: format!("not readable: {}", plain.lines().next().unwrap_or_default()),
        hint: "correct the YAML or JSON there".to_owned(),
    }
}
