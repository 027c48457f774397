//! Is a blocked member closed to everything but its groups, and nobody else?

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    num::NonZeroUsize,
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};
use mesh_common::datapath::DropReason;
use mesh_core::plan::{Attachment, DeviceName, HookChoice, InterfaceRole, Plan, block::BlockedInstances};
use mesh_lab::{
    Namespace,
    link::{self, Port},
};
use meshd::{
    kernel::{bpf::Bpf, netlink::Netlink},
    reconcile::World,
    shard::Shards,
    state::StateDirectory,
};

use crate::{Site, converge, secret};

const WEB: &str = "10.50.1.2";
const WEB_V6: &str = "fd50:1::2";
const DB: &str = "10.50.2.2";
const HOST: &str = "10.50.1.1";
const PEER: &str = "192.0.2.2";
/// As the two have them in a group.
const WEB_IN_GROUP: &str = "10.101.0.5";
const DB_IN_GROUP: &str = "10.101.0.6";
const PORT: u16 = 8080;

/// A node with two workloads in namespaces of their own, which a device of ours joins too.
struct Town {
    site: Site,
    web: Namespace,
    db: Namespace,
}

impl Town {
    fn new() -> Result<Town> {
        let site = Site::new()?;
        let (web, db) = (site.lab.namespace("web")?, site.lab.namespace("db")?);
        for (at, (instance, device)) in [(&web, "w0"), (&db, "d0")].into_iter().enumerate() {
            let net = at + 1;
            link::veth(Port::new(&site.namespace, device), Port::new(instance, "eth0"))?;
            link::address(
                Port::new(&site.namespace, device),
                &[&format!("10.50.{net}.1/24"), &format!("fd50:{net}::1/64")],
            )?;
            link::address(Port::new(instance, "eth0"), &[&format!("10.50.{net}.2/24"), &format!("fd50:{net}::2/64")])?;
            instance.ip(&["route", "add", "default", "via", &format!("10.50.{net}.1")])?;
            instance.ip(&["-6", "route", "add", "default", "via", &format!("fd50:{net}::1")])?;
        }
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            site.namespace.sysctl(key, "1")?;
        }
        site._peer.ip(&["route", "add", "10.50.0.0/16", "via", "192.0.2.1"])?;
        link::veth(Port::new(&web, "mesh-g1"), Port::new(&db, "mesh-g2"))?;
        link::address(Port::new(&web, "mesh-g1"), &[&format!("{WEB_IN_GROUP}/16")])?;
        link::address(Port::new(&db, "mesh-g2"), &[&format!("{DB_IN_GROUP}/16")])?;
        Ok(Town { site, web, db })
    }

    fn blocked(&self) -> BlockedInstances {
        BlockedInstances::from([(Some(self.web.path()), BTreeSet::from(["app_web".parse().unwrap()]))])
    }

    /// Nothing comes to the member from anywhere, and nothing from it; all else is as it was.
    fn expect_closed(&self) -> Result<()> {
        let Town { site, web, db } = self;
        for (from, to) in
            [(&site._peer, WEB), (db, WEB), (&site.namespace, WEB), (db, WEB_V6), (web, PEER), (web, HOST)]
        {
            ensure!(!pings(from, to), "{} reaches {to}", from.name());
        }
        ensure!(!connects(db, web, WEB)?, "TCP from another workload");
        ensure!(!connects(&site._peer, web, WEB)?, "TCP from outside");
        let listener = web.enter(|| Ok(UdpSocket::bind((WEB, PORT))?))?;
        listener.set_read_timeout(Some(Duration::from_millis(300)))?;
        let sender = site.namespace.enter(|| Ok(UdpSocket::bind((HOST, 0))?))?;
        sender.send_to(b"from this host", (WEB, PORT))?;
        ensure!(listener.recv(&mut [0; 64]).is_err(), "not even what this host sends, which no hook of it sees");
        self.expect_others_open()
    }

    fn expect_open(&self) -> Result<()> {
        let Town { site, web, db } = self;
        for (from, to) in
            [(&site._peer, WEB), (db, WEB), (&site.namespace, WEB), (db, WEB_V6), (web, PEER), (web, HOST)]
        {
            // Duplicate address detection and the look for neighbours take a moment.
            ensure!((0..5).any(|_| pings(from, to)), "{} does not reach {to}", from.name());
        }
        ensure!(connects(db, web, WEB)? && connects(&site._peer, web, WEB)?, "TCP");
        self.expect_others_open()
    }

    fn expect_others_open(&self) -> Result<()> {
        let Town { site, web, db } = self;
        ensure!(pings(web, DB_IN_GROUP) && pings(db, WEB_IN_GROUP), "the group");
        ensure!(connects(db, web, WEB_IN_GROUP)? && connects(web, db, DB_IN_GROUP)?, "TCP in the group");
        ensure!(pings(&site._peer, DB) && pings(db, PEER) && connects(&site._peer, db, DB)?, "another workload");
        Ok(())
    }
}

