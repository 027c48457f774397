//! The composition root: what a running daemon consists of, and how its parts are joined. Read this first.
//!
//! One control thread owns every change ([`Control`]); shards carry packets on threads of their own; probes and the API
//! only read what the control loop publishes.

use std::sync::{Arc, mpsc as blocking};

use anyhow::{Context as _, Result};
use mesh_core::{
    model::Settings,
    plan::{HookChoice, Plan},
    tunnel::StaticSecret,
    uapi::PrivateKey,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    agent::{Agent, Outlets},
    api::{self, Api, Watched},
    control::{self, Control, Published, Wakes, Wishes},
    dns,
    kernel::{
        bpf::Bpf,
        netlink::{self, Netlink},
        privileges,
    },
    keys, manifests, probe,
    reconcile::World,
    registrar::Registrar,
    run_directory::RunDirectory,
    settings::node_id,
    shard::{self, Shards},
    state::StateDirectory,
    store::RedbStore,
    telemetry::listener,
    trial::Trials,
    vigil,
    wg::Tunnels,
};

/// In the state directory.
const STORE: &str = "store.redb";

/// Runs until SIGTERM or SIGINT, or until the start fails. What is in the kernel stays in either case.
pub async fn run(settings: Settings) -> Result<()> {
    let stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let programs = needs_programs(&settings);
    privileges::check(programs)?;
    let run_directory = RunDirectory::lock(&settings.directories.run)?;
    let state = StateDirectory::open(&settings.directories.state)?;
    let registrar = start_registrar(&settings).await?;
    let key = keys::load_or_create(&settings.private_key_file)?;
    let secret = StaticSecret::from_bytes(key);
    let public_key = secret.public_key();
    tracing::info!(cluster = %settings.cluster.id, key = ?public_key, "meshd {} starts", env!("CARGO_PKG_VERSION"));

    let (shards, shard_events) = start_shards(&settings)?;
    let outlets = Outlets::default();
    let (wishes, asked) = Wishes::new();
    let names = settings.dns.enabled.then(|| dns::start(&settings, outlets.names.subscribe())).transpose()?;
    // Subscribed before the first look, so that no change falls in between.
    let wakes = wakes(&settings, &outlets, &registrar, shard_events, asked)?;
    let (agent, agency) = Agent::new(&settings, registrar.clone(), state.clone(), outlets)?;
    let world = open_world(&settings, programs, Arc::clone(&shards), secret, state.clone()).await?;
    let (plans, plan_reader) = watch::channel(Arc::new(Plan::default()));
    if settings.gateway.enabled {
        tokio::spawn(vigil::answer(plan_reader.clone()));
    }
    let (snapshots, snapshot_reader) = watch::channel(Arc::default());
    let shown = PrivateKey::new(&key).context("the private key is all zeros, which is none")?;
    let sockets = Tunnels::new(&settings.directories.uapi, shown, state, snapshot_reader.clone(), Arc::clone(&shards));
    let api = Api {
        cluster: settings.cluster.id.to_string(),
        public_key,
        snapshots: snapshot_reader,
        reports: probe::start(plan_reader, Some(Netlink::open()?), sessions_of(&shards)),
        counters: world.counters(),
        shards,
        agency,
        trials: Trials::new(Netlink::open()?),
        watched: Watched::follow(registrar.registry()),
        registrar: registrar.clone(),
        wishes,
        transitions: Arc::default(),
        org: settings.org.clone(),
        node: node_id(&settings).to_string(),
        suffixes: settings.groups.suffixes.clone(),
        hub: settings.hub.clone(),
        names: names.as_ref().map(dns::Server::notices),
    };
    let server = serve(&settings, &run_directory, api).await?;
    let control = Control::new(settings, public_key, world, registrar, Published { plans, snapshots })?;
    let ended = tokio::select! {
        ended = control.run(wakes) => ended,
        ended = server => ended,
        () = sockets.run() => Ok(()),
        ended = agent.run() => ended,
        () = stopped(stop) => Ok(()),
    };
    // The next daemon replaces it; until then a client sees that nobody is here.
    let _ = std::fs::remove_file(run_directory.socket());
    ended
}

