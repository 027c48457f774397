//! `meshctl get KIND [NAME]` and `meshctl delete`: any object as the manifest that makes it, or as a line of a table.

mod columns;
mod form;
mod kind;
mod path;
mod watch;

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use mesh_client::Url;
use mesh_core::{api::ObjectList, model::group::Org};
use serde_json::{Value, json};

use form::{FormArguments, ObjectForm};
use kind::Kind;

use crate::{
    confirm::Confirmation,
    daemon::Daemon,
    exit::{Exit, Failure},
    network::{Cluster, text},
    output::{Form, Output, OutputArguments, json as print_json, yaml},
};

/// Where Kubernetes has the id of a Liqo cluster.
const CLUSTER_ID_MAP: [&str; 2] = ["liqo", "liqo-clusterid-configmap"];

#[derive(Debug, Args)]
struct Scope {
    /// Owner of an object of network groups [default: the context's, else `default`]
    #[arg(long)]
    org: Option<Org>,
    /// Only in this network group, by id or label
    #[arg(long)]
    group: Option<String>,
    /// Namespace of an object of the inter-cluster network
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    /// As in gatewayservers, gws or gatewayservers.networking.liqo.io
    kind: Kind,
    /// Name, id or label [default: all]
    name: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Of every namespace
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Of every org
    #[arg(long, conflicts_with = "org")]
    all_orgs: bool,
    /// Only what has these labels: k=v, k!=v or k, with commas between
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Goes on with what changes
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    pub(crate) form: FormArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// As in gatewayservers, gws or gatewayservers.networking.liqo.io
    #[arg(required_unless_present = "files")]
    kind: Option<Kind>,
    /// Name, id or label
    #[arg(required_unless_present = "files")]
    name: Option<String>,
    /// What the manifests of this file or directory (or -, standard input) name; may stand several times
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["kind", "name"])]
    files: Vec<PathBuf>,
    /// What is not there is no failure
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

pub(crate) fn get(daemon: &Daemon, arguments: &GetArguments) -> Result<String, Failure> {
    let kind = arguments.kind;
    if arguments.watch {
        return watch::run(daemon, arguments);
    }
    let found = find(daemon, arguments)?;
    show(kind, &found, arguments)
}

fn find(daemon: &Daemon, arguments: &GetArguments) -> Result<ObjectList, Failure> {
    let name = arguments.name.as_deref();
    match arguments.kind {
        Kind::Group(_) => {
            let all = arguments.all_orgs || arguments.all_namespaces;
            let org = (!all).then(|| arguments.scope.org.as_ref().unwrap_or(&daemon.org));
            daemon.get(group_url(arguments.kind, name, org, &arguments.scope))
        }
        Kind::Cluster(_) => {
            let mut url = cluster_url(arguments.kind, name);
            if !arguments.all_namespaces {
                url = url.query("namespace", &arguments.scope.namespace);
            }
            if let Some(selector) = &arguments.selector {
                url = url.query("selector", selector);
            }
            daemon.get(url)
        }
        Kind::ConfigMap => {
            let id = Cluster::info(daemon)?.cluster_id;
            let [namespace, map] = CLUSTER_ID_MAP;
            let is_meant = (arguments.all_namespaces || arguments.scope.namespace == namespace)
                && name.is_none_or(|name| name == map);
            if !is_meant && name.is_some() {
                let hint = format!("there is one: `meshctl get configmaps -n {namespace} {map}`");
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("there is no ConfigMap {:?}", name.unwrap_or("")),
                    hint,
                ));
            }
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": map, "namespace": namespace },
                "data": { "CLUSTER_ID": id },
            });
            let objects = if is_meant { vec![object] } else { Vec::new() };
            Ok(ObjectList { schema: mesh_core::api::group::SCHEMA, kind: "ConfigMap".to_owned(), objects })
        }
    }
}

