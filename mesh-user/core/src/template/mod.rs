//! What a gateway's template makes of the gateway object: the spec of the listener that this node runs for it.
//!
//! Templates are objects like others; [`engine`] has the rules of their texts. Those in the namespace `liqo` that are built
//! in cannot be changed.

mod engine;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use self::engine::{Numerals, Rendering};
use crate::model::{
    Manifest, ObjectKind, Place, Problems,
    document::Document,
    tree::{Fields, Sink},
};

/// Where the built-in templates are, and others are sought by default.
pub const NAMESPACE: &str = "liqo";

const BUILTIN: &str = include_str!("builtin.yaml");
/// Stands for the file of a built-in template in messages.
const BUILTIN_FILE: &str = "built-in";
const OBJECT_API_VERSION: &str = "networking.liqo.io/v1beta1";

/// For which end of a connection a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Server,
    Client,
}

/// All templates there are.
#[derive(Debug)]
pub(crate) struct Templates(BTreeMap<(End, String, String), Template>);

#[derive(Debug)]
pub(crate) struct Template {
    place: Place,
    metadata: Map<String, Value>,
    spec: Map<String, Value>,
}

/// Which gateway is rendered: what its variables hold.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) place: &'a Place,
    pub(crate) uid: String,
    /// The remote cluster.
    pub(crate) cluster: String,
    /// Of its `secretRef`, empty without one.
    pub(crate) secret: String,
    /// With its defaults.
    pub(crate) spec: Map<String, Value>,
}

/// The built-in templates, as if they stood in a file.
pub fn builtin() -> Manifest {
    Manifest { file: BUILTIN_FILE.to_owned(), text: BUILTIN.to_owned() }
}

impl End {
    fn of_kind(kind: ObjectKind) -> Option<End> {
        [End::Server, End::Client].into_iter().find(|end| end.template_kind() == kind)
    }

    pub(crate) fn template_kind(self) -> ObjectKind {
        match self {
            End::Server => ObjectKind::WgGatewayServerTemplate,
            End::Client => ObjectKind::WgGatewayClientTemplate,
        }
    }

    /// Of what a template of this end makes.
    fn object_kind(self) -> &'static str {
        match self {
            End::Server => "WgGatewayServer",
            End::Client => "WgGatewayClient",
        }
    }
}

/// The built-in ones alone.
impl Default for Templates {
    fn default() -> Self {
        let mut templates = Templates(BTreeMap::new());
        let mut problems = Problems::default();
        for document in Document::read_all(BUILTIN_FILE, BUILTIN, &mut problems) {
            templates.add(&document, &mut problems);
        }
        templates
    }
}

impl Templates {
    /// Takes up the template of a document; other documents are left alone.
    pub(crate) fn add(&mut self, document: &Document, problems: &mut Problems) {
        let Some(end) = End::of_kind(document.id.kind) else { return };
        let Some(template) = Template::read(end, document, problems) else { return };
        let name = (end, document.id.namespace.clone(), document.id.name.clone());
        if let Some(twin) = self.0.get(&name) {
            let message = format!("there is already {}", twin.place);
            let hint = if twin.place.file == BUILTIN_FILE {
                "it cannot be changed: give yours another name"
            } else {
                "keep one of them"
            };
            problems.0.push(document.place.problem("metadata.name", message, hint));
            return;
        }
        self.0.insert(name, template);
    }

    pub(crate) fn get(&self, end: End, namespace: &str, name: &str) -> Option<&Template> {
        self.0.get(&(end, namespace.to_owned(), name.to_owned()))
    }

    /// `namespace/name` of each for this end.
    pub(crate) fn names(&self, end: End) -> Vec<String> {
        let of_end = self.0.keys().filter(|(other, ..)| *other == end);
        of_end.map(|(_, namespace, name)| format!("{namespace}/{name}")).collect()
    }
}

