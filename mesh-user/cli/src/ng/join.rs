//! `meshctl ng join G` and `leave G`: this node's own part in a group. The local meshd does the work and keeps the key.

use std::{io::Write as _, path::PathBuf, time::Duration};

use clap::Args;
use mesh_core::{
    api::{
        group::SCHEMA,
        node::{Join, JoinReply, LeaveReply},
    },
    model::group::{Label, MemberId},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Desk, whoami};
use crate::{
    daemon,
    exit::{Exit, Failure},
};

#[derive(Debug, Args)]
pub(crate) struct JoinArguments {
    /// Id or label
    group: String,
    /// A daemon of the contexts file that holds the group [default: the daemon's hub, else its own store]
    #[arg(long, value_name = "CONTEXT")]
    hub: Option<String>,
    /// What this node runs an instance of [default: a new external member]
    #[arg(long, value_name = "ID")]
    member: Option<MemberId>,
    /// Of the external peer [default: the node's id]
    #[arg(long)]
    label: Option<Label>,
    /// A network namespace that the tunnel is put in: a path, or a name of /run/netns
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// Stays, and leaves on SIGINT or SIGTERM
    #[arg(long)]
    foreground: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LeaveArguments {
    /// Id or label
    group: String,
    /// Where this node runs instances of several members
    #[arg(long, value_name = "ID")]
    member: Option<MemberId>,
}

pub(super) fn join(desk: &Desk, arguments: &JoinArguments) -> Result<String, Failure> {
    let body = Join {
        org: desk.org.clone(),
        group: arguments.group.clone(),
        member: arguments.member.clone(),
        label: arguments.label.clone(),
        netns: arguments.netns.clone().map(namespace).transpose()?,
        hub: arguments.hub.as_deref().map(daemon::server).transpose()?,
        patience: desk.daemon.timeout.as_secs(),
    };
    let show = |reply: &JoinReply| desk.form.print(reply, |reply| whoami::peer(&reply.peer));
    if !arguments.foreground {
        return show(&desk.daemon.wait(ask(desk, &body))?);
    }
    desk.daemon.wait(async {
        let mut stop = Stop::new()?;
        let asked = tokio::select! {
            asked = ask(desk, &body) => asked.map(Some),
            () = stop.asked() => Ok(None),
        };
        let mut member = arguments.member.clone();
        if let Some(reply) = asked? {
            // The node may have joined the group as others too.
            member = Some(reply.peer.member.clone());
            let mut output = std::io::stdout();
            let written = output.write_all(show(&reply)?.as_bytes()).and_then(|()| output.flush());
            written.map_err(|error| Failure::unexpected(format!("cannot write: {error}")))?;
            stop.asked().await;
        }
        request_leave(desk, &arguments.group, member.as_ref()).await.map(|_| String::new())
    })
}

pub(super) fn leave(desk: &Desk, arguments: &LeaveArguments) -> Result<String, Failure> {
    let left = desk.daemon.wait(request_leave(desk, &arguments.group, arguments.member.as_ref()))?;
    let nothing = LeaveReply { schema: SCHEMA, peer: None };
    desk.form.print(left.as_ref().unwrap_or(&nothing), |reply| match (&left, &reply.peer) {
        (Some(_), Some(peer)) => format!("Left {} ({}): {} is free\n", peer.ng_label, peer.ng_id, peer.address),
        (Some(_), None) => format!("Left {} before it gave an address\n", arguments.group),
        (None, _) => format!("This node is not in {}\n", arguments.group),
    })
}

/// The daemon's answer comes when the peer is up, or says itself that its patience is over.
async fn ask(desk: &Desk, body: &Join) -> Result<JoinReply, Failure> {
    let deadline = desk.daemon.timeout + Duration::from_secs(5);
    Ok(desk.daemon.client.post("/v1/node/joins", body, deadline).await?)
}

/// `None` where there was nothing to leave.
async fn request_leave(desk: &Desk, group: &str, member: Option<&MemberId>) -> Result<Option<LeaveReply>, Failure> {
    let mut url = mesh_client::Url::new("/v1/node/joins").segment(group).query("org", desk.org.as_str());
    if let Some(member) = member {
        url = url.query("member", member.as_str());
    }
    let reply: Result<LeaveReply, _> = desk.daemon.client.delete(url, desk.daemon.timeout).await;
    match reply.map_err(Failure::from) {
        Ok(reply) => Ok(Some(reply)),
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// As the daemon can use it, which works in another directory.
fn namespace(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.components().count() == 1 && path.is_relative() {
        return Ok(PathBuf::from("/run/netns").join(path));
    }
    std::path::absolute(&path).map_err(|error| Failure::unexpected(format!("{}: {error}", path.display())))
}

/// Somebody wants this program to end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Stop, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::unexpected(format!("no signals: {error}")));
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
