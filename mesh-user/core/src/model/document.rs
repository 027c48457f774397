//! One manifest: which object it is, before anyone looks at what it says.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    cluster_id::ClusterId,
    object::{ObjectId, ObjectKind},
    problem::{ObjectName, Problem, Problems},
    tree::{Fields, Sink},
};

pub const API_VERSION: &str = "networking.liqo.io/v1beta1";
/// Of network groups and what is in them: [`crate::registry::Declaration`] reads those.
pub const GROUPS_API_VERSION: &str = "mesh/v1";
/// Label that says which remote cluster an object is about.
pub const REMOTE_LABEL: &str = "liqo.io/remote-cluster-id";

const DEFAULT_NAMESPACE: &str = "default";
const KINDS: [&str; 6] = [
    "Configuration",
    "GatewayServer",
    "GatewayClient",
    "PublicKey",
    "WgGatewayServerTemplate",
    "WgGatewayClientTemplate",
];

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
    /// `None` where that was not said properly, which is a problem already reported.
    pub(crate) remote: Option<ClusterId>,
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
        let values = values(file, text, problems).into_iter();
        let values = values.filter(|value| api_version(value) != Some(GROUPS_API_VERSION));
        values.filter_map(|value| Document::read(file, value, problems)).collect()
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

    /// What `metadata` says under `section` (`labels`, `annotations`) and `key`.
    pub(crate) fn noted(&self, section: &str, key: &str) -> Option<&str> {
        self.root.get("metadata")?.get(section)?.get(key)?.as_str()
    }

    fn read(file: &str, value: Value, problems: &mut Problems) -> Option<Document> {
        let Value::Object(root) = value else {
            let hint = format!("begin with 'apiVersion: {API_VERSION}'");
            let place = Place { file: file.to_owned(), object: None };
            problems.0.push(place.problem("", "a document that is no mapping", hint));
            return None;
        };
        let kind = root.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = |field: &str| root.get("metadata")?.get(field)?.as_str().map(str::to_owned);
        let object = ObjectName {
            kind: if kind.is_empty() { "object".to_owned() } else { kind.clone() },
            namespace: name("namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            name: name("name").unwrap_or_default(),
        };
        let place = Place { file: file.to_owned(), object: Some(object) };
        let sink = Sink::new(place.clone());
        let remote = envelope(&root, &sink);
        problems.0.extend(sink.into_problems().0);
        let object = place.object.clone()?;
        let id = ObjectId {
            kind: ObjectKind::ALL.into_iter().find(|k| k.as_str() == kind)?,
            namespace: object.namespace,
            name: object.name,
        };
        Some(Document { id, uid: Uuid::nil(), place, remote, root })
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

/// Checks everything around `spec`; the remote cluster that the object is about.
fn envelope(root: &Map<String, Value>, sink: &Sink) -> Option<ClusterId> {
    let mut fields = Fields::new(root, "", sink);
    fields.ignore(&["spec", "status"]);
    match fields.text("apiVersion") {
        Some(API_VERSION) => {}
        Some(other) => fields.report("apiVersion", format!("{other:?} is not known"), format!("write {API_VERSION}")),
        None => fields.report("apiVersion", "missing", format!("write {API_VERSION}")),
    }
    let kinds = || format!("write one of {}", KINDS.join(", "));
    match fields.text("kind") {
        Some(kind) if KINDS.contains(&kind) => {}
        Some(other) => fields.report("kind", format!("{other:?} is not known"), kinds()),
        None => fields.report("kind", "missing", kinds()),
    }
    let is_template = root.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("Template"));
    let remote = fields.required_section("metadata").and_then(|m| metadata(m, is_template));
    fields.finish();
    remote
}

fn metadata(mut fields: Fields<'_>, is_template: bool) -> Option<ClusterId> {
    fields.ignore(&[
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
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
    fields.text("namespace");
    if fields.text("name").is_none_or(str::is_empty) {
        fields.report("name", "missing", "give the object a name");
    }
    if is_template {
        fields.ignore(&["labels"]);
        fields.finish();
        return None;
    }
    // Other labels are the operator's own.
    let labels = fields.required_section("labels");
    let remote = labels.and_then(|mut labels| {
        let hint = "add the label with the id of the remote cluster ('meshctl info --get clusterid' there)";
        let text = labels.text(REMOTE_LABEL);
        match text.map(str::parse) {
            Some(Ok(id)) => Some(id),
            Some(Err(error)) => {
                labels.report(REMOTE_LABEL, format!("{error}"), hint);
                None
            }
            None => {
                if labels.is_absent(REMOTE_LABEL) {
                    labels.report(REMOTE_LABEL, "missing", hint);
                }
                None
            }
        }
    });
    fields.finish();
    remote
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
