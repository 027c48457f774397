//! What does a hub's registry hold of what concerns this node? A copy that follows the hub's stream, is kept on disk, and
//! stays in force while the hub is away.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use mesh_client::{Client, Event, Events, Url};
use mesh_core::{
    api::{group::WatchEvent, node::Server},
    model::group::{GroupId, MemberId, Org},
    registry::{Entry, Key, Object, Registry, Revision, Rights, View},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, sleep_until},
};

use crate::state::StateDirectory;

/// First and longest pause between two attempts to reach the hub.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const OPENING: Duration = Duration::from_secs(10);
/// How long a change may wait before it is kept on disk.
const KEEPING: Duration = Duration::from_secs(1);

/// What of the hub's registry is of interest. Empty: nothing is, and the hub is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filter {
    pub(super) orgs: BTreeSet<Org>,
    pub(super) groups: BTreeSet<GroupId>,
    pub(super) members: BTreeSet<MemberId>,
    /// Those of the inter-cluster network, too.
    #[serde(default)]
    pub(super) objects: bool,
}

/// The copy as it is now.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    pub(super) registry: Arc<Registry>,
    /// The registry is what the hub had at some time: of this run, or kept from an earlier one.
    pub(super) is_informed: bool,
    /// The hub said everything that the present filter asks for.
    pub(super) is_current: bool,
    /// The stream is open.
    pub(super) is_reachable: bool,
    pub(super) trouble: String,
}

/// Follows the hub until it is dropped.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) sight: watch::Receiver<Sight>,
    filter: watch::Sender<Filter>,
    task: JoinHandle<()>,
}

/// The copy on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// With the certificate: what is seen depends on who asks.
    server: Server,
    filter: Filter,
    revision: u64,
    entries: Vec<KeptEntry>,
}

#[derive(Serialize, Deserialize)]
struct KeptEntry {
    key: String,
    modified: u64,
    value: Value,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.members.is_empty() && !self.objects
    }
}

impl Mirror {
    pub(super) fn start(client: Client, server: Server, state: StateDirectory) -> Mirror {
        let mut following = Following {
            client,
            server,
            state,
            kept_filter: Filter::default(),
            registry: Registry::default(),
            save_at: None,
            sight: watch::Sender::new(Sight::default()),
        };
        following.load();
        let sight = following.sight.subscribe();
        let (filter, wanted) = watch::channel(Filter::default());
        let task = tokio::spawn(following.run(wanted));
        Mirror { sight, filter, task }
    }

