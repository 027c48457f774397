//! Does the real kernel end up as planned, from whatever state, and does everything that is not ours survive? As root, in
//! namespaces of the test's own.
#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

mod blocks;
mod control;
mod plans;
mod programs;

use std::{collections::BTreeSet, fs, num::NonZeroUsize, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use mesh_core::{
    model::Settings,
    plan::{DeviceAddress, DeviceName, Plan, Sysctl, SysctlKey},
    reconcile::{Observed, steps},
    tunnel::StaticSecret,
};
use mesh_lab::{Lab, Namespace, link};
use meshd::{cleanup, kernel::netlink::Netlink, reconcile::World, shard::Shards, state::StateDirectory};

/// What somebody else has on the node: a device, addresses, routes (one of them on a presented prefix), a neighbour.
const FOREIGN: [&str; 7] = [
    "link add mesh-other type veth peer name other1",
    "addr add 10.70.0.9/32 dev lo",
    "addr add 10.70.0.9/24 dev mesh-other",
    "link set mesh-other up",
    "route add 10.71.0.0/16 dev u0 metric 50 proto 99",
    "route add unreachable 10.72.0.0/16 metric 4278198000 proto static",
    "neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev u0 nud permanent",
];

struct Site {
    lab: Lab,
    namespace: Namespace,
    _peer: Namespace,
}

impl Site {
    fn new() -> Result<Site> {
        let lab = Lab::new()?;
        let (namespace, peer) = (lab.namespace("node")?, lab.namespace("peer")?);
        link::veth(link::Port::new(&namespace, "u0"), link::Port::new(&peer, "u0"))?;
        link::address(link::Port::new(&namespace, "u0"), &["192.0.2.1/24", "2001:db8::1/64"])?;
        link::address(link::Port::new(&peer, "u0"), &["192.0.2.2/24", "2001:db8::2/64"])?;
        for command in FOREIGN {
            namespace.ip(&command.split(' ').collect::<Vec<_>>())?;
        }
        Ok(Site { lab, namespace, _peer: peer })
    }

    /// Everything of the namespace that the daemon could change, as iproute2 and sysctl show it, a line a fact.
    fn seen(&self) -> Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        for command in ["-br link", "-o addr", "route show table all", "-6 route show table all", "rule", "-6 rule"] {
            let lines = self.namespace.ip(&command.split(' ').collect::<Vec<_>>())?;
            seen.extend(
                lines.lines().filter(|line| !is_bookkeeping(line)).map(|line| format!("{command}: {}", lasting(line))),
            );
        }
        seen.extend(self.namespace.ip(&["neigh", "show", "nud", "permanent"])?.lines().map(str::to_owned));
        for key in ["ipv4/conf/u0/forwarding", "ipv6/conf/u0/forwarding", "ipv4/conf/u0/rp_filter"] {
            seen.insert(format!("{key} {}", self.namespace.read_sysctl(&format!("net/{key}"))?));
        }
        Ok(seen)
    }

    /// Runs `work` in the namespace with a runtime of its own.
    fn enter<T: Send>(&self, work: impl AsyncFnOnce(&Path) -> Result<T> + Send) -> Result<T> {
        let directory = self.lab.directory().to_owned();
        self.namespace.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(&directory))
        })
    }

    fn cleanup(&self) -> Result<()> {
        self.enter(async |directory| {
            let text = format!(
                "cluster_id = \"cl01\"\nstate_dir = {:?}\nrun_dir = {:?}\npin_dir = {:?}\n[cidr]\npod = [\"10.243.0.0/16\"]\n",
                directory.join("state"),
                directory.join("run"),
                directory.join("bpf/mesh"),
            );
            cleanup::run(&Settings::parse("meshd.toml", &text)?).await
        })
    }
}

/// Routes that the kernel makes for each device that is up.
fn is_bookkeeping(line: &str) -> bool {
    line.contains("ff00::/8") || line.contains("fe80::")
}

/// Without the carrier state, which follows the process that holds a TUN device, and some time later.
fn lasting(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !["UP", "DOWN", "UNKNOWN", "linkdown"].contains(word));
    words.collect::<Vec<_>>().join(" ").replace("NO-CARRIER,", "").replace(",LOWER_UP", "")
}

fn secret() -> StaticSecret {
    StaticSecret::from_bytes([9; 32])
}

async fn world(directory: &Path) -> Result<World> {
    let (shards, _events) = Shards::start(NonZeroUsize::MIN)?;
    let state = StateDirectory::open(&directory.join("state"))?;
    World::open(Netlink::open()?, Arc::new(shards), secret(), state, None).await
}

