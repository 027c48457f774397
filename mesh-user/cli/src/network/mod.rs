//! `meshctl network`: connections between two clusters, made and taken away step by step at both of them.

mod cluster;
mod connect;
mod files;
mod flags;
mod reading;
mod report;
mod side;
mod status;
mod undo;

#[cfg(test)]
mod tests;

use std::time::Instant;

use clap::{Args, Subcommand};
use mesh_core::{api::ClusterReply, model::ObjectKind};
use serde_json::json;

use files::Exchange;
use flags::{Both, ConnectFlags};

pub(crate) use cluster::Cluster;
pub(crate) use reading::{broken, condition, is_about, name, nets, text};
pub(crate) use report::{End, Report};
pub(crate) use side::Side;

use crate::{
    confirm::Confirmation,
    daemon::{Endpoint, Parts},
    exit::Failure,
    output::{Form, Output, OutputArguments},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Connects this cluster to a remote one; what stands already is kept
    Connect(Box<ConnectArguments>),
    /// Removes the gateways at both; the names of the prefixes stay for the next time
    Disconnect(Box<UndoArguments>),
    /// Disconnects, removes keys and Configurations at both, and looks whether anything is left
    Reset(Box<UndoArguments>),
    /// The connections of this cluster, one a line
    Status(StatusArguments),
}

