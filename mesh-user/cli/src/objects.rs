//! `meshctl get KIND [NAME]` and `meshctl delete KIND NAME`: any object as the manifest that makes it.

use clap::{Args, ValueEnum};
use mesh_client::Url;
use mesh_core::{api::ObjectList, model::group::Org};
use serde_json::Value;

use crate::{
    confirm::Confirmation,
    daemon::Daemon,
    exit::{Exit, Failure},
    output::{Form, Output, OutputArguments, yaml},
    table::{cell, render},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
enum Kind {
    #[value(aliases = ["networkgroups", "ng"])]
    NetworkGroup,
    #[value(alias = "members")]
    Member,
    #[value(alias = "peers")]
    Peer,
    #[value(aliases = ["accessrules", "rule", "rules"])]
    AccessRule,
}

#[derive(Debug, Args)]
struct Scope {
    /// Owner of the object [default: the context's, else `default`]
    #[arg(long)]
    org: Option<Org>,
    /// Only in this group, by id or label
    #[arg(long)]
    group: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    #[arg(value_enum, ignore_case = true)]
    kind: Kind,
    /// Id or label [default: all]
    name: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Of every org
    #[arg(long, conflicts_with = "org")]
    all_orgs: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    #[arg(value_enum, ignore_case = true)]
    kind: Kind,
    /// Id or label
    name: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

pub(crate) fn get(daemon: &Daemon, arguments: &GetArguments) -> Result<String, Failure> {
    let org = (!arguments.all_orgs).then(|| arguments.scope.org.as_ref().unwrap_or(&daemon.org));
    let url = url(arguments.kind, arguments.name.as_deref(), org, &arguments.scope);
    let objects: ObjectList = daemon.get(url)?;
    print(&objects, arguments.output.output, |objects, is_wide| {
        if objects.objects.is_empty() { "Nothing found.\n".to_owned() } else { table(objects, is_wide) }
    })
}

pub(crate) fn delete(daemon: &Daemon, arguments: &DeleteArguments) -> Result<String, Failure> {
    let org = arguments.scope.org.as_ref().unwrap_or(&daemon.org);
    let url = url(arguments.kind, Some(&arguments.name), Some(org), &arguments.scope);
    if !arguments.confirmation.is_given() {
        let found: ObjectList = daemon.get(url.clone())?;
        if found.objects.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("there is no {}", arguments.name), ""));
        }
        let names: Vec<String> = found.objects.iter().map(name).collect();
        arguments.confirmation.ask(&format!("{} will be deleted, with all that is in it.", names.join(", ")))?;
    }
    let deleted: ObjectList = daemon.delete(url)?;
    print(&deleted, arguments.output.output, |deleted, _| {
        deleted.objects.iter().map(|object| format!("{} deleted\n", name(object))).collect()
    })
}

fn url(kind: Kind, name: Option<&str>, org: Option<&Org>, scope: &Scope) -> Url {
    let kind = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut url = Url::new("/v1/objects").segment(&kind);
    if let Some(name) = name {
        url = url.segment(name);
    }
    if let Some(org) = org {
        url = url.query("org", org.as_str());
    }
    if let Some(group) = &scope.group {
        url = url.query("group", group);
    }
    url
}

/// In YAML as a stream of documents that `apply` takes.
fn print(
    objects: &ObjectList,
    output: Output,
    text: impl FnOnce(&ObjectList, bool) -> String,
) -> Result<String, Failure> {
    match output.form() {
        Form::Yaml => {
            let documents: Result<Vec<String>, Failure> = objects.objects.iter().map(yaml).collect();
            Ok(documents?.join("---\n"))
        }
        form => form.print(objects, |objects| match output {
            Output::Name => objects.objects.iter().map(|object| name(object) + "\n").collect(),
            Output::Table | Output::Wide | Output::Json | Output::Yaml => text(objects, output == Output::Wide),
        }),
    }
}

/// A column: its header, and where a manifest has it.
type Column = (&'static str, &'static str);

const NAME: &[Column] = &[("NAME", "/metadata/name"), ("ORG", "/metadata/org")];
const GROUP: Column = ("GROUP", "/spec/group");

/// Those that always stand there, and those of the wide table.
fn columns(kind: &str) -> (&'static [Column], &'static [Column]) {
    match kind {
        "NetworkGroup" => (
            &[("CIDR", "/spec/cidr"), ("MEMBERS", "/status/members"), ("PEERS", "/status/peers"), ("ID", "/status/id")],
            &[("ACCESS", "/spec/defaultAccess"), ("VERSION", "/status/version"), ("DESCRIPTION", "/spec/description")],
        ),
        "Member" => (
            &[GROUP, ("KIND", "/spec/kind"), ("STATUS", "/status/status"), ("LABEL", "/spec/label")],
            &[("DOMAIN", "/spec/domainName")],
        ),
        "Peer" => (
            &[
                GROUP,
                ("MEMBER", "/spec/parentMember"),
                ("ADDRESS", "/status/address"),
                ("ENDPOINT", "/spec/ip"),
                ("PORT", "/spec/port"),
                ("TYPE", "/spec/type"),
            ],
            &[("NODE", "/status/hv"), ("ID", "/status/id"), ("KEY", "/spec/publicKey")],
        ),
        "AccessRule" => (&[GROUP, ("FROM", "/spec/from"), ("TO", "/spec/to"), ("TRAFFIC", "/spec/traffic")], &[]),
        _ => (&[], &[]),
    }
}

fn table(objects: &ObjectList, is_wide: bool) -> String {
    let (always, wide) = columns(&objects.kind);
    let wide = if is_wide { wide } else { &[] };
    let owner: &[Column] = if is_wide { &[("MANAGED BY", "/status/managedBy")] } else { &[] };
    let columns = [NAME, always, wide, owner].concat();
    let row = |object: &Value| columns.iter().map(|(_, pointer)| shown(object.pointer(pointer))).collect();
    let rows: Vec<Vec<String>> = objects.objects.iter().map(row).collect();
    let header: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
    render(&header, &rows)
}

fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => cell(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// `kind/name`, as `apply` prints it.
fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind").to_ascii_lowercase(), text(object, "/metadata/name"))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
