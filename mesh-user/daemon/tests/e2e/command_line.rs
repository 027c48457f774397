//! `meshctl` against a real daemon: what it prints and how it ends.

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab,
    demo::{check::pods, wireguard_pair},
};

use crate::programs;

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 5;

#[test]
fn status_and_explain() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    let before = network.clusters[0].node.meshctl(&["status"])?;
    ensure!(before.status.code() == Some(UNREACHABLE), "{before:?}");
    let wrong = network.clusters[0].node.meshctl(&["status", "--colour"])?;
    ensure!(wrong.status.code() == Some(USAGE), "{wrong:?}");

    network.start()?;
    let direction = network.direction(0, 1, false)?;
    let node = &direction.from.node;
    for check in ["live", "ready", "startup"] {
        let finished = node.meshctl(&["status", "--check", check])?;
        ensure!(finished.status.success(), "{finished:?}");
    }
    let table = node.meshctl(&["status"])?.stdout;
    for shown in ["cl02", "Connected", "10.71.0.0/16", "mesh-cl02"] {
        ensure!(table.contains(shown), "no {shown} in\n{table}");
    }
    let (from, to, dial) = pods(&direction, &mut 31)?;
    let (from, to, dial) = (from.address.to_string(), to.address.to_string(), dial.to_string());
    let way = node.meshctl(&["explain", &from, &dial])?;
    ensure!(way.status.success() && way.stdout.contains(&to), "{} is not explained by\n{}", to, way.stdout);
    let stray = node.meshctl(&["explain", "198.51.100.77", &dial])?;
    ensure!(stray.stdout.contains("spoofed-source"), "{stray:?}");
    Ok(())
}
