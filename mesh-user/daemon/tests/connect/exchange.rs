//! Two admins who share only files: each knows one daemon, and no daemon asks another.

use anyhow::{Result, ensure};

use crate::pair::Pair;

const CLIENT: &str = "meshctl network connect --remote-files shared";
const SERVER: &str = "meshctl network connect --remote-files shared --gw-server-service-location Consumer \
                      --gw-server-service-type NodePort";
/// Exit code: the files of the other admin are not there yet.
const WAITING: i32 = 9;

/// LQ-40, LQ-61: both run `network connect` on one directory.
#[test]
fn both_run_connect() -> Result<()> {
    let mut pair = Pair::start(2)?;
    pair.know(0, [0])?;
    pair.know(1, [1])?;
    let told = pair.fails(0, CLIENT, WAITING)?;
    ensure!(told.contains("Configuration") && told.contains("hint: the other admin"), "{told}");
    let said = pair.done(1, SERVER)?;
    ensure!(said.contains("cl02-gatewayclient.yaml is written"), "{said}");
    let said = pair.done(0, &format!("{CLIENT} --wait"))?;
    ensure!(said.contains("(local) Connection is established"), "{said}");
    pair.network.joined(0, 1);
    pair.reach(0, 1)?;
    pair.done(1, &format!("{SERVER} --wait"))?;
    // Each takes down its own side.
    for admin in [0, 1] {
        let said = pair.done(admin, "meshctl network reset --remote-files shared --yes")?;
        ensure!(said.contains("(local) Nothing of cl0"), "{said}");
    }
    ensure!(pair.home.join("shared").read_dir()?.next().is_none(), "files are left");
    Ok(())
}

/// LQ-61: the server's admin only applies what is there, and puts there what `generate` and `get` print.
#[test]
fn one_applies_files_by_hand() -> Result<()> {
    let mut pair = Pair::start(2)?;
    pair.know(0, [0])?;
    pair.know(1, [1])?;
    let line = format!("{CLIENT} --gw-server-service-type NodePort");
    pair.fails(0, &line, WAITING)?;
    for line in [
        "meshctl apply -f shared",
        "meshctl generate configuration > shared/b.yaml",
        "until meshctl get gws -n liqo-tenant-cl01 cl01 -o yaml | grep -q addresses; do sleep 0.2; done",
        "meshctl get gws -n liqo-tenant-cl01 cl01 -o yaml > shared/c.yaml",
        "meshctl generate publickey --gateway-type server --gateway-name cl01 > shared/d.yaml",
    ] {
        pair.done(1, line)?;
    }
    pair.done(0, &format!("{line} --wait"))?;
    pair.network.joined(0, 1);
    pair.reach(0, 1)?;
    Ok(())
}
