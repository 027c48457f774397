//! Requests that look for something in all network groups of an org.

use axum::{Json, extract::State};
use mesh_core::{
    api::group::{Found, Resource, SCHEMA},
    model::group::Org,
};
use serde::Deserialize;

use super::{
    Api,
    caller::Caller,
    endpoint::{Endpoint, text},
    errors::Failure,
    request::{Path, Query},
};

const TYPES: &str = "Of NetworkGroup, Member, Peer, CleverPeer, ExternalPeer, with commas between; absent: all";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/orgs/{org}/search", search, "What holds a text, in whatever case")
            .required_query("q", "Part of an id, label, description, tag, domain name or address", text())
            .query("type", TYPES, text())
            .reply::<Found>(),
        Endpoint::get("/v1/orgs/{org}/resources/{resource}", find, "What has exactly this id or label")
            .query("type", TYPES, text())
            .reply::<Resource>(),
    ]
}

#[derive(Deserialize)]
struct Search {
    q: String,
    #[serde(default, rename = "type")]
    kinds: String,
}

#[derive(Deserialize)]
struct Kinds {
    #[serde(default, rename = "type")]
    kinds: String,
}

async fn search(
    State(api): State<Api>,
    caller: Caller,
    Path(org): Path<Org>,
    Query(search): Query<Search>,
) -> Result<Json<Found>, Failure> {
    Ok(Json(api.registry_for(&caller).search(&org, &search.q, &search.kinds.parse()?)))
}

async fn find(
    State(api): State<Api>,
    caller: Caller,
    Path((org, name)): Path<(Org, String)>,
    Query(Kinds { kinds }): Query<Kinds>,
) -> Result<Json<Resource>, Failure> {
    let resource = api.registry_for(&caller).find(&org, &name, &kinds.parse()?)?;
    Ok(Json(Resource { schema: SCHEMA, resource }))
}