async fn converge(world: &mut World, plan: &Plan) -> Result<usize> {
    let observed = world.observe(plan).await?;
    let steps = steps(plan, &observed);
    world.prepare(&steps)?;
    for step in &steps {
        world.apply(step).await.with_context(|| step.to_string())?;
    }
    world.settle()?;
    Ok(steps.len())
}

fn expect_same(before: &BTreeSet<String>, after: &BTreeSet<String>, what: &str) {
    let gone: Vec<_> = before.difference(after).collect();
    let come: Vec<_> = after.difference(before).collect();
    assert!(gone.is_empty() && come.is_empty(), "{what}: gone {gone:#?}, come {come:#?}");
}

/// The world holds exactly the plan, and knows it.
async fn expect(world: &mut World, plan: &Plan, what: &str) -> Result<()> {
    let observed = world.observe(plan).await?;
    let left: Vec<String> = steps(plan, &observed).iter().map(ToString::to_string).collect();
    ensure!(left.is_empty(), "{what}: still to do: {left:#?}");
    ensure!(observed == Observed::from(plan), "{what}: observed {observed:#?}\n planned {plan:#?}");
    Ok(())
}

/// An address that the admin gave is not noted as ours, so that no cleanup takes it.
#[test]
fn a_planned_address_of_somebody_else_is_refused_and_stays() -> Result<()> {
    let site = Site::new()?;
    site.namespace.ip(&["addr", "add", "10.70.0.2/32", "dev", "lo"])?;
    let before = site.seen()?;
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        let address = DeviceAddress { device: DeviceName("lo".to_owned()), address: "10.70.0.2/32".parse()? };
        let plan = Plan { addresses: BTreeSet::from([address]), ..Plan::default() };
        let refused = converge(&mut world, &plan).await.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(refused.contains("10.70.0.2/32 is on lo already"), "{refused}");
        Ok(())
    })?;
    site.cleanup()?;
    expect_same(&before, &site.seen()?, "after cleanup");
    Ok(())
}

#[test]
fn random_desired_states_converge_and_foreign_things_survive() -> Result<()> {
    let site = Site::new()?;
    let before = site.seen()?;
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        let mut random = plans::Random::new(1);
        for number in 0..60 {
            let plan = plans::plan(&mut random);
            converge(&mut world, &plan).await.with_context(|| format!("plan {number}: {plan:#?}"))?;
            expect(&mut world, &plan, &format!("plan {number}")).await?;
        }
        converge(&mut world, &Plan::default()).await?;
        expect(&mut world, &Plan::default(), "the empty plan").await
    })?;
    expect_same(&before, &site.seen()?, "an empty plan leaves what was there before");
    Ok(())
}

#[test]
fn a_restart_adopts_and_has_nothing_to_do() -> Result<()> {
    let site = Site::new()?;
    let before = site.seen()?;
    let mut random = plans::Random::new(2);
    for number in 0..12 {
        let plan = plans::plan(&mut random);
        site.enter(async |directory| {
            let mut first = world(directory).await?;
            converge(&mut first, &plan).await?;
            expect(&mut first, &plan, &format!("plan {number}")).await
        })?;
        let made = site.seen()?;
        site.enter(async |directory| {
            let mut second = world(directory).await?;
            let adopted = second.resume(&plan)?;
            ensure!(adopted == plan.tunnels.len(), "plan {number}: adopted {adopted} tunnels");
            expect(&mut second, &plan, &format!("plan {number} after a restart")).await
        })?;
        expect_same(&made, &site.seen()?, &format!("plan {number}"));
    }
    site.cleanup()?;
    site.cleanup()?;
    expect_same(&before, &site.seen()?, "afterwards");
    assert!(!site.lab.directory().join("run").exists());
    assert!(site.lab.directory().join("state").exists(), "allocations and key are for the next start");
    Ok(())
}

#[test]
fn what_others_break_is_repaired() -> Result<()> {
    let site = Site::new()?;
    let mut random = plans::Random::new(3);
    let plan = plans::full(&mut random);
    let namespace = site.namespace.clone();
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        converge(&mut world, &plan).await?;
        for damage in [
            "route del 10.81.0.0/16 metric 100",
            "route flush proto 177",
            "-6 route flush proto 177",
            "addr flush dev mesh-t1",
            "link set mesh-t1 down",
            "link set mesh-t1 mtu 900",
            "link del mesh-t2",
            "addr del 10.70.1.1/32 dev lo",
            "neigh del 192.0.2.2 dev u0",
        ] {
            namespace.ip(&damage.split(' ').collect::<Vec<_>>())?;
            let count = converge(&mut world, &plan).await.context(damage)?;
            ensure!(count > 0, "{damage} was not noticed");
            expect(&mut world, &plan, damage).await?;
        }
        Ok(())
    })
}