#[derive(Debug, Args)]
struct ConnectArguments {
    #[command(flatten)]
    both: Both,
    #[command(flatten)]
    flags: ConnectFlags,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct UndoArguments {
    #[command(flatten)]
    both: Both,
    /// Until the connection is gone
    #[arg(long)]
    wait: bool,
    /// Only at this side: the remote daemon is not asked
    #[arg(long)]
    local_only: bool,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// Ids of remote clusters [default: all]
    remotes: Vec<String>,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    Disconnect,
    Reset,
}

impl Arguments {
    pub(crate) fn form(&self) -> Form {
        match &self.verb {
            Verb::Connect(arguments) => arguments.output.output.form(),
            Verb::Disconnect(arguments) | Verb::Reset(arguments) => arguments.output.output.form(),
            Verb::Status(arguments) => arguments.output.output.form(),
        }
    }
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    match &arguments.verb {
        Verb::Connect(arguments) => connect(endpoint, arguments),
        Verb::Disconnect(arguments) => undo(endpoint, arguments, Undo::Disconnect),
        Verb::Reset(arguments) => undo(endpoint, arguments, Undo::Reset),
        Verb::Status(arguments) => {
            status::run(&endpoint.daemon_of(&arguments.parts)?, &arguments.remotes, arguments.output.output)
        }
    }
}

fn connect(endpoint: &Endpoint, arguments: &ConnectArguments) -> Result<String, Failure> {
    let output = arguments.output.output;
    let both = &arguments.both;
    let wish = arguments.flags.wish()?;
    let mut report = Report::new(output.form(), both.is_verbose());
    let daemon = endpoint.daemon_of(&both.parts)?;
    let remote = both.remote_daemon(endpoint)?;
    let deadline = Instant::now() + endpoint.patience();
    let side = |end, cluster| both.side(end, cluster, deadline);
    let done = (|| {
        let local = side(End::Local, &daemon)?;
        match (&remote, &both.remote_files) {
            (_, Some(directory)) => {
                let exchange = Exchange { directory, remote: both.remote_cluster_id.as_deref() };
                files::connect(&local, &exchange, &wish, &mut report)
            }
            (Some(remote), None) => connect::run(&local, &side(End::Remote, remote)?, &wish, &mut report),
            (None, None) => Err(flags::no_remote()),
        }
    })();
    finish(done, report, output, || {
        let connections = daemon_connections(&daemon)?;
        Ok(json!({ "connections": connections }))
    })
}

fn undo(endpoint: &Endpoint, arguments: &UndoArguments, what: Undo) -> Result<String, Failure> {
    let output = arguments.output.output;
    let both = &arguments.both;
    let verb = if what == Undo::Reset { "reset" } else { "disconnect" };
    let daemon = endpoint.daemon_of(&both.parts)?;
    let is_alone = arguments.local_only || both.remote_files.is_some();
    let remote_daemon = if is_alone { None } else { both.remote_daemon(endpoint)? };
    if remote_daemon.is_none() && !is_alone {
        return Err(flags::no_remote());
    }
    let what_goes = match what {
        Undo::Disconnect => "the connection is cut",
        Undo::Reset => "the connection is cut, and the names of the remote's prefixes are given up",
    };
    arguments.confirmation.ask(&format!("{verb} is a potentially destructive command: {what_goes}."))?;
    let mut report = Report::new(output.form(), both.is_verbose());
    let deadline = Instant::now() + endpoint.patience();
    let done = (|| {
        let local = both.side(End::Local, &daemon, deadline)?;
        let remote = remote_daemon.as_ref().map(|daemon| both.side(End::Remote, daemon, deadline)).transpose()?;
        let remote_id = match (&remote, &both.remote_cluster_id) {
            (Some(remote), _) => remote.id().to_owned(),
            (None, Some(id)) => id.clone(),
            (None, None) => undo::only_remote(&local)?,
        };
        for side in std::iter::once(&local).chain(&remote) {
            report.info(side.end, format!("Cluster identity retrieved: {}", side.id()));
        }
        let sides = undo::sides(&local, remote.as_ref(), &remote_id);
        match what {
            Undo::Disconnect => undo::disconnect(&sides, arguments.wait, &mut report)?,
            Undo::Reset => undo::reset(&sides, &mut report)?,
        }
        match &both.remote_files {
            Some(directory) => {
                Exchange { directory, remote: Some(&remote_id) }.withdraw(&local, &mut report)?;
                report.info(End::Remote, format!("The admin of {remote_id} runs the same there"));
                Ok(())
            }
            None => Ok(()),
        }
    })();
    finish(done, report, output, || Ok(json!({})))
}

/// What `/v1/info` says is right for connections.
fn retrieved(side: &Side<'_>, report: &mut Report) -> Result<(), Failure> {
    let ClusterReply { cluster_id, network, .. } = &side.info;
    if network.pod_cidrs.is_empty() {
        let why = if network.detail.is_empty() { "it has no pod CIDR" } else { &network.detail };
        let message = format!("cluster {cluster_id} cannot have connections: {why}");
        let hint = "add [cidr] with pod = [...] to its settings";
        return Err(side.failed("network configuration", Failure::usage(message, hint)));
    }
    let nets = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (pods, external) = (nets(&network.pod_cidrs), nets(&network.external_cidrs));
    let external = if external.is_empty() { "none".to_owned() } else { external };
    report.info(side.end, format!("Network configuration of {cluster_id} retrieved: pods {pods}, external {external}"));
    Ok(())
}

fn daemon_connections(daemon: &dyn Cluster) -> Result<Vec<serde_json::Value>, Failure> {
    daemon.list(ObjectKind::Connection)
}

/// A failure is a line of the sequence too.
fn finish(
    done: Result<(), Failure>,
    mut report: Report,
    output: Output,
    more: impl FnOnce() -> Result<serde_json::Value, Failure>,
) -> Result<String, Failure> {
    if let Err(failure) = done {
        let end = if failure.error.message.starts_with("(remote)") { End::Remote } else { End::Local };
        let message = failure.error.message.trim_start_matches("(remote) ").trim_start_matches("(local) ");
        report.error(end, message);
        return Err(failure);
    }
    let form = output.form();
    if form == Form::Text {
        return Ok(String::new());
    }
    let mut reply = json!({ "schema": mesh_core::api::group::SCHEMA, "steps": report.lines });
    if let (Some(reply), serde_json::Value::Object(more)) = (reply.as_object_mut(), more()?) {
        reply.extend(more);
    }
    form.print(&reply, |_| String::new())
}
