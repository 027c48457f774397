//! 43 datagrams that wait in a socket: one call each, one call for all, or joined by the kernel.

use anyhow::Result;

use super::{
    DATAGRAM, TRAIN, fastest,
    messages::Messages,
    wire::{Wire, until_all},
};
use crate::report::{Report, Rival};

pub(super) fn run(runs: usize, wire: &Wire, report: &mut Report) -> Result<()> {
    let bytes = vec![0x5a; TRAIN];
    let (plain, sender) = (wire.plain(), wire.sender()?);
    let to_plain = Messages::of_each(&bytes, wire.plain_address()?);
    let mut rooms = [vec![0; TRAIN], vec![0; TRAIN], vec![0; 1 << 16]];
    let [first, second, whole] = &mut rooms;
    let (mut each, mut all) = (Messages::to_receive(first), Messages::to_receive(second));
    let [gro, recvmmsg, recvmsg] = fastest(
        runs,
        [
            Box::new(|| {
                wire.send(&bytes, wire.joining_address())?;
                until_all(|| Ok(wire.receive(whole)?.map_or(0, |received| received.len)))
            }),
            Box::new(|| {
                to_plain.send_each(sender)?;
                until_all(|| Ok(all.receive_all(plain)? * DATAGRAM))
            }),
            Box::new(|| {
                to_plain.send_each(sender)?;
                until_all(|| Ok(each.receive_each(plain)? * DATAGRAM))
            }),
        ],
    )?;
    let calls = vec![Rival::new("recvmmsg", recvmmsg), Rival::new("recvmsg each", recvmsg)];
    report.versus("receive, gro", "ns", gro, calls);
    Ok(())
}
