//! Do programs and their maps stay in the kernel, are they found again, and is what others attached left alone?

use std::{num::NonZeroUsize, path::Path};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use mesh_common::maps::{self, interface_slot, link_address};
use mesh_core::plan::{Attachment, DeviceName, HookChoice, InterfaceRole, Plan};
use mesh_lab::{link, pass_xdp::PassXdp};
use meshd::{
    kernel::{
        bpf::{Bpf, Pins},
        bpf_links::Hook,
        netlink::Netlink,
    },
    reconcile::World,
    shard::Shards,
    state::StateDirectory,
};

use crate::{Site, converge, expect, expect_same, plans, secret};

const UNDERLAY: &str = "u0";
/// A device name that bpffs does not take as it is.
const WORKLOAD: &str = "pods.7";

async fn world(directory: &Path) -> Result<World> {
    let (shards, _events) = Shards::start(NonZeroUsize::MIN)?;
    let state = StateDirectory::open(&directory.join("state"))?;
    World::open(Netlink::open()?, shards.into(), secret(), state, Some(Bpf::load(&pins(directory), false)?)).await
}

fn pins(directory: &Path) -> std::path::PathBuf {
    directory.join("bpf/mesh")
}

fn site() -> Result<Site> {
    let site = Site::new()?;
    add_workload(&site)?;
    Ok(site)
}

fn add_workload(site: &Site) -> Result<()> {
    site.namespace.ip(&["link", "add", WORKLOAD, "type", "veth", "peer", "name", "pod"])?;
    site.namespace.ip(&["link", "set", WORKLOAD, "up"]).map(drop)
}

/// Everything, with native XDP on the underlay and what `auto` is on the workloads' veth.
fn plan(seed: u64) -> Plan {
    let mut plan = plans::full(&mut plans::Random::new(seed));
    let mut attach = |device: &str, role, hook| plan.interfaces.insert(name(device), Attachment { role, hook });
    attach(UNDERLAY, InterfaceRole::Underlay, HookChoice::Xdp);
    attach(WORKLOAD, InterfaceRole::Workload, HookChoice::Auto);
    plan
}

fn name(device: &str) -> DeviceName {
    DeviceName(device.to_owned())
}

#[test]
fn programs_and_maps_outlive_the_process() -> Result<()> {
    let site = site()?;
    let before = site.seen()?;
    let plan = plan(11);
    site.enter(async |directory| {
        let mut first = world(directory).await?;
        first.resume(&plan)?;
        converge(&mut first, &plan).await?;
        expect(&mut first, &plan, "the first run").await?;
        let hooks = first.hooks();
        ensure!(hooks[&name(UNDERLAY)].hook == Some(Hook::Xdp), "{hooks:?}");
        ensure!(hooks[&name(WORKLOAD)].hook == Some(Hook::Tcx), "{hooks:?}");
        ensure!(hooks[&name(WORKLOAD)].why.contains("segmentation offload"), "{hooks:?}");
        Ok(())
    })?;
    let programs = site.namespace.ip(&["-d", "link", "show", UNDERLAY])?;
    assert!(programs.contains("xdp"), "the program stays: {programs}");
    site.enter(async |directory| {
        let mut second = world(directory).await?;
        let adopted = second.resume(&plan)?;
        ensure!(adopted == plan.tunnels.len() + plan.interfaces.len(), "adopted {adopted}");
        expect(&mut second, &plan, "the second run").await
    })?;
    site.cleanup()?;
    expect_same(&before, &site.seen()?, "after cleanup");
    assert!(!pins(site.lab.directory()).exists());
    Ok(())
}

#[test]
fn maps_hold_what_changes_while_they_are_pinned() -> Result<()> {
    let site = site()?;
    for seed in 20..26 {
        let mut plan = plans::plan(&mut plans::Random::new(seed));
        plan.interfaces.insert(name(UNDERLAY), Attachment { role: InterfaceRole::Underlay, hook: HookChoice::Tcx });
        site.enter(async |directory| {
            let mut world = world(directory).await?;
            world.resume(&plan)?;
            converge(&mut world, &plan).await?;
            expect(&mut world, &plan, &format!("seed {seed}")).await
        })?;
        site.enter(async |directory| {
            let mut next = world(directory).await?;
            next.resume(&plan)?;
            expect(&mut next, &plan, &format!("seed {seed}, read back")).await
        })?;
    }
    site.cleanup()
}