    pub(super) fn set_filter(&self, filter: Filter) {
        self.filter.send_if_modified(|known| {
            let changed = *known != filter;
            if changed {
                *known = filter;
            }
            changed
        });
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Following {
    client: Client,
    server: Server,
    state: StateDirectory,
    /// That the registry is the answer to.
    kept_filter: Filter,
    registry: Registry,
    save_at: Option<Instant>,
    sight: watch::Sender<Sight>,
}

impl Following {
    async fn run(mut self, mut wanted: watch::Receiver<Filter>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let filter = wanted.borrow_and_update().clone();
            if filter.is_empty() {
                // Nothing is asked for, so there is nothing that is not known.
                self.sight.send_modify(|sight| sight.is_current = false);
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let begin = Instant::now();
            let ended = tokio::select! {
                ended = self.follow(&filter) => ended,
                changed = wanted.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let reason = ended.err().map_or_else(|| "it ended the stream".to_owned(), |error| error.to_string());
            self.sight.send_modify(|sight| {
                if sight.is_reachable || sight.trouble.is_empty() {
                    tracing::warn!(hub = self.server.server, "the hub is lost, what is known stays in force: {reason}");
                }
                sight.is_reachable = false;
                sight.trouble = reason;
            });
            if begin.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            self.save_now();
            tokio::select! {
                () = sleep(pause) => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reads the stream to its end.
    async fn follow(&mut self, filter: &Filter) -> Result<(), mesh_client::Error> {
        let known = (self.kept_filter == *filter).then(|| self.registry.revision.0.to_string());
        if known.is_none() {
            self.sight.send_modify(|sight| sight.is_current = false);
        }
        let mut events = self.client.events(url(filter), known.as_deref(), OPENING).await?;
        let mut reading = Reading::default();
        while let Some(event) = self.next(&mut events).await? {
            self.hear(filter, &mut reading, &event);
        }
        Ok(())
    }

    fn hear(&mut self, filter: &Filter, reading: &mut Reading, event: &Event) {
        match reading.take(event) {
            Taken::More => {}
            Taken::Begun { resumed } => {
                reading.is_fresh = !resumed;
                reading.is_partial = false;
            }
            Taken::Synced(revision) => self.synced(filter, reading, revision),
            Taken::Unreadable(what) => {
                tracing::warn!(hub = self.server.server, "is this meshd older than the hub? left out: {what}");
                reading.is_partial = true;
            }
            Taken::Unknown(what) => tracing::debug!(hub = self.server.server, "not understood, left out: {what}"),
        }
    }

    /// The next event; what waits to be kept is kept meanwhile.
    async fn next(&mut self, events: &mut Events) -> Result<Option<Event>, mesh_client::Error> {
        loop {
            let due = self.save_at.unwrap_or_else(|| Instant::now() + LONGEST_PAUSE);
            tokio::select! {
                event = events.next() => return event,
                () = sleep_until(due.into()) => self.save_now(),
            }
        }
    }

    fn synced(&mut self, filter: &Filter, reading: &mut Reading, revision: Revision) {
        if std::mem::take(&mut reading.is_fresh) {
            self.registry = share(&self.registry, revision, reading.entries.drain(..));
        } else {
            self.registry.apply(revision, reading.entries.drain(..));
        }
        // Without a filter nothing is resumed: what is missing is said again at the next opportunity.
        self.kept_filter = if reading.is_partial { Filter::default() } else { filter.clone() };
        let is_current = !reading.is_partial;
        self.save_at.get_or_insert(Instant::now() + KEEPING);
        let registry = Arc::new(self.registry.clone());
        self.sight.send_modify(|sight| {
            if !sight.is_reachable {
                tracing::info!(hub = self.server.server, revision = revision.0, "follows the hub");
            }
            let trouble = String::new();
            *sight = Sight { registry, is_informed: true, is_current, is_reachable: true, trouble };
        });
    }

    fn load(&mut self) {
        let kept: Option<Kept> = match self.state.mirror(&self.server) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!("what was kept of the hub is of no use: {error:#}");
                None
            }
        };
        let Some(kept) = kept.filter(|kept| kept.server == self.server) else { return };
        let count = kept.entries.len();
        let entries =
            kept.entries.into_iter().filter_map(|entry| parse(&entry.key, entry.modified, Some(entry.value)).ok());
        let entries: Vec<_> = entries.collect();
        // What another version kept and this one cannot read must be said again.
        self.kept_filter = if entries.len() == count { kept.filter } else { Filter::default() };
        self.registry.apply(Revision(kept.revision), entries);
        let registry = Arc::new(self.registry.clone());
        self.sight.send_modify(|sight| *sight = Sight { registry, is_informed: true, ..Sight::default() });
    }

    fn save_now(&mut self) {
        if self.save_at.take().is_none() {
            return;
        }
        let entries = View::all(Rights::All).entries(&self.registry).into_iter().filter_map(|entry| {
            let value = entry.object?.to_value();
            Some(KeptEntry { key: entry.key.to_string(), modified: entry.modified.0, value })
        });
        let kept = Kept {
            server: self.server.clone(),
            filter: self.kept_filter.clone(),
            revision: self.registry.revision.0,
            entries: entries.collect(),
        };
        if let Err(error) = self.state.save_mirror(&self.server, &kept) {
            tracing::warn!("what the hub says is not kept: {error:#}");
        }
    }
}

/// A hub that begins anew says everything again: groups that are as before stay the same objects, so that nothing is
/// planned anew for them.
fn share(old: &Registry, revision: Revision, entries: impl Iterator<Item = Entry>) -> Registry {
    let mut fresh = Registry::default();
    fresh.apply(revision, entries);
    if fresh.objects == old.objects {
        fresh.objects = Arc::clone(&old.objects);
    }
    for (id, group) in &mut fresh.groups {
        if let Some(known) = old.groups.get(id).filter(|known| *known == group) {
            *group = Arc::clone(known);
        }
    }
    fresh
}

/// Events since the last time that all was said.
#[derive(Default)]
struct Reading {
    /// The hub says everything anew.
    is_fresh: bool,
    /// Something of it could not be read, so that what is not known may be there.
    is_partial: bool,
    entries: Vec<Entry>,
}

enum Taken {
    More,
    Begun {
        resumed: bool,
    },
    Synced(Revision),
    /// An object of a kind that is known.
    Unreadable(String),
    /// Of no concern to this version.
    Unknown(String),
}

impl Reading {
    fn take(&mut self, event: &Event) -> Taken {
        match event.json::<WatchEvent>() {
            Ok(WatchEvent::Begin { resumed }) => Taken::Begun { resumed },
            Ok(WatchEvent::Synced { revision }) => Taken::Synced(Revision(revision)),
            Ok(WatchEvent::Object { key, modified, value }) => match parse(&key, modified, value) {
                Ok(entry) => {
                    self.entries.push(entry);
                    Taken::More
                }
                Err(error) if key.parse::<Key>().is_ok() => Taken::Unreadable(format!("{key}: {error:#}")),
                Err(error) => Taken::Unknown(error.to_string()),
            },
            Err(error) => Taken::Unknown(error.to_string()),
        }
    }
}

fn parse(key: &str, modified: u64, value: Option<Value>) -> Result<Entry> {
    let key: Key = key.parse()?;
    let object = value.map(|value| Object::from_value(&key, value)).transpose()?;
    Ok(Entry { key, modified: Revision(modified), object })
}

fn url(filter: &Filter) -> Url {
    let url = filter.orgs.iter().fold(Url::new("/v1/watch"), |url, org| url.query("org", org.as_str()));
    let url = if filter.objects { url.query("objects", "true") } else { url };
    let url = filter.groups.iter().fold(url, |url, group| url.query("group", group.as_str()));
    filter.members.iter().fold(url, |url, member| url.query("member", member.as_str()))
}

#[cfg(test)]
mod tests;
