//! What a hub says, in whatever order and however often, against the registry that it says it of.

use std::path::Path;

use mesh_core::{
    model::group::{Access, MemberId, Org},
    registry::{Author, Command, Ids, MemberSpec, Rules, decide},
};

use super::*;

/// A hub's registry in which each command is the next revision.
#[derive(Default)]
struct Hub {
    registry: Registry,
    uuids: u128,
}

impl Hub {
    fn execute(&mut self, command: &Command) {
        let uuids = &mut self.uuids;
        let mut fresh = || {
            *uuids += 1;
            uuid::Builder::from_random_bytes(uuids.to_be_bytes()).into_uuid()
        };
        let ids: Ids<'_> = &mut fresh;
        let change = decide(&self.registry, &Rules::default(), Author::Api, command, ids).unwrap();
        let next = Revision(self.registry.revision.0 + 1);
        self.registry.apply(next, change.into_entries(next));
    }

    fn create(&mut self, label: &str, member: &str) {
        let member = MemberSpec { id: member.parse().unwrap(), label: None, kind: None, domain_name: None };
        self.execute(&Command::CreateGroup {
            id: None,
            org: org(),
            label: label.parse().unwrap(),
            description: None,
            tags: BTreeSet::new(),
            members: vec![member],
            cidr: None,
            prefix_length: None,
            default_access: Access::Allow,
        });
    }

    fn said(&self, begin: Option<bool>, entries: Vec<Entry>) -> Vec<Event> {
        let begin = begin.map(|resumed| WatchEvent::Begin { resumed });
        let synced = WatchEvent::Synced { revision: self.registry.revision.0 };
        let objects = entries.into_iter().map(WatchEvent::from);
        let events = begin.into_iter().chain(objects).chain([synced]);
        events.map(|event| Event { data: serde_json::to_string(&event).unwrap(), ..Event::default() }).collect()
    }
}

fn org() -> Org {
    "default".parse().unwrap()
}

fn filter() -> Filter {
    let members: [MemberId; 1] = ["app_a".parse().unwrap()];
    Filter { orgs: BTreeSet::from([org()]), members: BTreeSet::from(members), ..Filter::default() }
}

fn view() -> View {
    View { members: filter().members, ..View::all(Rights::All) }
}

fn server(cert: Option<&str>) -> Server {
    Server { server: "unix:///hub".to_owned(), ca: None, cert: cert.map(Into::into), key: None }
}

fn following(state: &StateDirectory) -> Following {
    let mut following = Following {
        client: Client::unix(Path::new("/nonexistent")),
        server: server(None),
        state: state.clone(),
        kept_filter: Filter::default(),
        registry: Registry::default(),
        save_at: None,
        sight: watch::Sender::new(Sight::default()),
    };
    following.load();
    following
}

fn hear(following: &mut Following, reading: &mut Reading, events: &[Event]) {
    for event in events {
        following.hear(&filter(), reading, event);
    }
}

fn labels(following: &Following) -> Vec<String> {
    let registry = Arc::clone(&following.sight.borrow().registry);
    registry.groups.values().map(|group| group.group.label.to_string()).collect()
}

#[test]
fn what_is_told_is_known_after_it_was_told_whole_and_kept_for_the_next_run() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let (mut hub, mut copy, mut reading) = (Hub::default(), following(&state), Reading::default());
    hub.create("one", "app_a");
    hub.create("other", "app_b");
    let events = hub.said(Some(false), view().entries(&hub.registry));
    let (synced, before) = events.split_last().unwrap();
    hear(&mut copy, &mut reading, before);
    assert!(labels(&copy).is_empty(), "half of it is nothing");
    hear(&mut copy, &mut reading, std::slice::from_ref(synced));
    assert_eq!(labels(&copy), ["one"]);
    assert!(copy.sight.borrow().is_current);
    copy.save_now();
    let next = following(&state);
    assert_eq!(labels(&next), ["one"]);
    assert_eq!((next.kept_filter, next.registry.revision), (filter(), hub.registry.revision));
    let sight = next.sight.borrow();
    assert!(sight.is_informed && !sight.is_current && !sight.is_reachable, "{sight:?}");
}

