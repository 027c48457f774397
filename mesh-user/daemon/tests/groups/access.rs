//! Who may begin what with whom in a group, and members that are closed to everything but their groups.

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Namespace,
    link::{self, Port},
    traffic::{self, End, echo},
};

use crate::{
    reach::reach,
    site::{PATIENCE, Peer, Site},
};

/// Of the instances on the node itself, outside every group.
const OUTSIDE: [&str; 2] = ["10.50.1.2", "10.50.2.2"];

/// A node with two instances, which it also routes to; the hub runs one in its own namespace.
fn lay_out() -> Result<(Site, [Peer; 3])> {
    let mut site = Site::with_hub("[[instance]]\nmember = \"app_hub\"\n")?;
    let node = site.plug("a", 2)?;
    let mut instances = String::new();
    for (number, (name, member)) in [("i1", "app_web"), ("i2", "postgresql_db")].into_iter().enumerate() {
        let room = site.lab.namespace(name)?;
        let (port, net) = (format!("v{number}"), number + 1);
        link::veth(Port::new(&node, &port), Port::new(&room, "eth0"))?;
        link::address(Port::new(&node, &port), &[&format!("10.50.{net}.1/24")])?;
        link::address(Port::new(&room, "eth0"), &[&format!("10.50.{net}.2/24")])?;
        room.ip(&["route", "add", "default", "via", &format!("10.50.{net}.1")])?;
        instances += &format!("[[instance]]\nmember = \"{member}\"\nnetns = {:?}\n", site.keep(room));
    }
    node.sysctl("net/ipv4/ip_forward", "1")?;
    site.start("a", &site.follower("a", &format!("advertise = \"192.0.2.2\"\n{instances}"))?)?;
    site.ng(&["create", "one", "--link", "app_hub,app_web,postgresql_db"])?;
    let hub = site.wait_peers("hub", 1)?.remove(0);
    let mut peers = site.wait_peers("a", 2)?;
    peers.sort_by(|one, other| one.member.cmp(&other.member));
    site.wait_known(&["hub", "a"], "one", 2)?;
    let [web, db]: [Peer; 2] = peers.try_into().ok().context("two instances")?;
    Ok((site, [hub, web, db]))
}

fn pings(from: &Peer, to: &Peer) -> Result<bool> {
    traffic::answers_ping(&from.end, to.end.address, 1)
}

fn until(site: &Site, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    site.wait_for(what, PATIENCE, || Ok(is()?.then_some(()))).with_context(|| site.at("a").tail(30))
}

/// NG-45
#[test]
fn rules_are_in_force_on_both_nodes_and_explained() -> Result<()> {
    let (site, [hub, web, db]) = lay_out()?;
    for (from, to) in [(&hub, &web), (&web, &db), (&db, &hub)] {
        reach(from, to, 1)?;
    }
    site.ng(&["rule", "default", "one", "deny"])?;
    for (from, to) in [(&hub, &web), (&web, &db), (&db, &hub)] {
        until(&site, "all is denied", || Ok(!pings(from, to)?))?;
    }
    site.ng(&["rule", "add", "one", "app_web", "postgresql_db", "tcp"])?;
    site.ng(&["rule", "add", "one", "app_hub", "*", "icmp"])?;
    until(&site, "the hub may ping", || pings(&hub, &web))?;
    until(&site, "TCP to the database", || Ok(echo::tcp(&web.end, &db.end, db.end.address, 20_000, 3).is_ok()))?;
    ensure!(echo::tcp(&db.end, &web.end, web.end.address, 100, 4).is_err(), "the other way round");
    ensure!(!pings(&web, &hub)? && !pings(&web, &db)?, "what no rule names");
    ensure!(site.at("a").status()?.drops.get("not-allowed").is_some_and(|count| *count > 0), "drops are counted");

    let explain = |from: &Peer, to: &Peer, what: &str| {
        let ends = [from.end.address.to_string(), to.end.address.to_string()];
        let finished = site.at("a").meshctl(&["explain", &ends[0], &ends[1], what])?;
        anyhow::Ok(finished.stdout)
    };
    let allowed = explain(&web, &db, "tcp/5432")?;
    ensure!(allowed.contains("app_web -> postgresql_db tcp") && allowed.contains("accepted, in one"), "{allowed}");
    ensure!(allowed.contains(&web.device) && allowed.contains(&db.device), "{allowed}");
    let denied = explain(&db, &web, "tcp/5432")?;
    ensure!(denied.contains("no rule allows tcp/5432 from postgresql_db to app_web"), "{denied}");
    ensure!(denied.contains("dropped: not-allowed"), "{denied}");

    site.ng(&["rule", "default", "one", "allow"])?;
    for (from, to) in [(&web, &hub), (&db, &web)] {
        until(&site, "all is allowed again", || pings(from, to))?;
    }
    Ok(())
}

/// NG-44
#[test]
fn a_blocked_member_is_closed_to_all_but_its_groups() -> Result<()> {
    let (site, [hub, web, db]) = lay_out()?;
    let node: Namespace = site.at("a").namespace().clone();
    let node = End::new(&node, "10.50.1.1".parse::<std::net::Ipv4Addr>()?);
    let [at_web, at_db] = OUTSIDE.map(|address| address.parse::<std::net::IpAddr>().expect("an address"));
    let beside = End::new(&db.end.namespace, at_db);
    let outside = |from: &End, to| traffic::answers_ping(from, to, 1);
    until(&site, "the instance is reached", || Ok(outside(&node, at_web)? && outside(&beside, at_web)?))?;

    site.ng(&["block", "app_web"])?;
    until(&site, "it is closed", || Ok(!outside(&node, at_web)? && !outside(&beside, at_web)?))?;
    for (from, to) in [(&hub, &web), (&web, &db), (&db, &web)] {
        reach(from, to, 2)?;
    }
    ensure!(outside(&node, at_db)?, "others are as they were");
    let status = site.at("a").status()?;
    ensure!(status.drops.get("barred").is_some_and(|count| *count > 0), "{:?}", status.drops);
    ensure!(status.problems.is_empty(), "{:?}", status.problems);
    let explained = site.at("a").meshctl(&["explain", "10.50.2.2", OUTSIDE[0]])?.stdout;
    ensure!(explained.contains("of app_web, which is blocked"), "{explained}");
    ensure!(explained.contains("dropped: barred"), "{explained}");

    site.ng(&["unblock", "app_web"])?;
    until(&site, "it is open again", || Ok(outside(&node, at_web)? && outside(&beside, at_web)?))?;
    reach(&hub, &web, 3)?;

    // The hub's own addresses are not the member's alone.
    site.ng(&["block", "app_hub"])?;
    let is_told = |problems: &[String]| problems.iter().any(|problem| problem.starts_with("app_hub is blocked, but"));
    until(&site, "status says that it is open", || Ok(is_told(&site.at("hub").status()?.problems)))?;
    reach(&hub, &web, 4)?;
    site.ng(&["unblock", "app_hub"])?;
    until(&site, "nothing is wrong any more", || Ok(site.at("hub").status()?.problems.is_empty()))
}
