//! Objects of the inter-cluster network that are applied and deleted.

use proptest::prelude::*;

use crate::{
    api::{Action, Applied},
    model::{Manifest, ObjectId, ObjectKind, Problems, group::ManagedBy},
    registry::{Change, Condition, Edit, Entry, Key, Object, Proposal, Registry, fixtures::World},
};

const IP: &str = "apiVersion: ipam.liqo.io/v1alpha1\nkind: IP\nmetadata: { name: NAME }\nspec: { ip: 203.0.113.7 }\n";

fn configuration(name: &str, pod: &str) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: Configuration\nmetadata:\n  name: {name}\n  labels:\n    \
         liqo.io/remote-cluster-id: {name}\nspec:\n  remote:\n    cidr:\n      pod: {pod}\n      external: 10.70.0.0/16\n"
    )
}

fn proposals(text: &str) -> Result<Vec<Proposal>, Problems> {
    Proposal::read_all(&[Manifest { file: "a.yaml".to_owned(), text: text.to_owned() }])
}

fn apply(text: &str, at: u64) -> Edit {
    Edit::Apply { proposals: proposals(text).unwrap(), at }
}

fn id(kind: ObjectKind, name: &str) -> ObjectId {
    ObjectId { kind, namespace: "default".to_owned(), name: name.to_owned() }
}

impl World {
    fn tried(&mut self, edit: &Edit) -> Result<(Change, Vec<Applied>), Problems> {
        let registry = self.registry.clone();
        edit.decide(&registry, &mut || self.id())
    }

    fn edit(&mut self, edit: &Edit) -> Vec<Applied> {
        let (change, applied) = self.tried(edit).unwrap();
        self.commit(change);
        applied
    }
}

#[test]
fn an_object_keeps_who_it_is_and_counts_what_it_says() {
    let mut world = World::default();
    let text = configuration("cl02", "10.8.0.0/16");
    assert_eq!(world.edit(&apply(&text, 100))[0].action, Action::Created);
    let known = id(ObjectKind::Configuration, "cl02");
    let first = world.registry.objects[&known].clone();
    assert_eq!((first.created, first.generation, first.managed_by), (100, 1, ManagedBy::Api));

    let (again, applied) = world.tried(&apply(&text, 200)).unwrap();
    assert!(again.is_empty() && applied[0].action == Action::Unchanged, "{again:?}");
    let labelled = text.replace("  labels:\n", "  labels:\n    mine: \"1\"\n");
    assert_eq!(world.edit(&apply(&labelled, 200))[0].diff, ["metadata.labels.mine: - -> 1"]);
    let changed = labelled.replace("10.8.", "10.9.");
    assert_eq!(world.edit(&apply(&changed, 300))[0].diff, ["spec.remote.cidr.pod: 10.8.0.0/16 -> 10.9.0.0/16"]);
    let last = &world.registry.objects[&known];
    assert_eq!((last.uid, last.created, last.generation), (first.uid, 100, 2), "labels are no new generation");

    assert_eq!(world.edit(&Edit::Delete(known.clone()))[0].action, Action::Deleted);
    assert!(world.registry.objects.is_empty());
    assert!(world.tried(&Edit::Delete(known.clone())).unwrap().0.is_empty(), "it is gone already");
    world.edit(&apply(&text, 400));
    let anew = &world.registry.objects[&known];
    assert!(anew.uid != first.uid && (anew.created, anew.generation) == (400, 1), "another object");
}

#[test]
fn every_change_is_made_on_condition_that_nobody_else_changed_any() {
    let mut world = World::default();
    let (first, _) = world.tried(&apply(&configuration("cl02", "10.8.0.0/16"), 1)).unwrap();
    assert!(first.conditions.contains(&Condition { key: Key::Objects, modified: None }));
    world.commit(first);
    let stamp = world.registry.objects_stamp().unwrap();
    assert_eq!(stamp, (world.registry.revision, 1));
    let (second, _) = world.tried(&Edit::Delete(id(ObjectKind::Configuration, "cl02"))).unwrap();
    assert!(second.conditions.contains(&Condition { key: Key::Objects, modified: Some(stamp.0) }));
    assert!(second.puts.contains(&(Key::Objects, Object::Objects(2))));
}

