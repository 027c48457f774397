//! What the daemon answers on its socket and on TCP: JSON over HTTP, forms in `mesh_core::api`.
//!
//! Requests read what the control loop published last and the counters of the shards; they never wait for the loop. The
//! list of [`endpoints`] is what there is; `docs/api.md` says how it is used.

mod caller;
mod endpoint;
mod errors;
mod groups;
mod leases;
mod lookup;
mod manifests;
mod members;
mod metrics;
mod node;
mod objects;
mod observe;
mod openapi;
mod peers;
mod request;
mod rules;
mod status;
mod streams;
mod tls;
mod trial;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use mesh_core::{
    allocate::Allocations,
    model::{
        ApiListener, ObjectId, PrincipalName, Role, ValidIntent,
        group::{DomainName, Org},
    },
    plan::{DeviceName, Plan, PublicKey, slots::Slots},
    registry::{Author, Command, Group, Registry},
    shown::{Known, Transitions},
};
use serde_json::Value;
use tokio::{net::UnixListener, sync::watch};
use uuid::Uuid;

use self::{caller::Caller, endpoint::Endpoint, errors::Failure, tls::Tls};
use crate::{
    agent::Agency, control::Wishes, kernel::bpf_counters::Counters, keys, probe::Reports, reconcile::HookReport,
    registrar::Registrar, shard::Shards, trial::Trials,
};

pub use metrics::metrics;
pub use watched::Watched;

/// The control loop publishes at least this often.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;
/// Of a request; bytes. Manifests may be longer.
const BODY_LIMIT: usize = 1 << 20;

/// Paths that begin so are answered from the store.
const OF_THE_STORE: [&str; 5] = ["/v1/orgs/", "/v1/objects", "/v1/apply", "/v1/watch", "/v1/nodes/"];

/// What the control loop knows, as far as anybody asks.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: Instant,
    /// The first plan is in force.
    pub started: bool,
    /// In force.
    pub plan: Arc<Plan>,
    /// What packets are judged by.
    pub tables: Arc<Slots>,
    pub listen_ports: BTreeMap<DeviceName, Vec<u16>>,
    /// Public halves of the key pairs that gateways name, by the names of the secrets.
    pub gateway_keys: BTreeMap<String, PublicKey>,
    pub hooks: BTreeMap<DeviceName, HookReport>,
    pub problems: Vec<String>,
    pub notices: Vec<String>,
    /// Devices of network groups that carry packets.
    pub live_groups: BTreeSet<DeviceName>,
    /// Everything of the inter-cluster network that stands somewhere, good or bad.
    pub objects: Arc<BTreeMap<ObjectId, Known>>,
    /// What of it is in force.
    pub intent: Option<Arc<ValidIntent>>,
    pub allocations: Arc<Allocations>,
}

impl Default for Snapshot {
    /// Before the first plan.
    fn default() -> Self {
        Snapshot {
            at: Instant::now(),
            started: false,
            plan: Arc::default(),
            tables: Arc::default(),
            listen_ports: BTreeMap::new(),
            gateway_keys: BTreeMap::new(),
            hooks: BTreeMap::new(),
            problems: Vec::new(),
            notices: Vec::new(),
            live_groups: BTreeSet::new(),
            objects: Arc::default(),
            intent: None,
            allocations: Arc::default(),
        }
    }
}

/// What a request can read.
#[derive(Clone, Debug)]
pub struct Api {
    pub cluster: String,
    pub public_key: PublicKey,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reports: watch::Receiver<Reports>,
    pub shards: Arc<Shards>,
    /// Absent while no interface has a hook.
    pub counters: Option<Arc<Counters>>,
    pub agency: Agency,
    /// Pods that exist for a test alone.
    pub trials: Trials,
    pub registrar: Registrar,
    /// Changes of objects of the inter-cluster network go to the control loop first.
    pub wishes: Wishes,
    /// Whose those objects are.
    pub org: Org,
    /// Since when conditions of them are as they are.
    pub transitions: Arc<Mutex<Transitions>>,
    /// What this node is called.
    pub node: String,
    pub watched: Watched,
    /// Where names of members may lie; the first is the default.
    pub suffixes: Vec<DomainName>,
    /// The context of the hub whose groups this node is in; then its own store has none.
    pub hub: Option<String>,
    /// What the DNS server has to say. Absent while there is none.
    pub names: Option<watch::Receiver<Vec<String>>>,
}

