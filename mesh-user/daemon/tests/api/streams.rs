//! What event streams send, and that a reader who comes back is sent what it lacks.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use mesh_client::{Event, Events, Url};
use mesh_core::api::group::{Gone, GroupReply, PeerConfiguration, WatchEvent};
use serde_json::{Value, json};

use crate::site::{PATIENCE, Site, public_key};

const GROUPS: &str = "/v1/orgs/default/networkgroups";
const GROUP: &str = "/v1/orgs/default/networkgroups/myNG";

/// Runs a reader of streams; the daemon is a program of its own.
fn read<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn next(events: &mut Events) -> Result<Event> {
    let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no event comes")??;
    event.context("the stream ended")
}

async fn is_silent(events: &mut Events) -> Result<()> {
    match tokio::time::timeout(Duration::from_millis(300), events.next()).await {
        Err(_) => Ok(()),
        Ok(event) => bail!("{event:?}"),
    }
}

async fn open(site: &Site, url: impl Into<Url>, resume: Option<&str>) -> Result<Events> {
    Ok(site.client().events(url, resume, PATIENCE).await?)
}

/// NG-39: every version in order, resumed by the version that the reader has, `deleted` at the end.
#[test]
fn a_group_is_followed() -> Result<()> {
    let site = Site::start()?;
    site.json("POST", GROUPS, Some(json!({ "label": "myNG" })))?;
    let watch = format!("{GROUP}/watch");
    read(async {
        let mut events = open(&site, &*watch, None).await?;
        let first = next(&mut events).await?;
        ensure!(first.event == "group" && first.id.as_deref() == Some("1"), "{first:?}");
        for (version, member) in [(2, "app_one"), (3, "app_two")] {
            site.json("POST", &format!("{GROUP}/members"), Some(json!({ "id": member })))?;
            let event = next(&mut events).await?;
            let reply: GroupReply = event.json()?;
            ensure!(reply.network_group.group.version == version && event.id == Some(version.to_string()), "{event:?}");
            ensure!(reply.network_group.members.len() as u64 == version - 1, "{event:?}");
        }
        is_silent(&mut open(&site, &*watch, Some("3")).await?).await?;
        is_silent(&mut open(&site, &*format!("{watch}?version=3"), None).await?).await?;
        ensure!(next(&mut open(&site, &*watch, Some("2")).await?).await?.id.as_deref() == Some("3"), "it lacks 3");

        let other = json!({ "label": "other" });
        site.json("POST", GROUPS, Some(other))?;
        is_silent(&mut events).await?;
        let deleted = site.json("DELETE", GROUP, None)?;
        let last = next(&mut events).await?;
        let gone: Gone = last.json()?;
        ensure!(last.event == "deleted" && deleted["networkGroup"]["id"] == gone.ng_id.as_str(), "{last:?}");
        ensure!(events.next().await?.is_none(), "the stream goes on");
        Ok(())
    })?;
    ensure!(site.refused("GET", &watch, None)? == (404, "not_found".into()), "there is no group to follow");
    Ok(())
}

/// NG-40: the configuration comes when it changes, and only then.
#[test]
fn a_configuration_is_followed() -> Result<()> {
    let site = Site::start()?;
    site.json("POST", GROUPS, Some(json!({ "label": "myNG" })))?;
    let peer = |number: u8| json!({ "label": format!("p{number}"), "publicKey": public_key(number) });
    let peers = format!("{GROUP}/external-peers");
    site.json("POST", &peers, Some(peer(1)))?;
    let watch = format!("{GROUP}/peers/p1/configuration/watch");
    read(async {
        let mut events = open(&site, &*watch, None).await?;
        let first = next(&mut events).await?;
        ensure!(first.event == "configuration", "{first:?}");
        site.json("PATCH", GROUP, Some(json!({ "description": "of no concern to WireGuard" })))?;
        is_silent(&mut events).await?;
        let server = json!({
            "label": "p2", "publicKey": public_key(2), "peerRole": "SERVER", "ip": "192.0.2.1", "port": 51820,
        });
        site.json("POST", &peers, Some(server))?;
        let event = next(&mut events).await?;
        let configuration: PeerConfiguration = event.json()?;
        ensure!(configuration.conf.contains("192.0.2.1:51820"), "{event:?}");
        ensure!(event.id == Some(configuration.version.to_string()), "{event:?}");
        is_silent(&mut open(&site, &*watch, event.id.as_deref()).await?).await?;
        site.json("DELETE", &format!("{GROUP}/peers/p1"), None)?;
        ensure!(next(&mut events).await?.event == "deleted", "the peer is gone");
        ensure!(events.next().await?.is_none(), "the stream goes on");
        Ok(())
    })
}

/// What a reader of `/v1/watch` keeps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mirror {
    objects: BTreeMap<String, Value>,
    revision: Option<String>,
    resumed: Option<bool>,
}

impl Mirror {
    /// Takes in events until all of a state is there.
    async fn follow(&mut self, events: &mut Events) -> Result<()> {
        loop {
            let event = next(events).await?;
            match event.json()? {
                WatchEvent::Begin { resumed } => {
                    self.resumed = Some(resumed);
                    if !resumed {
                        self.objects.clear();
                    }
                }
                WatchEvent::Object { key, value: Some(value), .. } => drop(self.objects.insert(key, value)),
                WatchEvent::Object { key, value: None, .. } => {
                    self.objects.retain(|known, _| *known != key && !known.starts_with(&format!("{key}/")));
                }
                WatchEvent::Synced { revision } => {
                    ensure!(event.id == Some(revision.to_string()), "{event:?}");
                    self.revision = event.id;
                    return Ok(());
                }
            }
        }
    }

    fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.objects.values().filter_map(|object| object["label"].as_str()).collect();
        labels.sort_unstable();
        labels
    }
}

/// NG-39: groups appear and disappear with the member that was asked for; who comes back misses nothing.
#[test]
fn everything_of_a_member_is_followed() -> Result<()> {
    let site = Site::start()?;
    for label in ["one", "two"] {
        site.json("POST", GROUPS, Some(json!({ "label": label })))?;
    }
    let link = |group: &str| site.json("POST", &format!("{GROUPS}/{group}/members"), Some(json!({ "id": "app_one" })));
    let unlink = |group: &str| site.json("DELETE", &format!("{GROUPS}/{group}/members/app_one"), None);
    link("one")?;
    read(async {
        let url = "/v1/watch?member=app_one";
        let mut mirror = Mirror::default();
        let mut events = open(&site, url, None).await?;
        mirror.follow(&mut events).await?;
        ensure!(mirror.resumed == Some(false) && mirror.labels() == ["one"], "{mirror:?}");
        link("two")?;
        mirror.follow(&mut events).await?;
        ensure!(mirror.labels() == ["one", "two"], "{mirror:?}");
        unlink("one")?;
        mirror.follow(&mut events).await?;
        ensure!(mirror.labels() == ["two"] && mirror.objects.len() == 2, "{mirror:?}");
        site.json("PATCH", &format!("{GROUPS}/one"), Some(json!({ "description": "not for this reader" })))?;
        is_silent(&mut events).await?;

        drop(events);
        link("one")?;
        site.json("DELETE", &format!("{GROUPS}/two"), None)?;
        let mut events = open(&site, url, mirror.revision.as_deref()).await?;
        mirror.follow(&mut events).await?;
        ensure!(mirror.resumed == Some(true) && mirror.labels() == ["one"], "{mirror:?}");
        let mut fresh = Mirror::default();
        fresh.follow(&mut open(&site, url, None).await?).await?;
        ensure!(fresh.objects == mirror.objects, "{fresh:?} {mirror:?}");
        Ok(())
    })
}

/// A daemon that was killed has forgotten what was deleted before: who comes back with an older state gets everything.
#[test]
fn a_restart_of_the_daemon_is_survived() -> Result<()> {
    let mut site = Site::start()?;
    site.json("POST", GROUPS, Some(json!({ "label": "one" })))?;
    let mut mirror = Mirror::default();
    read(async { mirror.follow(&mut open(&site, "/v1/watch", None).await?).await })?;
    let old = mirror.clone();
    site.json("POST", GROUPS, Some(json!({ "label": "two" })))?;
    read(async { mirror.follow(&mut open(&site, "/v1/watch", mirror.revision.clone().as_deref()).await?).await })?;
    ensure!(mirror.resumed == Some(true) && mirror.labels() == ["one", "two"], "{mirror:?}");

    site.node.kill()?;
    site.node.start()?;
    for (mut mirror, resumed) in [(mirror, true), (old, false)] {
        read(async { mirror.follow(&mut open(&site, "/v1/watch", mirror.revision.clone().as_deref()).await?).await })?;
        ensure!(mirror.resumed == Some(resumed) && mirror.labels() == ["one", "two"], "{mirror:?}");
    }
    Ok(())
}

/// Nothing queues for a reader that does not read: it skips states, and has the last one.
#[test]
fn a_slow_reader_skips_states() -> Result<()> {
    const CHANGES: u64 = 400;
    let site = Site::start()?;
    let members: Vec<Value> = (0..100).map(|number| json!({ "id": format!("app_{number}") })).collect();
    site.json("POST", GROUPS, Some(json!({ "label": "myNG", "members": members })))?;
    read(async {
        let mut events = open(&site, &*format!("{GROUP}/watch"), None).await?;
        let client = site.client();
        for change in 0..CHANGES {
            let body = json!({ "description": format!("change {change}") });
            client.patch::<_, Value>(GROUP, &body, PATIENCE).await?;
        }
        let (mut seen, mut last) = (0, 0);
        while last < 1 + CHANGES {
            let version = next(&mut events).await?.id.context("a version")?.parse()?;
            ensure!(version > last, "{version} after {last}");
            (seen, last) = (seen + 1, version);
        }
        // What the sockets hold is sent; each state is more than ten kilobytes.
        ensure!(seen < CHANGES / 2, "{seen} states were kept for it");
        Ok(())
    })
}

/// A stream is a stream: over TCP, and with a comment while nothing happens.
#[test]
fn a_silent_stream_says_that_it_is_alive() -> Result<()> {
    let site = Site::start()?;
    let name = |name: &str| site.file(name).display().to_string();
    let mut command = site.namespace.command("curl");
    command.args(["--silent", "--no-buffer", "--max-time", "17", "--cacert", &name("ca.pem")]);
    command.args(["--cert", &name("reader.pem"), "--key", &name("reader.key"), "https://127.0.0.1:7443/v1/watch"]);
    let finished = mesh_lab::process::finish(&mut command, Duration::from_secs(30))?;
    ensure!(finished.stdout.contains("event: begin") && finished.stdout.contains("event: synced"), "{finished:?}");
    ensure!(finished.stdout.lines().any(|line| line.starts_with(':')), "no comment within 17 s: {finished:?}");
    Ok(())
}
