//! Requests about the peers of a network group.

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use mesh_core::{
    api::group::{CreateExternalPeer, CreatePeer, PeerConfiguration, PeerReply, SCHEMA, UpdatePeer},
    model::group::{Org, Peer, PeerId, PeerKind},
    registry::{self, Command, Group, PeerSpec},
};

use super::{
    Api,
    caller::Caller,
    endpoint::Endpoint,
    errors::Failure,
    groups::versioned,
    request::{Body, Path},
};

const PEERS: &str = "/v1/orgs/{org}/networkgroups/{ng}/peers";
const EXTERNAL_PEERS: &str = "/v1/orgs/{org}/networkgroups/{ng}/external-peers";
const PEER: &str = "/v1/orgs/{org}/networkgroups/{ng}/peers/{peer}";
const CONFIGURATION: &str = "/v1/orgs/{org}/networkgroups/{ng}/peers/{peer}/configuration";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(PEERS, create, "Make a peer, by the node that runs it")
            .body::<CreatePeer>()
            .reply::<PeerReply>(),
        Endpoint::post(EXTERNAL_PEERS, create_external, "Make a peer of any WireGuard, if need be with its member")
            .body::<CreateExternalPeer>()
            .reply::<PeerReply>(),
        Endpoint::get(PEER, show, "A peer").reply::<PeerReply>(),
        Endpoint::patch(PEER, update, "Change key and place of a peer; its address stays")
            .body::<UpdatePeer>()
            .reply::<PeerReply>(),
        Endpoint::delete(PEER, delete, "Delete a peer, and a member that was made with one and has no other")
            .reply::<PeerReply>(),
        Endpoint::get(CONFIGURATION, configuration, "What WireGuard is to be told for a peer; the version is the ETag")
            .reply::<PeerConfiguration>(),
    ]
}

pub(super) fn configuration_of(group: &Group, peer: &Peer) -> PeerConfiguration {
    PeerConfiguration {
        schema: SCHEMA,
        ng_id: group.id().clone(),
        peer_id: peer.id.clone(),
        version: group.group.object.version,
        conf: registry::configuration(group, peer),
    }
}

fn reply(group: &Group, peer: &Peer) -> Json<PeerReply> {
    Json(PeerReply { schema: SCHEMA, ng_id: group.id().clone(), peer_id: peer.id.clone(), peer: peer.clone() })
}

async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, peer)): Path<(Org, String, String)>,
) -> Result<Json<PeerReply>, Failure> {
    let group = api.group(&caller, &org, &ng)?;
    Ok(reply(&group, group.find_peer(&peer)?))
}

async fn configuration(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, peer)): Path<(Org, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let group = api.group(&caller, &org, &ng)?;
    let configuration = configuration_of(&group, group.find_peer(&peer)?);
    Ok(versioned(configuration.version, &headers, Json(configuration)))
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    Body(body): Body<CreatePeer>,
) -> Result<Json<PeerReply>, Failure> {
    make(&api, &caller, &org, &ng, body.into()).await
}

async fn create_external(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    Body(body): Body<CreateExternalPeer>,
) -> Result<Json<PeerReply>, Failure> {
    let spec = PeerSpec {
        id: None,
        kind: PeerKind::ExternalPeer,
        label: Some(body.label),
        parent_member: body.parent_member,
        role: body.peer_role,
        public_key: body.public_key,
        ip: body.ip,
        port: body.port,
        hostname: body.hostname,
        parent_event: body.parent_event,
        hv: None,
        address: None,
    };
    make(&api, &caller, &org, &ng, spec).await
}

async fn make(api: &Api, caller: &Caller, org: &Org, ng: &str, mut peer: PeerSpec) -> Result<Json<PeerReply>, Failure> {
    let group = api.group(caller, org, ng)?;
    caller.runs_peers(&group.group)?;
    let id = match peer.id.take() {
        Some(id) => id,
        None => PeerId::new(super::random_uuid()?),
    };
    peer.id = Some(id.clone());
    changed(api, org, &group, &id, Command::CreatePeer { group: group.id().clone(), peer }).await
}

async fn update(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, peer)): Path<(Org, String, String)>,
    Body(body): Body<UpdatePeer>,
) -> Result<Json<PeerReply>, Failure> {
    let group = api.group(&caller, &org, &ng)?;
    caller.runs_peers(&group.group)?;
    let public = match (body.ip, body.port) {
        (Some(ip), Some(port)) => Some((ip, port)),
        (None, None) => None,
        _ => return Err(Failure::invalid("a peer has both ip and port, or neither", "give both, or neither")),
    };
    let id = group.find_peer(&peer)?.id.clone();
    let (of, peer) = (group.id().clone(), id.clone());
    let command = Command::UpdatePeer { group: of, peer, public_key: body.public_key, public };
    changed(&api, &org, &group, &id, command).await
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, peer)): Path<(Org, String, String)>,
) -> Result<Json<PeerReply>, Failure> {
    let group = api.group(&caller, &org, &ng)?;
    caller.runs_peers(&group.group)?;
    let peer = group.find_peer(&peer)?;
    api.execute(Command::DeletePeer { group: group.id().clone(), peer: peer.id.clone() }).await?;
    Ok(reply(&group, peer))
}

/// Executes a command and replies the peer as it is then.
async fn changed(
    api: &Api,
    org: &Org,
    group: &Group,
    id: &PeerId,
    command: Command,
) -> Result<Json<PeerReply>, Failure> {
    let registry = api.execute(command).await?;
    let group = registry.find_group(org, group.id().as_str())?;
    Ok(reply(group, group.find_peer(id.as_str())?))
}