pub(crate) fn delete(daemon: &Daemon, arguments: &DeleteArguments) -> Result<String, Failure> {
    let targets = targets(daemon, arguments)?;
    if !arguments.confirmation.is_given() {
        let mut names = Vec::new();
        for target in &targets {
            match daemon.get::<ObjectList>(target.clone()) {
                Ok(found) => names.extend(found.objects.iter().map(name)),
                Err(failure) if failure.exit == Exit::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        if names.is_empty() && !arguments.ignore_not_found {
            return Err(Failure::new(
                Exit::NotFound,
                "there is nothing of that to delete",
                "`meshctl get` lists what there is",
            ));
        }
        arguments.confirmation.ask(&format!("{} will be deleted, with all that is in it.", names.join(", ")))?;
    }
    let mut gone: Option<ObjectList> = None;
    for target in targets {
        match daemon.delete::<ObjectList>(target) {
            Ok(deleted) => match &mut gone {
                Some(gone) => gone.objects.extend(deleted.objects),
                None => gone = Some(deleted),
            },
            Err(failure) if failure.exit == Exit::NotFound && arguments.ignore_not_found => {}
            Err(failure) => return Err(failure),
        }
    }
    let schema = mesh_core::api::group::SCHEMA;
    let gone = gone.unwrap_or(ObjectList { schema, kind: String::new(), objects: Vec::new() });
    print(&gone, arguments.output.output, |deleted, _| {
        deleted.objects.iter().map(|object| format!("{} deleted\n", name(object))).collect()
    })
}

/// Where each of what shall be deleted is; of files the last first, so that what needs another goes before it.
fn targets(daemon: &Daemon, arguments: &DeleteArguments) -> Result<Vec<Url>, Failure> {
    let scope = &arguments.scope;
    if let (Some(kind), Some(name)) = (arguments.kind, &arguments.name) {
        let org = scope.org.as_ref().unwrap_or(&daemon.org);
        return Ok(vec![target(kind, name, &scope.namespace, org, scope)?]);
    }
    let mut urls = Vec::new();
    for manifest in crate::apply::manifests(&arguments.files)? {
        let wrong =
            |reason: String| Failure::usage(format!("{}: {reason}", manifest.file), "a manifest has kind and name");
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&manifest.text).map_err(|error| wrong(error.without_snippet().to_string()))?;
        for document in documents {
            let kind: Kind = text(&document, "/kind").parse().map_err(wrong)?;
            let name = Some(text(&document, "/metadata/name")).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| wrong(format!("a {} without metadata.name", text(&document, "/kind"))))?;
            let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
            let org = match document.pointer("/metadata/org").and_then(Value::as_str) {
                Some(org) => org.parse().map_err(|error| wrong(format!("{error}")))?,
                None => scope.org.clone().unwrap_or_else(|| daemon.org.clone()),
            };
            let group = document.pointer("/spec/group").and_then(Value::as_str).map(str::to_owned);
            let namespace = namespace.unwrap_or(&scope.namespace).to_owned();
            let inside =
                Scope { org: None, group: group.or_else(|| scope.group.clone()), namespace: namespace.clone() };
            urls.push(target(kind, name, &namespace, &org, &inside)?);
        }
    }
    urls.reverse();
    Ok(urls)
}

fn target(kind: Kind, name: &str, namespace: &str, org: &Org, scope: &Scope) -> Result<Url, Failure> {
    match kind {
        Kind::Group(_) => Ok(group_url(kind, Some(name), Some(org), scope)),
        Kind::Cluster(_) => Ok(cluster_url(kind, Some(name)).query("namespace", namespace)),
        Kind::ConfigMap => Err(Failure::usage("the ConfigMap is a view of the cluster id", "meshd.toml has it")),
    }
}

fn cluster_url(kind: Kind, name: Option<&str>) -> Url {
    let url = Url::new("/v1/objects").segment(&kind.segment());
    name.map_or(url.clone(), |name| url.segment(name))
}

fn group_url(kind: Kind, name: Option<&str>, org: Option<&Org>, scope: &Scope) -> Url {
    let mut url = cluster_url(kind, name);
    if let Some(org) = org {
        url = url.query("org", org.as_str());
    }
    if let Some(group) = &scope.group {
        url = url.query("group", group);
    }
    url
}

fn show(kind: Kind, found: &ObjectList, arguments: &GetArguments) -> Result<String, Failure> {
    // Of one that was named, the object itself; else a list.
    let value = || match (&arguments.name, found.objects.as_slice()) {
        (Some(_), [one]) => one.clone(),
        (_, several) => json!({ "items": several }),
    };
    match arguments.form.form() {
        ObjectForm::JsonPath(path) => Ok(path.fill_json(&value())),
        ObjectForm::Template(path) => Ok(path.fill_go(&value())),
        ObjectForm::Plain(Output::Json) if is_cluster(kind) && arguments.name.is_some() => print_json(&value()),
        ObjectForm::Plain(output) => print(found, output, |found, is_wide| match found.objects.as_slice() {
            [] => "Nothing found.\n".to_owned(),
            objects => table(kind, objects, is_wide, arguments.all_namespaces),
        }),
    }
}

fn is_cluster(kind: Kind) -> bool {
    !matches!(kind, Kind::Group(_))
}

fn table(kind: Kind, objects: &[Value], is_wide: bool, all: bool) -> String {
    columns::table(kind, objects, is_wide, all, Timestamp::now().as_second())
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

/// `kind/name`, as `apply` prints it.
fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind").to_ascii_lowercase(), text(object, "/metadata/name"))
}