#[test]
fn an_interface_that_is_made_again_gets_its_program_again() -> Result<()> {
    let site = site()?;
    let plan = plan(12);
    let namespace = site.namespace.clone();
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        world.resume(&plan)?;
        converge(&mut world, &plan).await?;
        namespace.ip(&["link", "del", WORKLOAD])?;
        add_workload(&site)?;
        converge(&mut world, &plan).await?;
        expect(&mut world, &plan, "made again").await?;
        ensure!(world.hooks()[&name(WORKLOAD)].hook == Some(Hook::Tcx));

        let mut moved = plan.clone();
        moved
            .interfaces
            .insert(name(WORKLOAD), Attachment { role: InterfaceRole::Workload, hook: HookChoice::XdpGeneric });
        moved.interfaces.insert(name(UNDERLAY), Attachment { role: InterfaceRole::Underlay, hook: HookChoice::Off });
        converge(&mut world, &moved).await?;
        expect(&mut world, &moved, "other hooks").await?;
        let hooks = world.hooks();
        ensure!(hooks[&name(WORKLOAD)].hook == Some(Hook::XdpGeneric), "{hooks:?}");
        ensure!(hooks[&name(UNDERLAY)].hook.is_none(), "{hooks:?}");
        Ok(())
    })?;
    site.cleanup()
}

/// XDP is told the address of its interface before it runs there, and every other that the interface gets.
#[test]
fn xdp_knows_the_address_of_its_interface() -> Result<()> {
    let site = site()?;
    let plan = plan(14);
    let namespace = site.namespace.clone();
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        world.resume(&plan)?;
        converge(&mut world, &plan).await?;
        for last in [0x11, 0x22] {
            namespace.ip(&["link", "set", "dev", UNDERLAY, "address", &format!("02:00:00:00:00:{last:02x}")])?;
            converge(&mut world, &plan).await?;
            let index = world.hooks()[&name(UNDERLAY)].index;
            let map = Map::Array(MapData::from_pin(pins(directory).join("maps").join(maps::name::LINK_ADDRESSES))?);
            let told = Array::<_, u64>::try_from(map)?.get(&interface_slot(index), 0)?;
            let own = link_address(index, [2, 0, 0, 0, 0, last, 0, 0]);
            ensure!(told == own, "{told:016x} instead of {own:016x}");
        }
        Ok(())
    })?;
    site.cleanup()
}

#[test]
fn an_xdp_program_of_others_is_left_alone() -> Result<()> {
    let site = site()?;
    let foreign = PassXdp::attach(link::Port::new(&site.namespace, UNDERLAY))?;
    let before = site.seen()?;
    let plan = plan(13);
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        world.resume(&plan)?;
        let error = format!("{:#}", converge(&mut world, &plan).await.unwrap_err());
        ensure!(
            error.contains(UNDERLAY) && error.contains("program of others") && error.contains("xdp off"),
            "{error}"
        );
        Ok(())
    })?;
    expect_same(&before, &site.seen()?, "refused before anything was done");
    site.cleanup()?;
    let shown = site.namespace.ip(&["-d", "link", "show", UNDERLAY])?;
    assert!(shown.contains("xdp"), "the program of others stays: {shown}");
    drop(foreign);
    Ok(())
}

#[test]
fn a_directory_that_is_no_bpffs_is_refused() -> Result<()> {
    let site = site()?;
    let directory = site.lab.directory().join("plain");
    let error = format!("{:#}", Bpf::load(&directory, false).map(drop).unwrap_err());
    assert!(error.contains("not on a bpffs") && error.contains("mount -t bpf"), "{error}");
    assert!(!directory.exists(), "nothing is left of the attempt");
    assert_eq!(Pins::remove(&directory).context("nothing to remove")?, 0);
    Ok(())
}
