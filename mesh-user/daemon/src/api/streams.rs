//! Event streams: a group, the configuration of a peer, and everything that a reader may see.
//!
//! A stream compares the newest state with the one that it sent last, so a slow reader is sent less, and nothing queues
//! but what leads from one state to the next.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream::unfold};
use mesh_core::{
    api::group::{Gone, GroupReply, PeerConfiguration, SCHEMA, WatchEvent},
    model::group::{GroupId, Org, PeerId},
    registry::{Entry, Registry, Revision, View},
};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    Api,
    caller::Caller,
    endpoint::{Endpoint, texts, truth},
    errors::Failure,
    groups, peers,
    request::{Path, Query, Resume},
};

/// After so long without an event a comment says that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn endpoints() -> Vec<Endpoint> {
    const GROUP: &str = "/v1/orgs/{org}/networkgroups/{ng}/watch";
    const CONFIGURATION: &str = "/v1/orgs/{org}/networkgroups/{ng}/peers/{peer}/configuration/watch";
    vec![
        Endpoint::get(GROUP, watch_group, "A network group, whenever it changes; `deleted` at its end")
            .resumable()
            .events::<GroupReply>(),
        Endpoint::get(CONFIGURATION, watch_configuration, "A peer's configuration, whenever it changes")
            .resumable()
            .events::<PeerConfiguration>(),
        Endpoint::get("/v1/watch", watch_all, "Every object that the caller may see, then every change")
            .query("org", "Only of these orgs", texts())
            .query("group", "Ids or labels: these groups, and those of the members asked for", texts())
            .query(
                "objects",
                "Those of the inter-cluster network: true or false; absent: true without a filter",
                truth(),
            )
            .query("member", "Groups that these members are linked to, as long as they are", texts())
            .resumable()
            .events::<WatchEvent>(),
    ]
}

async fn watch_group(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    Resume(version): Resume,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let id = api.group(&caller, &org, &ng)?.id().clone();
    let look = move |registry: &Registry, sent: Option<u64>| {
        let Some(group) = registry.groups.get(&id) else { return Sight::Gone(gone(&id, None)) };
        let version = group.group.object.version;
        if sent == Some(version) {
            return Sight::Same;
        }
        Sight::New(version, event("group", &groups::reply(group.full())).id(version.to_string()))
    };
    Ok(stream(follow(api.watched.subscribe(), version, look)))
}

async fn watch_configuration(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, peer)): Path<(Org, String, String)>,
    Resume(version): Resume,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let group = api.group(&caller, &org, &ng)?;
    let (id, peer) = (group.id().clone(), group.find_peer(&peer)?.id.clone());
    // Changes of the group that leave the configuration as it is are not sent.
    let mut last: Option<String> = None;
    let look = move |registry: &Registry, sent: Option<u64>| {
        let group = registry.groups.get(&id);
        let Some((group, peer)) = group.and_then(|group| Some((group, group.peers.get(&peer)?))) else {
            return Sight::Gone(gone(&id, Some(&peer)));
        };
        let configuration = peers::configuration_of(group, &peer.object);
        let known = sent == Some(configuration.version) || last.as_ref() == Some(&configuration.conf);
        last = Some(configuration.conf.clone());
        if known {
            return Sight::Same;
        }
        let version = configuration.version;
        Sight::New(version, event("configuration", &configuration).id(version.to_string()))
    };
    Ok(stream(follow(api.watched.subscribe(), version, look)))
}

async fn watch_all(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    Resume(version): Resume,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let view = view(&caller, &api.org, &query)?;
    let (source, now) = api.watched.subscribe();
    let resumed = version.and_then(|version| api.watched.since(Revision(version), &view, &now));
    let begin = Some(WatchEvent::Begin { resumed: resumed.is_some() });
    let entries = resumed.unwrap_or_else(|| view.entries(&now)).into();
    let follower = Follower { view, source, begin, entries, synced: Some(now.revision), seen: now };
    Ok(stream(unfold(follower, async |mut follower| Some((follower.next().await?, follower)))))
}

/// What the parameters ask for; one that is unknown is a mistake that would show too much.
fn view(caller: &Caller, own: &Org, query: &[(String, String)]) -> Result<View, Failure> {
    let mut view = View { objects: false, ..View::all((*caller.rights).clone()) };
    let mut objects = None;
    for (name, value) in query {
        match name.as_str() {
            "org" => drop(view.orgs.insert(value.parse()?)),
            "group" => drop(view.groups.insert(value.clone())),
            "member" => drop(view.members.insert(value.parse()?)),
            "objects" => objects = Some(value == "true"),
            "version" => {}
            other => {
                let message = format!("there is no parameter {other:?}");
                return Err(Failure::invalid(message, "there are org, group, member, objects and version"));
            }
        }
    }
    let is_filtered = !(view.orgs.is_empty() && view.groups.is_empty() && view.members.is_empty());
    view.objects = caller.rights.sees_objects(own) && objects.unwrap_or(!is_filtered);
    Ok(view)
}

pub(super) fn stream<S: Stream<Item = Event> + Send + 'static>(
    events: S,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    use futures_util::StreamExt as _;
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

pub(super) fn event(name: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("replies are plain JSON");
    Event::default().event(name).data(data)
}

fn gone(group: &GroupId, peer: Option<&PeerId>) -> Event {
    event("deleted", &Gone { schema: SCHEMA, ng_id: group.clone(), peer_id: peer.cloned() })
}

/// What a look at one object brings.
enum Sight {
    Same,
    /// With its version.
    New(u64, Event),
    /// The stream ends with this.
    Gone(Event),
}

/// Looks at each state of the registry, beginning with what is there.
fn follow(
    (source, now): (watch::Receiver<Arc<Registry>>, Arc<Registry>),
    sent: Option<u64>,
    look: impl FnMut(&Registry, Option<u64>) -> Sight + Send + 'static,
) -> impl Stream<Item = Event> + Send + 'static {
    let begin = Some((source, Some(now), sent, look));
    unfold(begin, async |state| {
        let (mut source, mut now, mut sent, mut look) = state?;
        loop {
            let registry = match now.take() {
                Some(registry) => registry,
                None => {
                    source.changed().await.ok()?;
                    Arc::clone(&source.borrow_and_update())
                }
            };
            match look(&registry, sent) {
                Sight::Same => {}
                Sight::New(version, event) => {
                    sent = Some(version);
                    return Some((event, Some((source, None, sent, look))));
                }
                Sight::Gone(event) => return Some((event, None)),
            }
        }
    })
}

/// A reader of everything.
struct Follower {
    view: View,
    source: watch::Receiver<Arc<Registry>>,
    /// Once all that follows was sent.
    seen: Arc<Registry>,
    begin: Option<WatchEvent>,
    entries: VecDeque<Entry>,
    synced: Option<Revision>,
}

impl Follower {
    /// `None`: the daemon ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(begin) = self.begin.take() {
                return Some(event("begin", &begin));
            }
            if let Some(entry) = self.entries.pop_front() {
                return Some(event("object", &WatchEvent::from(entry)));
            }
            if let Some(Revision(revision)) = self.synced.take() {
                return Some(event("synced", &WatchEvent::Synced { revision }).id(revision.to_string()));
            }
            self.source.changed().await.ok()?;
            let new = Arc::clone(&self.source.borrow_and_update());
            self.entries = self.view.changes(&self.seen, &new).into();
            // Who has a new lease waits to see what there was before it.
            let is_said = !self.entries.is_empty() || self.seen.nodes != new.nodes;
            self.synced = is_said.then_some(new.revision);
            self.seen = new;
        }
    }
}
