//! Requests about network groups themselves.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use mesh_core::{
    api::group::{CreateGroup, FullGroup, GroupConfiguration, GroupList, GroupReply, SCHEMA, UpdateGroup},
    model::group::{GroupId, Org},
    registry::{Author, Command, Registry},
};

use super::{
    Api,
    caller::Caller,
    endpoint::Endpoint,
    errors::Failure,
    request::{Body, Path},
};

const GROUPS: &str = "/v1/orgs/{org}/networkgroups";
const GROUP: &str = "/v1/orgs/{org}/networkgroups/{ng}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/networkgroup/configuration", configuration, "What holds for all network groups")
            .reply::<GroupConfiguration>(),
        Endpoint::get(GROUPS, list, "The network groups of an org").reply::<GroupList>(),
        Endpoint::post(GROUPS, create, "Make a network group, and link members to it")
            .body::<CreateGroup>()
            .reply::<GroupReply>(),
        Endpoint::get(GROUP, show, "A network group; its version is the ETag").reply::<GroupReply>(),
        Endpoint::patch(GROUP, update, "Change description, tags or default access; what is absent stays")
            .body::<UpdateGroup>()
            .reply::<GroupReply>(),
        Endpoint::delete(GROUP, delete, "Delete a network group with all that is in it; replies what it was")
            .reply::<GroupReply>(),
    ]
}

pub(super) fn reply(group: FullGroup) -> GroupReply {
    GroupReply { schema: SCHEMA, network_group: group }
}

/// The group as it is after a change.
pub(super) fn changed(registry: &Registry, id: &GroupId) -> Result<FullGroup, Failure> {
    registry.groups.get(id).map(|group| group.full()).ok_or_else(|| {
        let message = format!("the network group {id} was changed, and then deleted by somebody else");
        Failure::new(StatusCode::CONFLICT, "conflict", message, "list the network groups")
    })
}

/// The reply with the version as its ETag; without body where the caller has this version.
pub(super) fn versioned(version: u64, headers: &HeaderMap, reply: impl IntoResponse) -> Response {
    let tag = format!("\"{version}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
    let body = if known { StatusCode::NOT_MODIFIED.into_response() } else { reply.into_response() };
    ([(header::ETAG, tag)], body).into_response()
}

async fn configuration(State(api): State<Api>) -> Json<GroupConfiguration> {
    let dns_suffixes = api.suffixes.iter().map(ToString::to_string).collect();
    Json(GroupConfiguration { schema: SCHEMA, dns_suffixes })
}

async fn list(State(api): State<Api>, caller: Caller, Path(org): Path<Org>) -> Json<GroupList> {
    let registry = api.registry_for(&caller);
    Json(GroupList { schema: SCHEMA, network_groups: registry.groups_of(&org).map(|group| group.full()).collect() })
}

async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let registry = api.registry_for(&caller);
    let group = registry.find_group(&org, &ng)?;
    Ok(versioned(group.group.object.version, &headers, Json(reply(group.full()))))
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    Path(org): Path<Org>,
    Body(body): Body<CreateGroup>,
) -> Result<Json<GroupReply>, Failure> {
    caller.administers(&org)?;
    let id = match body.id {
        Some(id) => id,
        None => GroupId::new(super::random_uuid()?),
    };
    let command = Command::CreateGroup {
        id: Some(id.clone()),
        org,
        label: body.label,
        description: body.description,
        tags: body.tags,
        members: body.members,
        cidr: body.cidr,
        prefix_length: body.prefix_length,
        default_access: body.default_access,
    };
    let created = api.registrar.execute(Author::Api, command).await;
    let registry = created.map_err(|rejection| caller.told(rejection))?;
    Ok(Json(reply(changed(&registry, &id)?)))
}

async fn update(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    Body(body): Body<UpdateGroup>,
) -> Result<Json<GroupReply>, Failure> {
    caller.administers(&org)?;
    let id = api.group(&caller, &org, &ng)?.id().clone();
    let command = Command::UpdateGroup {
        group: id.clone(),
        description: body.description,
        tags: body.tags,
        default_access: body.default_access,
    };
    let registry = api.execute(command).await?;
    Ok(Json(reply(changed(&registry, &id)?)))
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
) -> Result<Json<GroupReply>, Failure> {
    caller.administers(&org)?;
    let group = api.group(&caller, &org, &ng)?;
    api.execute(Command::DeleteGroup { group: group.id().clone() }).await?;
    Ok(Json(reply(group.full())))
}
