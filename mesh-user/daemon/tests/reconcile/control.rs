//! Does the control loop come back from what it refused, and does it end when it no longer hears one side?

use std::{fs, net::UdpSocket, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use mesh_core::{model::Settings, plan::Plan, tunnel::StaticSecret};
use mesh_lab::demo::{self, Connection};
use meshd::{
    api::Snapshot,
    control::{Control, Published, Wakes, WantedBlocks, WantedGroups, Wishes, of_store},
    registrar::Registrar,
    shard,
    store::RedbStore,
    vigil::Silent,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use crate::{Site, secret, world};

const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 51_840;

/// The other ends of everything that the loop listens and speaks to.
struct Ends {
    manifests: mpsc::Sender<()>,
    kernel: mpsc::Sender<()>,
    shards: mpsc::Sender<shard::Event>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    registrar: Registrar,
    _plans: watch::Receiver<Arc<Plan>>,
    _groups: watch::Sender<WantedGroups>,
    _blocks: watch::Sender<WantedBlocks>,
    _wishes: Wishes,
    _silent: watch::Sender<Silent>,
}

impl Ends {
    async fn until(&mut self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Result<()> {
        let reached = self.snapshots.wait_for(|snapshot| snapshot.started && wanted(&snapshot.problems));
        let reached = timeout(SOON, reached).await.map(|reached| reached.map(drop));
        reached
            .with_context(|| format!("{what}: {:?}", self.snapshots.borrow().problems))?
            .context("the loop ended")?;
        Ok(())
    }
}

/// A loop that ended lets go of its store a moment later.
async fn open(path: &Path) -> Result<RedbStore> {
    for _ in 0..200 {
        match RedbStore::open(path) {
            Err(error) if error.to_string().contains("has it open") => sleep(Duration::from_millis(10)).await,
            opened => return Ok(opened?),
        }
    }
    bail!("the store of the loop before stays open")
}

async fn start(directory: &Path) -> Result<(impl Future<Output = Result<()>>, Ends)> {
    let text = format!(
        "cluster_id = \"cl01\"\nmanifest_dir = {:?}\nstate_dir = {:?}\npin_dir = {:?}\n[cidr]\npod = [\"10.243.0.0/16\"]\n\
         external = [\"10.70.0.0/16\"]\n",
        directory.join("manifests"),
        directory.join("state"),
        directory.join("pins"),
    );
    fs::create_dir_all(directory.join("manifests"))?;
    let settings = Settings::parse("meshd.toml", &text)?;
    let (manifests, manifest_wakes) = mpsc::channel(1);
    let (kernel, kernel_wakes) = mpsc::channel(1);
    let (shards, events) = mpsc::channel(1);
    let (plans, plan_reader) = watch::channel(Arc::default());
    let (publisher, snapshots) = watch::channel(Arc::default());
    let published = Published { plans, snapshots: publisher };
    let store = open(&directory.join("store.redb")).await?;
    let registrar = Registrar::start(store, settings.groups.rules()).await?;
    let key = secret().public_key();
    let control = Control::new(settings, key, world(directory).await?, registrar.clone(), published)?;
    let (wanted, groups) = watch::channel(None);
    let (barring, blocks) = watch::channel(None);
    let (_silent, silent) = watch::channel(Default::default());
    let objects = of_store(registrar.registry());
    let (_wishes, asked) = Wishes::new();
    let wakes = Wakes {
        manifests: manifest_wakes,
        kernel: kernel_wakes,
        shards: events,
        groups,
        blocks,
        objects,
        wishes: asked,
        silent,
    };
    let (_plans, _groups, _blocks) = (plan_reader, wanted, barring);
    Ok((
        control.run(wakes),
        Ends { manifests, kernel, shards, snapshots, registrar, _plans, _groups, _blocks, _wishes, _silent },
    ))
}

/// Runs `story` beside the loop, which must not end before it.
async fn beside(control: impl Future<Output = Result<()>>, story: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        ended = control => ended.and(Err(anyhow::anyhow!("the loop ended"))),
        told = story => told,
    }
}

#[test]
fn a_refusal_ends_with_its_reason() -> Result<()> {
    let site = Site::new()?;
    site.enter(async |directory| {
        let (control, mut ends) = start(directory).await?;
        let manifests = directory.join("manifests");
        let story = async {
            ends.until("the start", <[String]>::is_empty).await?;

            fs::write(manifests.join("a.yaml"), b"\xff\xfe")?;
            ends.manifests.send(()).await?;
            ends.until("a file that is no text", |problems| !problems.is_empty()).await?;
            fs::remove_file(manifests.join("a.yaml"))?;
            ends.manifests.send(()).await?;
            ends.until("the manifests are as before", <[String]>::is_empty).await?;

            let taken = UdpSocket::bind(("0.0.0.0", PORT))?;
            let (local, remote) = (demo::Site::new(1), demo::Site::new(2));
            fs::write(manifests.join("b.yaml"), local.configuration(&remote, Connection::Wireguard))?;
            fs::write(manifests.join("c.yaml"), local.gateway_server(&remote, PORT))?;
            let key = StaticSecret::from_bytes([8; 32]).public_key();
            fs::write(manifests.join("d.yaml"), remote.public_key(&format!("{key:?}")))?;
            ends.manifests.send(()).await?;
            let names_port = |problems: &[String]| problems.iter().any(|problem| problem.contains("51840"));
            ends.until("a port in use", names_port).await?;
            drop(taken);
            ends.until("the port is free", |problems| !names_port(problems)).await?;
            ensure!(ends.snapshots.borrow().plan.tunnels.len() == 1, "the tunnel is not there");
            Ok(())
        };
        beside(control, story).await
    })
}

#[test]
fn a_side_that_is_no_more_ends_the_loop() -> Result<()> {
    let site = Site::new()?;
    for side in ["manifest", "kernel", "threads"] {
        site.enter(async |directory| {
            let (control, mut ends) = start(directory).await?;
            let idle = mpsc::channel(1).0;
            match side {
                "manifest" => drop(std::mem::replace(&mut ends.manifests, idle)),
                "kernel" => drop(std::mem::replace(&mut ends.kernel, idle)),
                _ => drop(std::mem::replace(&mut ends.shards, mpsc::channel(1).0)),
            }
            let ended = timeout(SOON, control).await.with_context(|| format!("{side}: the loop goes on"))?;
            let said = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
            ensure!(said.contains(side), "{side}: {said}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Files stand for the pins: only that they are removed, and when, is asked.
#[test]
fn a_refused_start_leaves_the_programs_of_an_earlier_run() -> Result<()> {
    let site = Site::new()?;
    site.enter(async |directory| {
        let (control, ends) = start(directory).await?;
        let (links, manifest) = (directory.join("pins/links"), directory.join("manifests/a.yaml"));
        fs::create_dir_all(&links)?;
        fs::write(links.join("u0"), "")?;
        fs::write(&manifest, "kind: [")?;
        let said = timeout(SOON, control).await?.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains("nothing was applied") && links.join("u0").exists(), "{said}");

        fs::remove_file(&manifest)?;
        drop(ends);
        let (control, mut ends) = start(directory).await?;
        beside(control, async { ends.until("the start", <[String]>::is_empty).await }).await?;
        ensure!(!links.join("u0").exists(), "a start without hooks leaves them");
        Ok(())
    })
}

/// NG-50: network groups in the manifest directory follow it, and what does not fit is told and hinders nothing else.
#[test]
fn network_groups_of_the_directory_follow_it() -> Result<()> {
    let site = Site::new()?;
    site.enter(async |directory| {
        let (control, mut ends) = start(directory).await?;
        let manifest = directory.join("manifests/groups.yaml");
        let group =
            |name: &str| format!("apiVersion: mesh/v1\nkind: NetworkGroup\nmetadata: {{ name: {name} }}\nspec: {{}}\n");
        let labels = |registrar: &Registrar| {
            let registry = registrar.registry().borrow().clone();
            registry.groups.values().map(|group| group.group.label.to_string()).collect::<Vec<_>>()
        };
        let story = async {
            ends.until("the start", <[String]>::is_empty).await?;
            for name in ["one", "two"] {
                fs::write(&manifest, group(name))?;
                ends.manifests.send(()).await?;
                let mut registries = ends.registrar.registry();
                let there = registries.wait_for(|registry| {
                    registry.groups.len() == 1
                        && registry.groups.values().all(|group| group.group.label.as_str() == name)
                });
                timeout(SOON, there).await.with_context(|| format!("{name} is not in the store"))??;
            }

            fs::write(&manifest, group("two").replace("spec: {}", "spec: { cidr: 10.243.0.0/16 }"))?;
            ends.manifests.send(()).await?;
            ends.until("a CIDR that is taken", |problems| problems.iter().any(|line| line.contains("groups.yaml")))
                .await?;
            ensure!(labels(&ends.registrar) == ["two"], "{:?}", labels(&ends.registrar));
            fs::write(&manifest, group("two").replace("spec", "sepc"))?;
            ends.manifests.send(()).await?;
            ends.until("a field that there is not", |problems| problems.iter().any(|line| line.contains("sepc")))
                .await?;
            ensure!(labels(&ends.registrar) == ["two"], "{:?}", labels(&ends.registrar));

            fs::remove_file(&manifest)?;
            ends.manifests.send(()).await?;
            ends.until("nothing is declared", <[String]>::is_empty).await?;
            ensure!(labels(&ends.registrar).is_empty(), "{:?}", labels(&ends.registrar));
            Ok(())
        };
        beside(control, story).await
    })
}
