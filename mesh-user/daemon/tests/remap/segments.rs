//! What does not fit through the tunnel: TCP is told beforehand, UDP by an error.

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab,
    demo::check::pods,
    traffic::{echo, path},
};

use crate::pair;

/// Longer than one segment of any link: the first message of a TLS handshake with a hybrid post-quantum key share.
const HELLO: usize = 1_700;

/// Whoever sends more than fits is not told: all ICMP errors are lost on the way to the pods.
fn without_errors(settings: &str) -> Result<(Lab, mesh_lab::demo::Network)> {
    let lab = Lab::new()?;
    let network = pair(&lab, settings)?;
    for host in network.clusters.iter().flat_map(|cluster| &cluster.hosts) {
        host.run("nft", &["add table inet lost"])?;
        host.run("nft", &["add chain inet lost input { type filter hook input priority 0; }"])?;
        host.run("nft", &["add rule inet lost input icmp type destination-unreachable drop"])?;
    }
    Ok((lab, network))
}

/// LQ-73
#[test]
fn a_long_hello_passes_where_errors_are_lost() -> Result<()> {
    let (_lab, network) = without_errors("")?;
    for direction in network.directions()? {
        let (from, to, dial) = pods(&direction, &mut 11)?;
        echo::tcp(&from, &to, dial, HELLO, 1)?;
        echo::tcp(&from, &to, dial, 1_000_000, 2)?;
    }
    Ok(())
}

/// LQ-73: the same without the clamp hangs at the first full segment, so that the test above shows something.
#[test]
fn without_the_clamp_a_long_hello_is_lost() -> Result<()> {
    let (_lab, network) = without_errors("[remap]\nmss_clamp = false\n")?;
    let direction = network.direction(0, 1, false)?;
    let (from, to, dial) = pods(&direction, &mut 11)?;
    echo::tcp(&from, &to, dial, 100, 1)?;
    ensure!(echo::tcp(&from, &to, dial, HELLO, 2).is_err(), "a path MTU was found without errors");
    Ok(())
}

/// LQ-73: who sends UDP with DF is told what fits, from both sides, and the kernel of the pod takes it.
#[test]
fn udp_that_must_not_be_fragmented_is_told_what_fits() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "")?;
    for direction in network.directions()? {
        let (from, _, dial) = pods(&direction, &mut 13)?;
        let told = path::probe_mtu(&from, dial, direction.mtu() - direction.headers() + 1)?;
        ensure!(!told.error.local && told.error.errno == libc::EMSGSIZE, "{:?}", told.error);
        ensure!(usize::try_from(told.path_mtu) == Ok(direction.mtu()), "{}", told.path_mtu);
    }
    Ok(())
}
