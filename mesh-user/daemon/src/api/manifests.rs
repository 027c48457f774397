//! Requests that deal in manifests: `apply`, and any object as the manifest that would make it.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
};
use mesh_core::{
    api::{ApplyReply, ObjectList, group::SCHEMA, of_body},
    model::{
        Manifest, ObjectKind, Problems,
        group::{NetworkGroup, Org, Peer},
    },
    registry::{Author, Command, Declaration, Edit, Group, Proposal},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Api,
    caller::Caller,
    endpoint::{Endpoint, JSON, text, truth},
    errors::Failure,
    objects,
    request::{Path, Query, Text},
};
use crate::control::{Outcome, Wish};

const YAML: [&str; 3] = ["application/yaml", "application/x-yaml", "text/yaml"];
/// Of manifests; bytes.
const LIMIT: usize = 16 << 20;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const OF_ORG: &str = "Only of this org; absent: of all that the caller sees";
    const OF_NAMESPACE: &str = "Of the inter-cluster network, in this namespace; absent: in all, to delete in default";
    const SELECTOR: &str = "Of the inter-cluster network, with these labels: k=v, k!=v or k, with commas between";
    const OF_GROUP: &str = "Only in this network group, by id or label";
    vec![
        Endpoint::post("/v1/apply", apply, "Make everything as manifests say, or nothing of it")
            .text_body(&[YAML[0], YAML[1], YAML[2], JSON])
            .query("dryRun", "Only say what would be changed", truth())
            .query("org", "Of manifests that name none; absent: default", text())
            .limit(DefaultBodyLimit::max(LIMIT))
            .reply::<ApplyReply>(),
        Endpoint::get("/v1/objects/{kind}", list, "Objects of a kind as manifests")
            .query("org", OF_ORG, text())
            .query("group", OF_GROUP, text())
            .query("namespace", OF_NAMESPACE, text())
            .query("selector", SELECTOR, text())
            .reply::<ObjectList>(),
        Endpoint::get("/v1/objects/{kind}/{name}", list_named, "The objects of a kind that have this id or label")
            .query("org", OF_ORG, text())
            .query("group", OF_GROUP, text())
            .query("namespace", OF_NAMESPACE, text())
            .query("selector", SELECTOR, text())
            .reply::<ObjectList>(),
        Endpoint::delete("/v1/objects/{kind}/{name}", delete, "Delete the object; replies what it was")
            .query("org", "Of this org; absent: default", text())
            .query("group", OF_GROUP, text())
            .query("namespace", OF_NAMESPACE, text())
            .query("selector", SELECTOR, text())
            .reply::<ObjectList>(),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Application {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    org: Org,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    org: Option<Org>,
    group: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) selector: Option<String>,
}

async fn apply(
    State(api): State<Api>,
    caller: Caller,
    Query(Application { dry_run, org }): Query<Application>,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Json<ApplyReply>, Failure> {
    check_media_type(&headers)?;
    let (declarations, proposals) = read(&of_body(&text), &org)?;
    for declaration in &declarations {
        caller.administers(&declaration.org)?;
    }
    if proposals.is_empty() {
        let declared = api.registrar.declare(Author::Api, &declarations, false, dry_run).await;
        let changes = declared.map_err(|rejection| caller.told(rejection))?;
        return Ok(Json(ApplyReply { schema: SCHEMA, dry_run, changes, plan: Vec::new() }));
    }
    caller.administers(&api.org)?;
    let edit = Edit::Apply { proposals, at: now() };
    let Outcome { applied, plan } = objects::fulfil(&api, &caller, Wish { edit, declarations, dry_run }).await?;
    Ok(Json(ApplyReply { schema: SCHEMA, dry_run, changes: applied, plan }))
}

/// Network groups and what is in them, and everything else; or all that is wrong with their form.
fn read(manifests: &[Manifest], org: &Org) -> Result<(Vec<Declaration>, Vec<Proposal>), Problems> {
    let declarations = Declaration::read_all(manifests, org);
    match (declarations, Proposal::read_all(manifests)) {
        (Ok(declarations), Ok(proposals)) => Ok((declarations, proposals)),
        (declarations, proposals) => {
            let Problems(mut all) = declarations.err().unwrap_or_default();
            let Problems(more) = proposals.err().unwrap_or_default();
            // A file that cannot be read at all is told once.
            let new: Vec<_> = more.into_iter().filter(|problem| !all.contains(problem)).collect();
            all.extend(new);
            Err(Problems(all))
        }
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == JSON || YAML.contains(&essence.as_str()) {
        return Ok(());
    }
    let hint = format!("send {} or {JSON}", YAML[0]);
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "manifests are YAML or JSON", hint))
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(kind): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<Json<ObjectList>, Failure> {
    if let Ok(kind) = kind.parse::<ObjectKind>() {
        return objects::list(&api, &caller, kind, None, &scope);
    }
    let kind = kind.parse()?;
    let objects = hits(&api, &caller, kind, None, &scope);
    Ok(reply(kind, &objects))
}

async fn list_named(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
    Query(scope): Query<Scope>,
) -> Result<Json<ObjectList>, Failure> {
    if let Ok(kind) = kind.parse::<ObjectKind>() {
        return objects::list(&api, &caller, kind, Some(&name), &scope);
    }
    let kind = kind.parse()?;
    let objects = hits(&api, &caller, kind, Some(&name), &scope);
    if objects.is_empty() {
        return Err(missing(kind, &name));
    }
    Ok(reply(kind, &objects))
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
    Query(scope): Query<Scope>,
) -> Result<Json<ObjectList>, Failure> {
    if let Ok(kind) = kind.parse::<ObjectKind>() {
        return objects::delete(&api, &caller, kind, name, &scope).await;
    }
    let kind: Kind = kind.parse()?;
    let scope = Scope { org: Some(scope.org.unwrap_or_default()), ..scope };
    let objects = hits(&api, &caller, kind, Some(&name), &scope);
    let [object] = &objects[..] else {
        return Err(if objects.is_empty() { missing(kind, &name) } else { ambiguous(kind, &name, &objects) });
    };
    match kind {
        Kind::Peer => caller.runs_peers(&object.group.group)?,
        Kind::NetworkGroup | Kind::Member | Kind::AccessRule => caller.administers(&object.group.group.owner_id)?,
    }
    api.execute(object.deletion.clone()).await?;
    Ok(reply(kind, &objects))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NetworkGroup,
    Member,
    Peer,
    AccessRule,
}

impl FromStr for Kind {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text.to_ascii_lowercase().as_str() {
            "networkgroup" | "networkgroups" | "ng" => Ok(Kind::NetworkGroup),
            "member" | "members" => Ok(Kind::Member),
            "peer" | "peers" => Ok(Kind::Peer),
            "accessrule" | "accessrules" => Ok(Kind::AccessRule),
            _ => Err(Failure::not_found(format!(
                "there is no kind {text:?}: there are networkgroup, member, peer, accessrule, {}",
                ObjectKind::ALL.map(ObjectKind::plural).join(", ")
            ))),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::NetworkGroup => "NetworkGroup",
            Kind::Member => "Member",
            Kind::Peer => "Peer",
            Kind::AccessRule => "AccessRule",
        })
    }
}

