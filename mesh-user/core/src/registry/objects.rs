//! What becomes of the objects of the inter-cluster network when somebody applies or deletes some.
//!
//! Whether the whole of them makes sense is for [`Intent`](crate::model::Intent) and [`mod@crate::plan`] to say, about the objects that a
//! change leads to. So every change rewrites the key [`Key::Objects`] on condition that nobody else did.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Change, Condition, Ids, Key, Object, Registry, Revision, declare::difference::applied};
use crate::{
    api::Applied,
    model::{ClusterObject, Manifest, ObjectId, ObjectKind, Place, Problems, document::Document, group::ManagedBy},
};

/// An object as somebody wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub place: Place,
    pub id: ObjectId,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub spec: Value,
}

impl Proposal {
    /// Everything in the manifests but network groups. What is wrong with a `spec` is not told here: [`Intent::validate`](crate::model::Intent::validate)
    /// does.
    pub fn read_all(manifests: &[Manifest]) -> Result<Vec<Proposal>, Problems> {
        let mut problems = Problems::default();
        let mut proposals: Vec<Proposal> = Vec::new();
        for Manifest { file, text } in manifests {
            for document in Document::read_all(file, text, &mut problems) {
                let proposal = Proposal::of(document);
                match proposals.iter().find(|other| other.id == proposal.id) {
                    Some(twin) if !proposal.id.name.is_empty() => {
                        let message = format!("it stands in {} already", twin.place.file);
                        problems.0.push(proposal.place.problem("metadata.name", message, "keep one of the two"));
                    }
                    _ => proposals.push(proposal),
                }
            }
        }
        problems.or(proposals)
    }

    fn of(document: Document) -> Proposal {
        let spec = document.raw_spec();
        let Document { id, place, labels, annotations, .. } = document;
        Proposal { place, id, labels, annotations, spec }
    }

    /// What becomes of the object that is known; where there is none it is made at that time, with that uid.
    pub fn object(&self, known: Option<&ClusterObject>, at: u64, uid: Uuid) -> ClusterObject {
        let Proposal { id, labels, annotations, spec, .. } = self.clone();
        let (uid, created, generation) = match known {
            None => (uid, at, 1),
            Some(known) => (known.uid, known.created, known.generation + u64::from(known.spec != spec)),
        };
        ClusterObject { id, uid, created, generation, labels, annotations, spec, managed_by: ManagedBy::Api }
    }

    fn changes(&self, known: &ClusterObject) -> bool {
        (&self.labels, &self.annotations, &self.spec) != (&known.labels, &known.annotations, &known.spec)
    }

    /// The field that is as it was forever, and differs.
    fn changed_for_good(&self, known: &ClusterObject) -> Option<&'static str> {
        let field = match self.id.kind {
            ObjectKind::Network => "cidr",
            ObjectKind::Ip => "ip",
            _ => return None,
        };
        (self.spec.get(field) != known.spec.get(field)).then_some(field)
    }
}

/// What shall become of objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Every object as proposed; `at`: seconds since the epoch.
    Apply {
        proposals: Vec<Proposal>,
        at: u64,
    },
    Delete(ObjectId),
}

impl Edit {
    /// The change of the store that it is, with what it does to each object.
    pub fn decide(&self, registry: &Registry, ids: Ids<'_>) -> Result<(Change, Vec<Applied>), Problems> {
        match self {
            Edit::Apply { proposals, at } => apply(registry, proposals, *at, ids),
            Edit::Delete(id) => {
                let known = registry.objects.get(id).map(|stored| shown(&stored.object));
                let deletes = known.iter().map(|_| Key::Object(id.clone())).collect();
                let change = Change { deletes, ..Change::default() };
                Ok((stamped(registry, change), vec![applied(id.kind.as_str(), name(id), known, None)]))
            }
        }
    }

    /// Refuses to touch what stands in a file: `files` says which file each object there is in.
    pub fn check_owner(&self, files: &BTreeMap<ObjectId, String>) -> Result<(), Problems> {
        let places: Vec<(&ObjectId, Place)> = match self {
            Edit::Apply { proposals, .. } => proposals.iter().map(|one| (&one.id, one.place.clone())).collect(),
            Edit::Delete(id) => vec![(id, Place::of_object("the request", id))],
        };
        let problem = |(id, place): (&ObjectId, Place)| {
            let message = format!("it stands in {}, which alone may change it", files.get(id)?);
            Some(place.problem("", message, "change that file, or give the object another name"))
        };
        Problems(places.into_iter().filter_map(problem).collect()).or(())
    }
}

fn apply(
    registry: &Registry,
    proposals: &[Proposal],
    at: u64,
    ids: Ids<'_>,
) -> Result<(Change, Vec<Applied>), Problems> {
    let (mut change, mut done, mut problems) = (Change::default(), Vec::new(), Problems::default());
    for proposal in proposals {
        let known = registry.objects.get(&proposal.id).map(|stored| &*stored.object);
        if let Some(field) = known.and_then(|known| proposal.changed_for_good(known)) {
            let hint = "delete the object and apply it again, or give another name";
            let problem = proposal.place.problem(&format!("spec.{field}"), "it cannot be changed", hint);
            problems.0.push(problem);
            continue;
        }
        let object = match known {
            Some(known) if !proposal.changes(known) => known.clone(),
            known => proposal.object(known, at, ids()),
        };
        done.push(applied(proposal.id.kind.as_str(), name(&proposal.id), known.map(shown), Some(shown(&object))));
        if known != Some(&object) {
            change.puts.push((Key::Object(proposal.id.clone()), Object::Cluster(object)));
        }
    }
    problems.or((stamped(registry, change), done))
}

fn name(id: &ObjectId) -> String {
    format!("{}/{}", id.namespace, id.name)
}

impl Registry {
    /// Differs where any object differs.
    pub fn objects_stamp(&self) -> Option<(Revision, u64)> {
        self.objects_stamp
    }
}

/// Nothing stays nothing.
fn stamped(registry: &Registry, mut change: Change) -> Change {
    if change.is_empty() {
        return change;
    }
    let known = registry.objects_stamp;
    change.conditions.push(Condition { key: Key::Objects, modified: known.map(|(modified, _)| modified) });
    change.puts.push((Key::Objects, Object::Objects(known.map_or(0, |(_, number)| number) + 1)));
    change
}

/// What a diff of the object is about.
fn shown(object: &ClusterObject) -> Value {
    let mut metadata = json!({});
    for (field, texts) in [("labels", &object.labels), ("annotations", &object.annotations)] {
        if !texts.is_empty() {
            metadata[field] = json!(texts);
        }
    }
    json!({ "metadata": metadata, "spec": object.spec })
}