#[test]
fn what_is_not_ours_is_not_taken() -> Result<()> {
    let site = Site::new()?;
    site.namespace.ip(&["route", "add", "10.81.0.0/16", "dev", "u0", "metric", "100", "proto", "static"])?;
    site.namespace.ip(&["link", "add", "mesh-t1", "type", "veth", "peer", "name", "other2"])?;
    let before = site.seen()?;
    let mut random = plans::Random::new(4);
    let plan = plans::full(&mut random);
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        let error = format!("{:#}", converge(&mut world, &plan).await.unwrap_err());
        ensure!(error.contains("mesh-t1"), "{error}");
        Ok(())
    })?;
    expect_same(&before, &site.seen()?, "refused before anything was done");

    site.namespace.ip(&["link", "del", "mesh-t1"])?;
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        let error = format!("{:#}", converge(&mut world, &plan).await.unwrap_err());
        ensure!(error.contains("10.81.0.0/16") && error.contains("not ours"), "{error}");
        Ok(())
    })?;
    let routes = site.namespace.ip(&["route", "show", "10.81.0.0/16"])?;
    assert!(routes.contains("proto static"), "{routes}");
    site.cleanup()
}

#[test]
fn a_port_in_use_is_found_before_anything_is_done() -> Result<()> {
    let site = Site::new()?;
    let before = site.seen()?;
    let mut random = plans::Random::new(5);
    let plan = plans::full(&mut random);
    site.enter(async |directory| {
        let port = plan.tunnels.values().flat_map(|tunnel| tunnel.listen_ports.iter().copied()).max().unwrap();
        let _taken = std::net::UdpSocket::bind(("0.0.0.0", port))?;
        let mut world = world(directory).await?;
        let error = format!("{:#}", converge(&mut world, &plan).await.unwrap_err());
        ensure!(error.contains(&format!("UDP port {port}")) && error.contains("mesh-t2"), "{error}");
        Ok(())
    })?;
    expect_same(&before, &site.seen()?, "afterwards");
    assert!(
        !fs::read_to_string(site.lab.directory().join("state/applied.json")).unwrap_or_default().contains("mesh-t2")
    );
    Ok(())
}

#[test]
fn ports_move_between_tunnels() -> Result<()> {
    let site = Site::new()?;
    let mut random = plans::Random::new(5);
    let mut first = plans::full(&mut random);
    let names: Vec<DeviceName> = first.tunnels.keys().take(2).cloned().collect();
    let give = |plan: &mut Plan, ports: [u16; 2]| {
        for (name, port) in names.iter().zip(ports) {
            plan.tunnels.get_mut(name).expect("a full plan has three tunnels").listen_ports = vec![port];
        }
    };
    give(&mut first, [51_901, 51_902]);
    let mut swapped = first.clone();
    give(&mut swapped, [51_902, 51_901]);
    site.enter(async |directory| {
        let mut world = world(directory).await?;
        converge(&mut world, &first).await?;
        converge(&mut world, &swapped).await?;
        expect(&mut world, &swapped, "after the ports were swapped").await?;
        converge(&mut world, &Plan::default()).await?;
        Ok(())
    })?;
    site.cleanup()
}

#[test]
fn settings_that_follow_another_get_their_old_values_back() -> Result<()> {
    let site = Site::new()?;
    let forwarding = |device: &str| site.namespace.read_sysctl(&format!("net/ipv6/conf/{device}/forwarding"));
    site.namespace.sysctl("net/ipv6/conf/u0/forwarding", "1")?;
    let all = Sysctl { device: DeviceName("all".to_owned()), key: SysctlKey::ForwardingV6 };
    let plan = Plan { sysctls: [(all, "1".to_owned())].into(), ..Plan::default() };
    for end_with_cleanup in [false, true] {
        site.enter(async |directory| {
            let mut world = world(directory).await?;
            converge(&mut world, &plan).await?;
            ensure!(forwarding("mesh-other")? == "1", "all follow");
            if !end_with_cleanup {
                converge(&mut world, &Plan::default()).await?;
            }
            Ok(())
        })?;
        if end_with_cleanup {
            site.cleanup()?;
        }
        let values = ["all", "default", "u0", "mesh-other"].map(|device| forwarding(device).unwrap());
        assert_eq!(values, ["0", "0", "1", "0"], "cleanup: {end_with_cleanup}");
    }
    Ok(())
}