fn pings(from: &Namespace, to: &str) -> bool {
    from.run("ping", &["-c", "1", "-W", "0.4", to]).is_ok()
}

fn connects(from: &Namespace, to: &Namespace, address: &str) -> Result<bool> {
    let at: SocketAddr = format!("{address}:{PORT}").parse()?;
    let _listener = to.enter(|| Ok(TcpListener::bind(at)?))?;
    from.enter(|| Ok(TcpStream::connect_timeout(&at, Duration::from_millis(700)).is_ok()))
}

fn plan() -> Plan {
    let attachment = Attachment { role: InterfaceRole::Underlay, hook: HookChoice::Tcx };
    Plan { interfaces: [(DeviceName("u0".to_owned()), attachment)].into(), ..Plan::default() }
}

async fn world(directory: &Path) -> Result<World> {
    let (shards, _events) = Shards::start(NonZeroUsize::MIN)?;
    let state = StateDirectory::open(&directory.join("state"))?;
    let loaded = Bpf::load(&directory.join("bpf/mesh"), false)?;
    World::open(Netlink::open()?, shards.into(), secret(), state, Some(loaded)).await
}

/// What the control loop does with blocks.
async fn enforce(world: &mut World, blocked: &BlockedInstances, is_first: bool) -> Result<Vec<String>> {
    let mut plan = plan();
    let mut troubles = world.block(&mut plan, blocked).await;
    if is_first {
        world.resume(&plan)?;
    }
    converge(world, &plan).await?;
    troubles.extend(world.keep_doors());
    Ok(troubles)
}

fn doors(directory: &Path) -> Result<usize> {
    let pins = fs::read_dir(directory.join("bpf/mesh/links"))?;
    Ok(pins.filter(|pin| pin.as_ref().is_ok_and(|pin| pin.file_name().to_string_lossy().starts_with("door-"))).count())
}

/// NG-44
#[test]
fn a_blocked_member_is_reached_through_its_groups_only() -> Result<()> {
    let town = Town::new()?;
    town.expect_open()?;
    let blocked = town.blocked();
    town.site.enter(async |directory| {
        let mut world = world(directory).await?;
        let troubles = enforce(&mut world, &BlockedInstances::new(), true).await?;
        ensure!(troubles.is_empty() && doors(directory)? == 0, "{troubles:?}");
        let troubles = enforce(&mut world, &blocked, false).await?;
        ensure!(troubles.is_empty() && doors(directory)? == 1, "{troubles:?}");
        town.expect_closed()?;
        let drops = world.counters().map(|counters| counters.drops());
        let barred =
            drops.iter().flatten().find(|(reason, _)| *reason == DropReason::Barred).map(|(_, packets)| *packets);
        ensure!(barred > Some(5), "{drops:?}");
        Ok(())
    })?;
    town.expect_closed()?;
    // Another daemon, another interface, another address.
    town.web.ip(&["link", "add", "eth1", "type", "veth", "peer", "name", "eth2"])?;
    town.web.ip(&["link", "set", "eth1", "up"])?;
    town.site.enter(async |directory| {
        let mut world = world(directory).await?;
        let troubles = enforce(&mut world, &blocked, true).await?;
        ensure!(troubles.is_empty() && doors(directory)? == 3, "{troubles:?}");
        town.expect_closed()?;
        let troubles = enforce(&mut world, &BlockedInstances::new(), false).await?;
        ensure!(troubles.is_empty() && doors(directory)? == 0, "{troubles:?}");
        town.expect_open()
    })?;
    town.site.cleanup()
}

/// NG-44
#[test]
fn what_cannot_be_closed_is_told() -> Result<()> {
    let town = Town::new()?;
    let mut blocked = town.blocked();
    blocked.insert(None, BTreeSet::from(["app_host".parse()?]));
    blocked.insert(Some("/run/netns/mesh-none".into()), BTreeSet::from(["app_gone".parse()?]));
    town.site.enter(async |directory| {
        let mut world = world(directory).await?;
        let troubles = enforce(&mut world, &blocked, true).await?;
        ensure!(troubles.len() == 1 && troubles[0].starts_with("app_host is blocked, but runs in"), "{troubles:?}");
        ensure!(!pings(&town.db, WEB), "the others are closed");
        let mut without = crate::world(directory).await?;
        let troubles = without.block(&mut Plan::default(), &town.blocked()).await;
        ensure!(troubles.len() == 1 && troubles[0].contains("no program runs"), "{troubles:?}");
        Ok(())
    })?;
    town.site.cleanup()
}