/// With its programs loaded, where something needs them.
async fn open_world(
    settings: &Settings,
    programs: bool,
    shards: Arc<Shards>,
    secret: StaticSecret,
    state: StateDirectory,
) -> Result<World> {
    let loaded = programs.then(|| Bpf::load(&settings.directories.pins, settings.log_bpf)).transpose()?;
    let mut world = World::open(Netlink::open()?, shards, secret, state, loaded).await?;
    if settings.log_bpf {
        world.log_programs()?;
    }
    Ok(world)
}

/// What makes the control loop look again.
fn wakes(
    settings: &Settings,
    outlets: &Outlets,
    registrar: &Registrar,
    shard_events: blocking::Receiver<shard::Event>,
    asked: mpsc::Receiver<control::Asked>,
) -> Result<Wakes> {
    Ok(Wakes {
        manifests: manifests::watch(&settings.directories.manifests)?,
        kernel: netlink::changes()?,
        shards: forward(shard_events),
        groups: outlets.tunnels.subscribe(),
        blocks: outlets.blocks.subscribe(),
        objects: match settings.hub {
            None => control::of_store(registrar.registry()),
            Some(_) => outlets.objects.subscribe(),
        },
        wishes: asked,
        silent: vigil::ask(&settings.gateway.nodes)?,
    })
}

/// As the shards know the sessions of connections.
fn sessions_of(shards: &Arc<Shards>) -> impl Fn(&Plan) -> probe::Sessions + Send + Sync + use<> {
    let shards = Arc::clone(shards);
    move |plan| probe::sessions(plan, &shards.statistics().peers)
}

/// For the hooks of interfaces, and for instances that are blocked: a program closes them.
fn needs_programs(settings: &Settings) -> bool {
    let has_hook = settings.interfaces.values().any(|attachment| attachment.hook != HookChoice::Off);
    has_hook || settings.instances.iter().any(|instance| instance.netns.is_some())
}

async fn start_registrar(settings: &Settings) -> Result<Registrar> {
    let store = RedbStore::open(&settings.directories.state.join(STORE))?;
    let registrar = Registrar::start(store, settings.groups.rules()).await?;
    let watching = registrar.clone();
    tokio::spawn(async move { watching.end_peers_with_leases().await });
    Ok(registrar)
}

fn start_shards(settings: &Settings) -> Result<(Arc<Shards>, blocking::Receiver<shard::Event>)> {
    let (shards, events) = Shards::start(settings.shards.unwrap_or_else(Shards::default_count))?;
    Ok((Arc::new(shards), events))
}

/// On the socket and, where the settings have a listener, on TCP; and numbers where these are wanted.
async fn serve(
    settings: &Settings,
    run_directory: &RunDirectory,
    api: Api,
) -> Result<impl Future<Output = Result<()>> + use<>> {
    let remote = match &settings.api {
        Some(listener) => Some(api::serve_tls(listener, settings.principals.clone(), api.clone()).await?),
        None => None,
    };
    let numbers = match settings.metrics {
        Some(listen) => Some(listener::serve(listen, api::metrics(&api)).await?),
        None => None,
    };
    let local = api::serve(&run_directory.socket(), api)?;
    Ok(async {
        tokio::select! {
            ended = local => ended,
            Some(ended) = async { Some(numbers?.await) } => ended,
            Some(ended) = async { Some(remote?.await) } => ended,
        }
    })
}

async fn stopped([mut terminate, mut interrupt]: [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stops; what is in the kernel stays, `meshd cleanup` would remove it");
}

/// Brings events of the shards into the runtime; ends with the shards.
pub(crate) fn forward(events: blocking::Receiver<shard::Event>) -> mpsc::Receiver<shard::Event> {
    let (sender, receiver) = mpsc::channel(64);
    let pass_on = move || {
        while let Ok(event) = events.recv() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("shard-events".to_owned())
        .spawn(pass_on)
        .expect("a process that just started its shards can start one thread more");
    receiver
}