impl Api {
    /// What there is for this caller.
    fn registry_for(&self, caller: &Caller) -> Arc<Registry> {
        caller.rights.narrow(&self.registrar.registry().borrow())
    }

    fn group(&self, caller: &Caller, org: &Org, name: &str) -> Result<Arc<Group>, Failure> {
        Ok(Arc::clone(self.registry_for(caller).find_group(org, name)?))
    }

    async fn execute(&self, command: Command) -> Result<Arc<Registry>, Failure> {
        Ok(self.registrar.execute(Author::Api, command).await?)
    }
}

fn random_uuid() -> Result<Uuid, Failure> {
    keys::random_uuid().map_err(|error| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("no new id: {error:#}"), "try again")
    })
}

/// Whom a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Socket,
    Tcp,
}

/// Serves requests on a socket at `path` until the task is dropped; a socket that an earlier run left is replaced.
pub fn serve(path: &Path, api: Api) -> Result<impl Future<Output = Result<()>> + use<>> {
    // The caller holds the lock of the run directory, so nobody listens there.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    let service = router(api, Door::Socket).into_make_service_with_connect_info::<Caller>();
    Ok(async move { axum::serve(listener, service).await.context("the API socket failed") })
}

/// Serves requests of principals on TCP, until the task is dropped.
pub async fn serve_tls(
    settings: &ApiListener,
    principals: BTreeMap<PrincipalName, Vec<Role>>,
    api: Api,
) -> Result<impl Future<Output = Result<()>> + use<>> {
    let listener = Tls::bind(settings, principals).await?;
    Ok(async move { listener.serve(router(api, Door::Tcp)).await })
}

fn router(api: Api, door: Door) -> Router {
    endpoints(door)
        .into_iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, endpoint.answer))
        .fallback(async || Failure::not_found("there is no such path"))
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(api.hub.clone(), at_the_hub))
        .layer(middleware::from_fn(unconditional))
        .layer(middleware::from_fn(caller::admit))
        .with_state(api)
}

/// Refuses what is to be done on condition of a version, instead of doing it without.
async fn unconditional(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && request.headers().contains_key(header::IF_MATCH) {
        let hint = "leave the header out; each change is made whole or not at all, on what is there then";
        return Failure::invalid("changes on condition (If-Match) are not done here", hint).into_response();
    }
    next.run(request).await
}

/// Refuses on a node that follows a hub what is asked of a store: its own is not the one that is meant.
async fn at_the_hub(State(hub): State<Option<String>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // Objects of the inter-cluster network are those of the hub here, too, and their status is that of this node.
    let is_here = request.method() == Method::GET && objects::kind_of_path(path).is_some();
    let is_of_store = !is_here && OF_THE_STORE.iter().any(|begin| path.starts_with(begin));
    match hub.filter(|_| is_of_store) {
        Some(hub) => Failure::elsewhere(&hub).into_response(),
        None => next.run(request).await,
    }
}

fn endpoints(door: Door) -> Vec<Endpoint> {
    let description = async move || Json(openapi::describe(endpoints(door)));
    let description = Endpoint::get("/v1/openapi.json", description, "This description").reply::<Value>();
    let everywhere = [
        vec![description],
        observe::endpoints(),
        metrics::endpoints(),
        groups::endpoints(),
        members::endpoints(),
        peers::endpoints(),
        leases::endpoints(),
        rules::endpoints(),
        lookup::endpoints(),
        manifests::endpoints(),
        objects::endpoints(),
        streams::endpoints(),
        trial::endpoints(),
    ];
    let here = match door {
        // What a node does with its own part in groups is nobody's business elsewhere.
        Door::Socket => node::endpoints(),
        Door::Tcp => vec![],
    };
    everywhere.into_iter().flatten().chain(here).collect()
}
