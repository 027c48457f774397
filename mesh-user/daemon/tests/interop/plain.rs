//! Each direction, each as the one that begins, with and without a preshared key.

use anyhow::{Result, ensure};
use mesh_lab::{Lab, traffic, wireguard::Program};

use super::{
    ends::{Tunnel, carry, hosts, join},
    for_each_rival,
};

for_each_rival!(we_begin, they_begin, with_a_preshared_key, not_with_another_preshared_key);

fn pair(lab: &Lab, rival: Program) -> Result<(Tunnel, Tunnel)> {
    let [a, b] = hosts(lab)?;
    Ok((Tunnel::start(lab, Program::MeshWg, &a, 1)?, Tunnel::start(lab, rival, &b, 2)?))
}

fn we_begin(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let (ours, theirs) = pair(&lab, rival)?;
    join(&ours, &theirs, "192.0.2.2", &[])?;
    carry(&ours, &theirs)?;
    let endpoint = theirs.peer("endpoints")?;
    ensure!(endpoint == "192.0.2.1:51821", "{endpoint}");
    Ok(())
}

fn they_begin(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let (ours, theirs) = pair(&lab, rival)?;
    join(&theirs, &ours, "192.0.2.1", &[])?;
    carry(&theirs, &ours)?;
    let endpoint = ours.peer("endpoints")?;
    ensure!(endpoint == "192.0.2.2:51822", "{endpoint}");
    Ok(())
}

fn with_a_preshared_key(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let (ours, theirs) = pair(&lab, rival)?;
    let key = ours.wireguard.file("psk", "4mKpyyCyGLTvLgBhrg8eyWUpX1oWbFkjRWUnTnqvYnE=\n")?;
    join(&ours, &theirs, "192.0.2.2", &["preshared-key", &key])?;
    carry(&ours, &theirs)
}

fn not_with_another_preshared_key(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let (ours, theirs) = pair(&lab, rival)?;
    let key = ours.wireguard.file("psk", "4mKpyyCyGLTvLgBhrg8eyWUpX1oWbFkjRWUnTnqvYnE=\n")?;
    theirs.join(&ours, &[])?;
    ours.join(&theirs, &["endpoint", "192.0.2.2:51822", "preshared-key", &key])?;
    ensure!(!traffic::answers_ping(&ours.end(), theirs.inner.into(), 3)?, "the keys differ");

    // Ours takes the key away while it runs, and is understood.
    let none = ours.wireguard.file("none", "")?;
    ours.wireguard.set(&["peer", theirs.wireguard.public_key(), "preshared-key", &none])?;
    ensure!(traffic::answers_ping(&ours.end(), theirs.inner.into(), 40)?, "without a key on either side");
    Ok(())
}
