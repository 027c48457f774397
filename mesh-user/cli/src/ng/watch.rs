//! `meshctl ng watch [G [PEER]]`: what changes, as it changes. With `-F json` one object a line.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::Duration,
};

use clap::Args;
use mesh_client::{Event, Url};
use mesh_core::{
    api::group::{FullGroup, GroupReply, PeerConfiguration, WatchEvent},
    model::group::{Member, Peer},
};

use super::{Desk, show};
use crate::{
    exit::{Exit, Failure},
    output::Form,
};

/// Between two attempts to resume.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Id or label [default: everything of the org]
    group: Option<String>,
    /// Its configuration instead of the group
    peer: Option<String>,
}

/// How one line becomes another: what was shown last is what the next is compared with.
#[derive(Debug, Default)]
struct Screen {
    group: Option<FullGroup>,
}

/// Why a stream is over.
enum End {
    /// There is nothing more to come.
    Deleted,
    /// The reader of our output went away.
    Unread,
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    let url = match (&arguments.group, &arguments.peer) {
        (None, _) => Url::new("/v1/watch").query("org", desk.org.as_str()),
        (Some(group), None) => desk.group_url(group, &["watch"]),
        (Some(group), Some(peer)) => desk.group_url(group, &["peers", peer, "configuration", "watch"]),
    };
    desk.daemon.wait(follow(desk, &url))?;
    Ok(String::new())
}

/// Resumes by itself when the connection breaks; what is refused stays refused.
async fn follow(desk: &Desk, url: &Url) -> Result<End, Failure> {
    let mut resume: Option<String> = None;
    let mut screen = Screen::default();
    let mut broken = false;
    loop {
        match read(desk, url, &mut resume, &mut screen, &mut broken).await {
            Ok(end) => return Ok(end),
            Err(failure) => {
                let is_passing = matches!(failure.exit, Exit::Unreachable | Exit::Timeout);
                if !is_passing || resume.is_none() {
                    return Err(failure);
                }
                if !std::mem::replace(&mut broken, true) {
                    eprintln!("{}; trying again every second", failure.error.message);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One connection's worth.
async fn read(
    desk: &Desk,
    url: &Url,
    resume: &mut Option<String>,
    screen: &mut Screen,
    broken: &mut bool,
) -> Result<End, Failure> {
    let mut events = desk.daemon.client.events(url.clone(), resume.as_deref(), desk.daemon.timeout).await?;
    if std::mem::take(broken) {
        eprintln!("resumed");
    }
    while let Some(event) = events.next().await? {
        let text = match desk.form {
            Form::Text => screen.show(&event)?,
            Form::Json => line(&event)?,
            Form::Yaml => format!("---\n{}", crate::output::yaml(&value(&event)?)?),
        };
        if !write(&text)? {
            return Ok(End::Unread);
        }
        if event.event == "deleted" {
            return Ok(End::Deleted);
        }
        resume.clone_from(&event.id);
    }
    Err(Failure::new(Exit::Unreachable, format!("{} ended the stream", desk.daemon.client.place()), ""))
}

impl Screen {
    fn show(&mut self, event: &Event) -> Result<String, Failure> {
        match event.event.as_str() {
            "group" => {
                let reply: GroupReply = parse(event)?;
                let lines = changes(self.group.as_ref(), &reply.network_group);
                self.group = Some(reply.network_group);
                Ok(lines)
            }
            "configuration" => {
                let configuration: PeerConfiguration = parse(event)?;
                Ok(format!("# version {}\n{}", configuration.version, configuration.conf))
            }
            "deleted" => Ok("deleted\n".to_owned()),
            _ => parse::<WatchEvent>(event).map(|event| object(&event)),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(event: &Event) -> Result<T, Failure> {
    event.json().map_err(|error| Failure::unexpected(format!("event {} is not understood: {error}", event.event)))
}

fn value(event: &Event) -> Result<serde_json::Value, Failure> {
    let data: serde_json::Value = parse(event)?;
    Ok(serde_json::json!({ "event": event.event, "id": event.id, "data": data }))
}

/// The data stands in it as it came.
fn line(event: &Event) -> Result<String, Failure> {
    let _is_json: serde::de::IgnoredAny = parse(event)?;
    let (name, id) = (serde_json::json!(event.event), serde_json::json!(event.id));
    let data = event.data.replace('\n', " ");
    Ok(format!("{{\"event\":{name},\"id\":{id},\"data\":{data}}}\n"))
}

/// `false`: nobody reads any more.
fn write(text: &str) -> Result<bool, Failure> {
    let mut output = io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::unexpected(format!("cannot write: {error}"))),
    }
}

/// A line of `/v1/watch`.
fn object(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Begin { resumed: true } => "resumed\n".to_owned(),
        WatchEvent::Begin { resumed: false } => "from the beginning\n".to_owned(),
        WatchEvent::Object { key, modified, value: Some(_) } => format!("{modified:>6}  put      {key}\n"),
        WatchEvent::Object { key, modified, value: None } => format!("{modified:>6}  deleted  {key}\n"),
        WatchEvent::Synced { revision } => format!("{revision:>6}  synced\n"),
    }
}

/// What is other than before, one line each; everything, at first.
fn changes(before: Option<&FullGroup>, now: &FullGroup) -> String {
    let version = now.group.version;
    let Some(before) = before else {
        return format!("version {version}\n{}\n", show::group(now));
    };
    let mut lines = Vec::new();
    let (old, new) = (&before.group, &now.group);
    if old.description != new.description {
        lines.push(format!("description {:?}", new.description.as_deref().unwrap_or("")));
    }
    if old.tags != new.tags {
        let tags: Vec<&str> = new.tags.iter().map(|tag| tag.as_str()).collect();
        lines.push(format!("tags {}", tags.join(",")));
    }
    if old.default_access != new.default_access {
        lines.push(format!("default access {}", show::access(new.default_access)));
    }
    differences(&before.members, &now.members, |member| member.id.to_string(), member, &mut lines);
    differences(&before.peers, &now.peers, |peer| peer.id.to_string(), peer, &mut lines);
    if lines.is_empty() {
        // A rule, or what is not shown.
        lines.push("changed".to_owned());
    }
    lines.iter().map(|line| format!("version {version}  {line}\n")).collect()
}

fn differences<T: PartialEq>(
    before: &[T],
    now: &[T],
    id: impl Fn(&T) -> String,
    describe: impl Fn(&T) -> String,
    lines: &mut Vec<String>,
) {
    let mut left: BTreeMap<String, &T> = before.iter().map(|object| (id(object), object)).collect();
    for object in now {
        match left.remove(&id(object)) {
            Some(old) if old == object => {}
            Some(_) => lines.push(format!("~ {}", describe(object))),
            None => lines.push(format!("+ {}", describe(object))),
        }
    }
    lines.extend(left.values().map(|object| format!("- {}", describe(object))));
}

fn member(member: &Member) -> String {
    format!("member {}  {}", member.id, member.domain_name)
}

fn peer(peer: &Peer) -> String {
    format!("peer {}  {}  of {}", show::name(peer), peer.endpoint.address(), peer.parent_member)
}
