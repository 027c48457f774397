//! `meshctl get KIND [NAME]` and `meshctl delete KIND NAME`: any object as the manifest that makes it.

use clap::{Args, ValueEnum};
use mesh_client::Url;
use mesh_core::model::group::Org;
use serde::{Deserialize, Serialize};
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

/// Manifests, as `apply` takes them.
#[derive(Debug, Serialize, Deserialize)]
struct Objects {
    schema: u32,
    kind: String,
    objects: Vec<Value>,
}

pub(crate) fn get(daemon: &Daemon, arguments: &GetArguments) -> Result<String, Failure> {
    let org = (!arguments.all_orgs).then(|| arguments.scope.org.as_ref().unwrap_or(&daemon.org));
    let url = url(arguments.kind, arguments.name.as_deref(), org, &arguments.scope);
    let objects: Objects = daemon.get(url)?;
    print(&objects, arguments.output.output, |objects, is_wide| {
        if objects.objects.is_empty() { "Nothing found.\n".to_owned() } else { table(objects, is_wide) }
    })
}

pub(crate) fn delete(daemon: &Daemon, arguments: &DeleteArguments) -> Result<String, Failure> {
    let org = arguments.scope.org.as_ref().unwrap_or(&daemon.org);
    let url = url(arguments.kind, Some(&arguments.name), Some(org), &arguments.scope);
    if !arguments.confirmation.is_given() {
        let found: Objects = daemon.get(url.clone())?;
        if found.objects.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("there is no {}", arguments.name), ""));
        }
        let names: Vec<String> = found.objects.iter().map(name).collect();
        arguments.confirmation.ask(&format!("{} will be deleted, with all that is in it.", names.join(", ")))?;
    }
    let deleted: Objects = daemon.delete(url)?;
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
fn print(objects: &Objects, output: Output, text: impl FnOnce(&Objects, bool) -> String) -> Result<String, Failure> {
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

/// What stands in metadata, and with `wide` what stands in the spec.
fn table(objects: &Objects, is_wide: bool) -> String {
    let row = |object: &Value| {
        let mut row = vec![
            cell(text(object, "/metadata/name")),
            cell(text(object, "/metadata/namespace")),
            cell(text(object, "/metadata/id")),
        ];
        if is_wide {
            row.push(spec(object));
        }
        row
    };
    let rows: Vec<_> = objects.objects.iter().map(row).collect();
    let header = ["NAME", "ORG", "ID", "SPEC"];
    render(if is_wide { &header } else { &header[..3] }, &rows)
}

/// `kind/name`, as `apply` prints it.
fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind").to_ascii_lowercase(), text(object, "/metadata/name"))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `key=value` of what is no list and no object.
fn spec(object: &Value) -> String {
    let Some(Value::Object(spec)) = object.get("spec") else { return "-".to_owned() };
    let shown = spec.iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some(format!("{key}={text}")),
        Value::Number(number) => Some(format!("{key}={number}")),
        Value::Bool(truth) => Some(format!("{key}={truth}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    cell(&shown.collect::<Vec<_>>().join(" "))
}
