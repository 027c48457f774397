//! What the daemon answers on its socket: JSON over HTTP, forms in `mesh_core::api`.
//!
//! Requests read what the control loop published last and the counters of the shards; they never wait for the loop.

mod errors;
mod status;

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{Path as UrlPath, Query, State, rejection::QueryRejection},
    routing::get,
};
use mesh_core::{
    api::{Explanation, Status},
    explain::explain,
    plan::{DeviceName, Plan, PublicKey, slots::Slots},
};
use serde::Deserialize;
use tokio::{net::UnixListener, sync::watch};

use crate::{kernel::bpf_counters::Counters, probe::Reports, reconcile::HookReport, shard::Shards};
use errors::Refusal;

/// The control loop publishes at least this often; [`STUCK`] is when it is believed to hang.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
const STUCK: Duration = Duration::from_secs(60);
/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

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
    pub hooks: BTreeMap<DeviceName, HookReport>,
    pub problems: Vec<String>,
    pub notices: Vec<String>,
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
            hooks: BTreeMap::new(),
            problems: Vec::new(),
            notices: Vec::new(),
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
}

/// Serves requests on a socket at `path` until the task is dropped; a socket that an earlier run left is replaced.
pub fn serve(path: &Path, api: Api) -> Result<impl Future<Output = Result<()>> + use<>> {
    // The caller holds the lock of the run directory, so nobody listens there.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    let router = router(api);
    Ok(async move { axum::serve(listener, router).await.context("the API socket failed") })
}

/// The two addresses of a packet.
#[derive(Debug, Deserialize)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/health/{check}", get(health))
        .route("/v1/explain", get(explanation))
        .fallback(async || Refusal::not_found("no such request: see docs/operations.md for what there is"))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Json<Status> {
    Json(status::status(&api))
}

async fn health(State(api): State<Api>, UrlPath(check): UrlPath<String>) -> Result<Json<&'static str>, Refusal> {
    let snapshot = Arc::clone(&api.snapshots.borrow());
    let problem = match check.as_str() {
        "live" => {
            let silent = snapshot.at.elapsed();
            (silent > STUCK).then(|| format!("the control loop has been silent for {} s", silent.as_secs()))
        }
        "startup" => (!snapshot.started).then(|| "the first plan is not in force yet".to_owned()),
        "ready" if !snapshot.started => Some("the first plan is not in force yet".to_owned()),
        "ready" => {
            snapshot.problems.first().map(|first| format!("{} problems, the first: {first}", snapshot.problems.len()))
        }
        other => {
            return Err(Refusal::not_found(&format!("no health check {other}: there are live, ready and startup")));
        }
    };
    problem.map_or(Ok(Json("ok")), |problem| Err(Refusal::unhealthy(&problem)))
}

async fn explanation(
    State(api): State<Api>,
    packet: Result<Query<Packet>, QueryRejection>,
) -> Result<Json<Explanation>, Refusal> {
    let Query(Packet { source, destination }) = packet.map_err(|rejection| Refusal::invalid(&rejection.body_text()))?;
    let snapshot = Arc::clone(&api.snapshots.borrow());
    Ok(Json(explain(&snapshot.plan, &snapshot.tables, source, destination)))
}