#[test]
fn what_one_certificate_sees_is_kept_apart_from_what_another_sees() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let (mut hub, mut copy, mut reading) = (Hub::default(), following(&state), Reading::default());
    hub.create("one", "app_a");
    hear(&mut copy, &mut reading, &hub.said(Some(false), view().entries(&hub.registry)));
    copy.save_now();
    for cert in ["/a/b.pem", "/a-b.pem"] {
        let mut other = following(&state);
        other.server = server(Some(cert));
        other.registry = Registry::default();
        other.sight.send_replace(Sight::default());
        other.load();
        assert!(!other.sight.borrow().is_informed, "{cert}");
        other.save_at = Some(Instant::now());
        other.save_now();
    }
    assert_eq!(labels(&following(&state)), ["one"]);
}

#[test]
fn a_group_that_did_not_change_is_the_same_object_when_all_is_said_again() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let (mut hub, mut copy, mut reading) = (Hub::default(), following(&state), Reading::default());
    hub.create("one", "app_a");
    hear(&mut copy, &mut reading, &hub.said(Some(false), view().entries(&hub.registry)));
    let before = copy.registry.groups.values().next().cloned().unwrap();
    hub.create("two", "app_a");
    hear(&mut copy, &mut reading, &hub.said(Some(false), view().entries(&hub.registry)));
    assert_eq!(copy.registry.groups.len(), 2);
    assert!(Arc::ptr_eq(&copy.registry.groups[before.id()], &before));
    // What is gone since is gone, though nobody says so by name.
    let gone = before.id().clone();
    hub.execute(&Command::DeleteGroup { group: gone });
    hear(&mut copy, &mut reading, &hub.said(Some(false), view().entries(&hub.registry)));
    assert_eq!(labels(&copy), ["two"]);
}

#[test]
fn a_resumed_stream_goes_on_from_what_was_known() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let (mut hub, mut copy, mut reading) = (Hub::default(), following(&state), Reading::default());
    hub.create("one", "app_a");
    hear(&mut copy, &mut reading, &hub.said(Some(false), view().entries(&hub.registry)));
    let seen = hub.registry.clone();
    hub.create("two", "app_a");
    hear(&mut copy, &mut reading, &hub.said(Some(true), view().changes(&seen, &hub.registry)));
    assert_eq!(copy.registry.groups.len(), 2);
    assert_eq!(copy.registry.revision, hub.registry.revision);
}

#[test]
fn what_a_later_version_says_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let (mut hub, mut copy, mut reading) = (Hub::default(), following(&state), Reading::default());
    hub.create("one", "app_a");
    let mut events = hub.said(Some(false), view().entries(&hub.registry));
    for data in ["{\"event\":\"later\"}", "{\"event\":\"object\",\"key\":\"moons/1\",\"modified\":1,\"value\":1}", "x"]
    {
        events.insert(1, Event { data: data.to_owned(), ..Event::default() });
    }
    hear(&mut copy, &mut reading, &events);
    assert_eq!(labels(&copy), ["one"]);
    assert!(copy.sight.borrow().is_current, "what is of no concern is not missing");
}

#[test]
fn an_object_that_cannot_be_read_is_not_an_object_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let (mut hub, mut copy, mut reading) = (Hub::default(), following(&state), Reading::default());
    hub.create("one", "app_a");
    let mut events = hub.said(Some(false), view().entries(&hub.registry));
    for event in &mut events {
        event.data = event.data.replace("\"value\":{", "\"value\":{\"later\":1,");
    }
    hear(&mut copy, &mut reading, &events);
    let sight = copy.sight.borrow().clone();
    assert!(sight.is_informed && !sight.is_current && sight.is_reachable, "{sight:?}");
    copy.save_now();
    assert_ne!(following(&state).kept_filter, filter(), "the next run would not be told of it");
    hear(&mut copy, &mut reading, &hub.said(Some(false), view().entries(&hub.registry)));
    assert!(copy.sight.borrow().is_current);
    assert_eq!(labels(&copy), ["one"]);
}

#[test]
fn a_damaged_copy_is_of_no_use_and_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    std::fs::write(directory.path().join("mirror-unix----hub.json"), "{\"version\":1,\"cont").unwrap();
    assert!(!following(&state).sight.borrow().is_informed);
}
