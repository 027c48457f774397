//! Requests about this node's own part in network groups: join, leave, and who it is there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use mesh_core::{
    api::{
        group::SCHEMA,
        node::{Join, JoinList, JoinReply, LeaveReply, Server},
    },
    model::group::{MemberId, Org, PeerId},
    plan::DeviceName,
};
use serde::Deserialize;
use tokio::{select, time::timeout};

use super::{
    Api, Snapshot,
    caller::Caller,
    endpoint::{Endpoint, text},
    errors::Failure,
    request::{Body, Path, Query},
};
use crate::{
    agent::{
        Trouble, Undertaken,
        local::{self, Local},
    },
    kernel::netns,
};

/// A join that waits longer is asked for again.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a leave waits for the hub; the tunnel is gone before.
const LEAVING: Duration = Duration::from_secs(8);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/node/whoami", whoami, "The peers that this node runs").reply::<JoinList>(),
        Endpoint::get("/v1/node/joins", joins, "The peers of this node that were joined by request")
            .reply::<JoinList>(),
        Endpoint::post("/v1/node/joins", join, "Joins a group; answers once the peer is up")
            .body::<Join>()
            .reply::<JoinReply>(),
        Endpoint::delete("/v1/node/joins/{ng}", leave, "Leaves a group that was joined")
            .query("org", "Of the group", text())
            .query("member", "Where the group was joined as several members", text())
            .reply::<LeaveReply>(),
    ]
}

#[derive(Debug, Deserialize)]
struct Which {
    org: Option<Org>,
    member: Option<MemberId>,
}

async fn whoami(State(api): State<Api>, caller: Caller) -> Result<Json<JoinList>, Failure> {
    caller.reads_all()?;
    Ok(Json(api.local_peers(|_| true)))
}

async fn joins(State(api): State<Api>, caller: Caller) -> Result<Json<JoinList>, Failure> {
    caller.reads_all()?;
    Ok(Json(api.local_peers(|local| local.is_joined)))
}

async fn join(State(api): State<Api>, Body(join): Body<Join>) -> Result<Json<JoinReply>, Failure> {
    check_paths(&join)?;
    let patience = Duration::from_secs(join.patience).min(LONGEST);
    let undertaken = timeout(patience, api.agency.join(join)).await.map_err(|_| {
        let hint = "ask again; 'meshctl ng whoami' shows whether the join was undertaken all the same";
        late("no answer of the hub", hint)
    })?;
    let Undertaken { peer, refused } = undertaken?;
    let is_up = api.until_up(&peer);
    let refused = async move {
        match refused.await {
            Ok(trouble) => trouble,
            // It came about.
            Err(_) => std::future::pending().await,
        }
    };
    select! {
        reply = timeout(patience, is_up) => match reply {
            Ok(reply) => Ok(Json(reply)),
            Err(_) => {
                let hint = "meshd goes on trying: 'meshctl ng whoami' shows how far it is, 'meshctl ng leave' ends it";
                Err(late(&api.missing(&peer), hint))
            }
        },
        trouble = refused => Err(trouble.into()),
    }
}

/// Before anything of it is written down: whoever asks has a working directory of its own.
fn check_paths(join: &Join) -> Result<(), Failure> {
    let files = |Server { server: _, ca, cert, key }: &Server| [ca.clone(), cert.clone(), key.clone()];
    let files = join.hub.as_ref().map(files).into_iter().flatten().flatten();
    if let Some(path) = files.chain(join.netns.clone()).find(|path| !path.is_absolute()) {
        return Err(Failure::invalid(format!("{} is no absolute path", path.display()), "begin it with /"));
    }
    match &join.netns {
        Some(path) if netns::identity(path).is_none() => {
            let message = format!("there is no network namespace {}", path.display());
            Err(Failure::new(StatusCode::NOT_FOUND, "not_found", message, "make it first, or leave --netns out"))
        }
        Some(_) | None => Ok(()),
    }
}

async fn leave(
    State(api): State<Api>,
    Path(ng): Path<String>,
    Query(Which { org, member }): Query<Which>,
) -> Result<Json<LeaveReply>, Failure> {
    let org = org.map_or_else(|| "default".parse(), Ok)?;
    let before = api.local_peers(|_| true);
    let peer = api.agency.leave(org, ng, member).await?;
    let device = before.peers.iter().find(|local| local.peer == peer).map(|local| DeviceName(local.device.clone()));
    let (mut locals, mut snapshots) = (api.agency.locals(), api.snapshots.clone());
    let gone = async {
        let has_device =
            |snapshot: &Arc<Snapshot>| device.as_ref().is_some_and(|one| snapshot.live_groups.contains(one));
        // Both live as long as the daemon.
        let _ = snapshots.wait_for(|snapshot| !has_device(snapshot)).await;
        let _ = locals.wait_for(|locals| !locals.iter().any(|local| local.kept.peer == peer)).await;
    };
    // A hub that is away is told later.
    let is_gone = timeout(LEAVING, gone).await.is_ok();
    let peer = before.peers.into_iter().find(|local| local.peer == peer).map(|mut local| {
        local.up = false;
        local.detail = if is_gone { String::new() } else { "the hub is told as soon as it can be reached".to_owned() };
        local.peers.clear();
        local
    });
    Ok(Json(LeaveReply { schema: SCHEMA, peer }))
}

impl Api {
    fn local_peers(&self, is_meant: impl Fn(&Local) -> bool) -> JoinList {
        let locals = self.agency.locals();
        let meant: Vec<Arc<Local>> = locals.borrow().iter().filter(|local| is_meant(local)).cloned().collect();
        let snapshot = Arc::clone(&self.snapshots.borrow());
        local::list(&meant, &snapshot, self.shards.statistics().peers, self.suffixes.first())
    }

    /// The peer as it is once its tunnel carries packets.
    async fn until_up(&self, peer: &PeerId) -> JoinReply {
        let (mut locals, mut snapshots) = (self.agency.locals(), self.snapshots.clone());
        loop {
            let local = find(&locals.borrow_and_update(), peer);
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            if let Some(local) = local.filter(|local| local.is_up(&snapshot))
                && let Some(peer) = local.shown(&snapshot, &BTreeMap::new(), self.suffixes.first())
            {
                return JoinReply { schema: SCHEMA, peer };
            }
            // Both live as long as the daemon.
            select! {
                _ = locals.changed() => {}
                _ = snapshots.changed() => {}
            }
        }
    }

    fn missing(&self, peer: &PeerId) -> String {
        let local = find(&self.agency.locals().borrow(), peer);
        let missing = local.map(|local| local.missing(&self.snapshots.borrow()));
        missing.unwrap_or_else(|| "the peer was removed from the group".to_owned())
    }
}

fn find(locals: &[Arc<Local>], peer: &PeerId) -> Option<Arc<Local>> {
    locals.iter().find(|local| local.kept.peer == *peer).cloned()
}

fn late(missing: &str, hint: &str) -> Failure {
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "timeout", format!("the peer is not up: {missing}"), hint)
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        let status = match trouble.error.code.as_str() {
            "not_found" | "not_member" => StatusCode::NOT_FOUND,
            "permission" => StatusCode::FORBIDDEN,
            "unreachable" => StatusCode::BAD_GATEWAY,
            "timeout" => StatusCode::GATEWAY_TIMEOUT,
            "unavailable" | "internal" => StatusCode::SERVICE_UNAVAILABLE,
            "invalid" | "wrong_scope" => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        Failure::new(status, trouble.error.code, trouble.error.message, trouble.error.hint)
    }
}
