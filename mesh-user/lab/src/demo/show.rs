//! `cargo xtask run`: lays out the scenes, keeps their promises before one's eyes, and stays until asked to go.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Network,
    check::{CHECKS, Check},
    network::Direction,
};
use crate::{Lab, interrupt, node::Programs};

/// One scene of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub about: &'static str,
    pub lay_out: fn(&Lab, &Programs) -> Result<Network>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Kept,
    Broken,
    Interrupted,
}

#[derive(Debug)]
struct Row {
    scene: &'static str,
    direction: String,
    check: &'static str,
    took: Duration,
    result: Result<String>,
}

/// Runs all scenes and their checks. Unless `once`, the scenes then stay until SIGINT or SIGTERM.
pub fn run(scenes: &[Scene], programs: &Programs, once: bool) -> Result<Outcome> {
    interrupt::watch();
    let lab = Lab::new()?;
    let mut rows = Vec::new();
    let mut networks = Vec::new();
    for scene in scenes {
        let network = match start(scene, &lab, programs) {
            Err(_) if interrupt::requested() => return Ok(Outcome::Interrupted),
            started => started?,
        };
        check(scene, &network, &mut rows)?;
        if interrupt::requested() {
            return Ok(Outcome::Interrupted);
        }
        networks.push(network);
    }
    for network in &networks {
        print_status(network)?;
    }
    println!();
    print_tables(scenes, &rows);
    let broken = rows.iter().filter(|row| row.result.is_err()).count();
    if !once {
        networks.iter().try_for_each(print_invitation)?;
        println!("\nEverything stays until Ctrl-C.");
        while !interrupt::requested() {
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("Removing it.");
    }
    Ok(if broken == 0 { Outcome::Kept } else { Outcome::Broken })
}

fn start(scene: &Scene, lab: &Lab, programs: &Programs) -> Result<Network> {
    println!("\n{}: {}", scene.name, scene.about);
    let begun = Instant::now();
    progress("  namespaces, cables, keys, manifests");
    let mut network = (scene.lay_out)(lab, programs)?;
    println!(" {}", seconds(begun.elapsed()));
    let begun = Instant::now();
    progress("  meshd on each gateway, until connected");
    if let Err(error) = network.start() {
        println!(" failed\n{}", network.tails());
        return Err(error);
    }
    println!(" {}", seconds(begun.elapsed()));
    Ok(network)
}

fn check(scene: &Scene, network: &Network, rows: &mut Vec<Row>) -> Result<()> {
    let mut random = u64::from(std::process::id());
    let mut failed = false;
    for direction in network.directions()? {
        for check in CHECKS {
            if interrupt::requested() {
                return Ok(());
            }
            let row = one(scene, &direction, check, &mut random);
            failed |= row.result.is_err();
            rows.push(row);
        }
    }
    if failed {
        println!("{}", network.tails());
    }
    Ok(())
}

fn one(scene: &Scene, direction: &Direction, check: &Check, random: &mut u64) -> Row {
    progress(&format!("  {}  {:22}", direction.name(), check.name));
    let begun = Instant::now();
    let result = (check.run)(direction, random);
    let took = begun.elapsed();
    match &result {
        Ok(seen) => println!(" ok  {:>7}  {seen}", seconds(took)),
        Err(error) => println!(" FAILED after {}: {error:#}", seconds(took)),
    }
    Row { scene: scene.name, direction: direction.name(), check: check.name, took, result }
}

fn print_status(network: &Network) -> Result<()> {
    for cluster in &network.clusters {
        println!("\nmeshctl status of {}", cluster.id());
        let finished = cluster.node.meshctl(&["status"])?;
        println!("{}", [finished.stdout.trim_end(), finished.stderr.trim_end()].join("\n").trim_end());
    }
    Ok(())
}

/// A table for each scene: a line for each check, a column for each direction.
fn print_tables(scenes: &[Scene], rows: &[Row]) {
    for scene in scenes {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.scene == scene.name).collect();
        let mut columns: Vec<&str> = rows.iter().map(|row| row.direction.as_str()).collect();
        columns.dedup();
        print_line(scene.name, columns.iter().map(|direction| (*direction).to_owned()));
        for check in CHECKS {
            print_line(check.name, columns.iter().map(|direction| cell(&rows, direction, check.name)));
        }
        println!();
    }
    let failed = rows.iter().filter(|row| row.result.is_err()).count();
    println!("{} checks, {failed} failed", rows.len());
}

fn print_line(first: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|cell| format!("  {cell:19}")).collect();
    println!("{first:20}{}", cells.trim_end());
}

fn cell(rows: &[&Row], direction: &str, check: &str) -> String {
    let row = rows.iter().find(|row| (row.direction.as_str(), row.check) == (direction, check));
    match row.map(|row| (row.took, row.result.is_ok())) {
        Some((took, true)) => format!("ok {:>8}", seconds(took)),
        Some((_, false)) => "FAILED".into(),
        None => "not run".into(),
    }
}

/// Commands to type.
fn print_invitation(network: &Network) -> Result<()> {
    let mut random = 1;
    let Some(direction) = network.directions()?.into_iter().next() else { return Ok(()) };
    let (from, to, dial) = super::check::pods(&direction, &mut random)?;
    let enter = |namespace: &crate::Namespace| format!("nsenter --net={}", namespace.path().display());
    println!("\nTry {} by hand:", direction.name());
    println!("  a pod pings a pod     {} ping -I {} {dial}", enter(&from.namespace), from.address);
    println!("  what the other sees   {} tcpdump -ni eth0 host {}", enter(&to.namespace), to.address);
    println!("  the underlay          {} tcpdump -ni {}", enter(&network.wire), direction.from.id());
    println!("  the gateway           {} ip route", enter(direction.from.gateway()));
    let node = &direction.from.node;
    println!("  its daemon            {} --socket {} status", node.program().display(), node.socket().display());
    let verb = format!("explain {} {dial}", from.address);
    println!("  why a packet passes   {} --socket {} {verb}", node.program().display(), node.socket().display());
    println!("  its manifests         {}", node.directory().join("manifests").display());
    Ok(())
}

fn progress(text: &str) {
    print!("{text}");
    // Without a terminal to flush to, the line appears when it is complete.
    let _ = std::io::stdout().flush();
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f32())
}