/// An object that was asked for, and how it would be deleted.
struct Hit {
    group: Arc<Group>,
    manifest: Value,
    deletion: Command,
}

/// In the order of groups and ids.
fn hits(api: &Api, caller: &Caller, kind: Kind, name: Option<&str>, scope: &Scope) -> Vec<Hit> {
    let is_meant = |id: &str, label: Option<&str>| name.is_none_or(|name| id == name || label == Some(name));
    let registry = api.registry_for(caller);
    let groups = registry.groups.values().filter(|group| is_in_scope(&group.group, scope));
    let of_group = |group: &Arc<Group>| -> Vec<Hit> {
        let hit = |manifest, deletion| Hit { group: Arc::clone(group), manifest, deletion };
        let id = || group.id().clone();
        match kind {
            Kind::NetworkGroup if is_meant(group.id().as_str(), Some(group.group.label.as_str())) => {
                vec![hit(group.manifest(), Command::DeleteGroup { group: id() })]
            }
            Kind::NetworkGroup => Vec::new(),
            Kind::Member => {
                let meant = group.members.values().filter(|own| is_meant(own.id.as_str(), own.label.as_deref()));
                let unlink = |member| Command::Unlink { group: id(), member };
                meant.map(|own| hit(group.member_manifest(own), unlink(own.id.clone()))).collect()
            }
            Kind::Peer => {
                let label = |own: &Peer| own.label.as_ref().map(ToString::to_string);
                let meant = group.peers.values().filter(|own| is_meant(own.id.as_str(), label(own).as_deref()));
                let delete = |peer| Command::DeletePeer { group: id(), peer };
                meant.map(|own| hit(group.peer_manifest(own), delete(own.id.clone()))).collect()
            }
            Kind::AccessRule => {
                let meant = group.rules.values().filter(|own| is_meant(own.id.as_str(), None));
                let delete = |rule| Command::DeleteRule { group: id(), rule };
                meant.map(|own| hit(group.rule_manifest(own), delete(own.id.clone()))).collect()
            }
        }
    };
    groups.flat_map(of_group).collect()
}

fn is_in_scope(group: &NetworkGroup, scope: &Scope) -> bool {
    let is_called = |name: &String| group.id.as_str() == name || group.label.as_str() == name;
    scope.org.as_ref().is_none_or(|org| group.owner_id == *org) && scope.group.as_ref().is_none_or(is_called)
}

fn reply(kind: Kind, objects: &[Hit]) -> Json<ObjectList> {
    let objects = objects.iter().map(|hit| hit.manifest.clone()).collect();
    Json(ObjectList { schema: SCHEMA, kind: kind.to_string(), objects })
}

fn missing(kind: Kind, name: &str) -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is no {kind} {name:?}"),
        "`meshctl get` with the kind alone lists them; --org and --group narrow it",
    )
}

fn ambiguous(kind: Kind, name: &str, objects: &[Hit]) -> Failure {
    let groups: Vec<&str> = objects.iter().map(|hit| hit.group.group.label.as_str()).collect();
    let message = format!("{} objects are {kind} {name:?}, in {}", objects.len(), groups.join(", "));
    Failure::new(StatusCode::CONFLICT, "ambiguous", message, "name the network group (--group), or give an id")
}