impl Template {
    fn read(end: End, document: &Document, problems: &mut Problems) -> Option<Template> {
        document.spec(problems, |spec| {
            if let Some(mut object) = spec.required_section("objectKind") {
                expect(&mut object, "apiVersion", OBJECT_API_VERSION);
                expect(&mut object, "kind", end.object_kind());
                object.finish();
            }
            let mut template = spec.required_section("template")?;
            let metadata = template.mapping("metadata").cloned().unwrap_or_default();
            let spec = template.mapping("spec").cloned();
            if spec.is_none() && template.is_absent("spec") {
                template.report("spec", "missing", "say what listens: driver, ports, mtu");
            }
            template.finish();
            Some(Template { place: document.place.clone(), metadata, spec: spec? })
        })
    }

    /// The spec of the listener of `gateway`; what cannot be rendered is told at the gateway.
    pub(crate) fn render(&self, gateway: &Subject<'_>, problems: &mut Problems) -> Option<Map<String, Value>> {
        let variables = gateway.variables();
        let mut rendering = Rendering::new(&variables);
        rendering.value(&Value::Object(self.metadata.clone()), "metadata", Numerals::Text);
        let spec = rendering.value(&Value::Object(self.spec.clone()), "spec", Numerals::Numbers);
        let of_template = |path: &str| format!("{}.{path}", self.path());
        let found = rendering.mistakes;
        let clean = found.is_empty();
        problems
            .0
            .extend(found.into_iter().map(|it| gateway.place.problem(&of_template(&it.path), it.message, it.hint)));
        match spec {
            Value::Object(spec) if clean => Some(spec),
            _ => None,
        }
    }

    /// It says itself that there is no tunnel.
    pub(crate) fn is_direct(&self) -> bool {
        self.spec.get("driver").and_then(Value::as_str) == Some("direct")
    }

    /// What paths of the rendered spec begin with.
    pub(crate) fn path(&self) -> String {
        format!("template {}", self.place.name())
    }

    /// Fields of a gateway's spec that the template speaks of, in lower case.
    pub(crate) fn spec_fields(&self) -> BTreeSet<String> {
        let mut fields = BTreeSet::new();
        for part in [&self.metadata, &self.spec] {
            engine::spec_fields(&Value::Object(part.clone()), &mut fields);
        }
        fields
    }
}

impl Subject<'_> {
    fn variables(&self) -> Map<String, Value> {
        let object = self.place.object.as_ref();
        let name = object.map(|object| object.name.clone()).unwrap_or_default();
        let namespace = object.map(|object| object.namespace.clone()).unwrap_or_default();
        let text = |text: &String| Value::String(text.clone());
        [
            ("Spec", Value::Object(self.spec.clone())),
            ("Name", Value::String(name)),
            ("Namespace", Value::String(namespace)),
            ("GatewayUID", text(&self.uid)),
            ("ClusterID", text(&self.cluster)),
            ("SecretName", text(&self.secret)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

fn expect(fields: &mut Fields<'_>, field: &'static str, wanted: &str) {
    match fields.text(field) {
        Some(text) if text == wanted => {}
        Some(other) => fields.report(field, format!("{other:?} is not known"), format!("write {wanted}")),
        None if fields.is_absent(field) => fields.report(field, "missing", format!("write {wanted}")),
        None => {}
    }
}

/// Reads a rendered spec with `read`; problems are told at the gateway, with the template in their path.
pub(crate) fn read_rendered<T>(
    place: &Place,
    path: &str,
    spec: &Map<String, Value>,
    problems: &mut Problems,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Option<T> {
    let sink = Sink::new(place.clone());
    let mut fields = Fields::new(spec, &format!("{path}.spec"), &sink);
    let value = read(&mut fields);
    fields.finish();
    let found = sink.into_problems().0;
    let clean = found.is_empty();
    problems.0.extend(found);
    value.filter(|_| clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_templates_are_good() {
        let mut problems = Problems::default();
        let mut templates = Templates(BTreeMap::new());
        for document in Document::read_all(BUILTIN_FILE, BUILTIN, &mut problems) {
            templates.add(&document, &mut problems);
        }
        assert_eq!(problems.or(()), Ok(()));
        assert_eq!(templates.0.len(), 5);
        assert_eq!(templates.names(End::Server), ["liqo/wireguard-server", "liqo/wireguard-server-pingdisabled"]);
        let client = ["liqo/direct", "liqo/wireguard-client", "liqo/wireguard-client-pingdisabled"];
        assert_eq!(templates.names(End::Client), client);
    }
}