#[test]
fn what_never_changes_and_what_stands_twice_is_refused() {
    let mut world = World::default();
    let ip = IP.replace("NAME", "db");
    world.edit(&apply(&ip, 1));
    let refusal = world.tried(&apply(&ip.replace("113.7", "113.8"), 2)).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "a.yaml: IP default/db: spec.ip: it cannot be changed; delete the object and apply it again, or give another name"
    );
    let twice = proposals(&format!("{ip}---\n{ip}")).unwrap_err().to_string();
    assert!(twice.contains("metadata.name: it stands in a.yaml already"), "{twice}");
    assert!(proposals("kind: Connection\napiVersion: networking.liqo.io/v1beta1").is_err());
}

#[test]
fn what_stands_in_a_file_is_the_file_s() {
    let files = [(id(ObjectKind::Ip, "db"), "mine.yaml".to_owned())].into();
    for (edit, place) in
        [(apply(&IP.replace("NAME", "db"), 1), "a.yaml"), (Edit::Delete(id(ObjectKind::Ip, "db")), "the request")]
    {
        let refusal = edit.check_owner(&files).unwrap_err().to_string();
        let said = "IP default/db: it stands in mine.yaml, which alone may change it; change that file";
        assert!(refusal.starts_with(&format!("{place}: {said}")), "{refusal}");
    }
    assert_eq!(apply(&IP.replace("NAME", "other"), 1).check_owner(&files), Ok(()));
}

/// What is done, of which of four objects.
#[derive(Clone, Debug)]
enum Act {
    Apply(Vec<(u8, u8)>),
    Delete(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let applied =
        prop::collection::btree_map(0..4_u8, 0..3_u8, 1..4).prop_map(|all| Act::Apply(all.into_iter().collect()));
    prop::collection::vec(prop_oneof![3 => applied, 1 => (0..4_u8).prop_map(Act::Delete)], 1..30)
}

proptest! {
    /// The registry that is kept up is the one that the store's entries make, and says at every step what was asked for.
    #[test]
    fn the_store_and_the_registry_say_the_same(acts in acts()) {
        let mut world = World::default();
        let mut wanted = std::collections::BTreeMap::new();
        let mut store: std::collections::BTreeMap<String, Entry> = Default::default();
        for act in acts {
            let edit = match &act {
                Act::Apply(all) => {
                    wanted.extend(all.iter().copied());
                    let one = |(name, pod): &(u8, u8)| configuration(&format!("r{name}"), &format!("10.{pod}.0.0/16"));
                    apply(&all.iter().map(one).collect::<Vec<_>>().join("---\n"), 7)
                }
                Act::Delete(name) => {
                    wanted.remove(name);
                    Edit::Delete(id(ObjectKind::Configuration, &format!("r{name}")))
                }
            };
            let before = world.registry.objects_stamp();
            let (change, _) = world.tried(&edit).unwrap();
            prop_assert_eq!(change.is_empty(), { world.commit(change.clone()); before == world.registry.objects_stamp() });
            for entry in change.into_entries(world.registry.revision) {
                let key = entry.key.to_string();
                prop_assert_eq!(&key.parse::<Key>().unwrap(), &entry.key);
                if let Some(object) = &entry.object {
                    prop_assert_eq!(&Object::from_json(&entry.key, &object.to_json()).unwrap(), object);
                    store.insert(key, entry);
                } else {
                    store.remove(&key);
                }
            }
            let mut read = Registry::default();
            read.apply(world.registry.revision, store.values().cloned());
            prop_assert_eq!(&read, &world.registry);
            let said: Vec<_> = world.registry.objects.iter().map(|(id, one)| {
                (id.name.clone(), one.spec["remote"]["cidr"]["pod"].as_str().unwrap().to_owned())
            }).collect();
            let expected: Vec<_> = wanted.iter().map(|(name, pod)| (format!("r{name}"), format!("10.{pod}.0.0/16"))).collect();
            prop_assert_eq!(said, expected);
        }
    }
}
