//! Packets between our TUN device and the device of a program, judged and rewritten on their way.

use std::{fs::File, io, os::fd::OwnedFd, sync::Arc};

use anyhow::{Context as _, Result, bail};
use mesh_common::{
    datapath::{DropReason, Ingress, Verdict, remap::remap},
    frame::{Checksum, SliceFrame},
    ids::{ConnectionId, RemapId},
};
use mesh_core::{
    plan::{DeviceName, slots::Slots},
    tunnel::vnet::{self, Header},
};
use tokio::{io::unix::AsyncFd, sync::watch};

use super::Job;
use crate::{
    kernel::{netlink::Netlink, netns, packet_socket::PacketSocket, readiness::readable, tun::Tun},
    shard::DriverCounters,
};

/// Room in front of a packet for the headers of an ICMP error that quotes it.
const HEADROOM: usize = 128;
/// Longest packet of IP.
const MAX_PACKET: usize = 65_535;
/// Packets of one direction before the other has its turn.
const BUDGET: usize = 64;

/// Both devices of one tunnel.
pub(super) struct Carrier<'a> {
    tun: &'a Tun,
    socket: PacketSocket,
    /// Of both.
    readiness: [AsyncFd<OwnedFd>; 2],
    connection: ConnectionId,
    /// The program's device is in it, and ends with it.
    _namespace: File,
}

impl<'a> Carrier<'a> {
    /// Takes the program's device into a namespace of its own.
    pub(super) async fn open(device: &DeviceName, job: &Job, tun: &'a Tun) -> Result<Self> {
        let namespace = netns::create()?;
        let netlink = Netlink::open()?;
        let links = netlink.links().await?;
        let link = links.get(device).with_context(|| format!("the program made no device {device}"))?;
        netlink.move_to(link.index, &namespace).await.with_context(|| device.to_string())?;
        let path = netns::path_of(&namespace);
        let inside = Netlink::open_in(&path)?;
        let index = match inside.links().await?.get(device) {
            Some(link) => link.index,
            None => bail!("{device}: the device vanished"),
        };
        inside.set_mtu(index, job.mtu.into()).await.with_context(|| device.to_string())?;
        inside.set_up(index).await.with_context(|| device.to_string())?;
        let socket = netns::within(Some(&path), || PacketSocket::open(index).context("open a packet socket"))?;
        Ok(Carrier {
            readiness: [readable(tun)?, readable(&socket)?],
            tun,
            socket,
            connection: job.connection,
            _namespace: namespace,
        })
    }

    /// Until one of the devices goes.
    pub(super) async fn carry(&self, tables: &watch::Receiver<Arc<Slots>>, counters: &DriverCounters) -> Result<()> {
        let mut buffer = vec![0; HEADROOM + MAX_PACKET];
        loop {
            let done = tokio::select! {
                ready = self.readiness[0].readable() => {
                    let mut ready = ready.context("wait for the TUN device")?;
                    let judge = Judge { tables: &tables.borrow().clone(), counters, connection: self.connection };
                    let done = self.send(&judge, &mut buffer);
                    if matches!(done, Ok(Turn::Dry)) {
                        ready.clear_ready();
                    }
                    done.context("our TUN device is gone")
                }
                ready = self.readiness[1].readable() => {
                    let mut ready = ready.context("wait for the device of the program")?;
                    let judge = Judge { tables: &tables.borrow().clone(), counters, connection: self.connection };
                    let done = self.receive(&judge, &mut buffer);
                    if matches!(done, Ok(Turn::Dry)) {
                        ready.clear_ready();
                    }
                    done.context("the device of the program is gone or down")
                }
            };
            done?;
        }
    }

    fn send(&self, judge: &Judge<'_>, buffer: &mut [u8]) -> io::Result<Turn> {
        turn(|| {
            let from = HEADROOM - vnet::LEN;
            let read = self.tun.read(&mut buffer[from..])?;
            if let Some((remap, len)) = judge.outbound(buffer, read) {
                match self.socket.send(&buffer[from..HEADROOM + len]) {
                    Ok(_) => judge.counters.count_sent(remap, len),
                    Err(_) => judge.counters.count_unsent(),
                }
            }
            Ok(())
        })
    }

    fn receive(&self, judge: &Judge<'_>, buffer: &mut [u8]) -> io::Result<Turn> {
        turn(|| {
            let from = HEADROOM - vnet::LEN;
            let read = self.socket.receive(&mut buffer[from..])?;
            if let Some((remap, len)) = judge.inbound(buffer, read) {
                match self.tun.write(&[io::IoSlice::new(&buffer[from..HEADROOM + len])]) {
                    Ok(_) => judge.counters.count_received(remap, len),
                    Err(_) => judge.counters.count_undelivered(),
                }
            }
            Ok(())
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There may be more.
    Full,
    Dry,
}

/// Moves packets until there are none, or enough.
fn turn(mut one: impl FnMut() -> io::Result<()>) -> io::Result<Turn> {
    for _ in 0..BUDGET {
        match one() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Dry),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Turn::Full)
}

/// Says what becomes of a packet, as the shards do for their tunnels.
struct Judge<'a> {
    tables: &'a Slots,
    counters: &'a DriverCounters,
    connection: ConnectionId,
}

impl Judge<'_> {
    fn outbound(&self, buffer: &mut [u8], read: usize) -> Option<(RemapId, usize)> {
        self.judge(buffer, read, Ingress::Tun)
    }

    fn inbound(&self, buffer: &mut [u8], read: usize) -> Option<(RemapId, usize)> {
        self.judge(buffer, read, Ingress::Tunnel(self.connection))
    }

    /// `None`: dropped, and counted as that. Else the packet is as it shall go on, and so long.
    fn judge(&self, buffer: &mut [u8], read: usize, ingress: Ingress) -> Option<(RemapId, usize)> {
        let len = read.saturating_sub(vnet::LEN);
        match self.rewrite(buffer, len, ingress) {
            Ok(remap) => Some((remap, len)),
            Err(reason) => {
                self.counters.count_drop(reason);
                None
            }
        }
    }

    fn rewrite(&self, buffer: &mut [u8], len: usize, ingress: Ingress) -> Result<RemapId, DropReason> {
        let at = HEADROOM - vnet::LEN;
        let header = Header::parse(*buffer[at..].first_chunk().ok_or(DropReason::Truncated)?)?;
        let mut frame = SliceFrame::with_headroom(&mut buffer[..HEADROOM + len], HEADROOM);
        if let Some(partial) = header.partial {
            frame = frame.checksum(Checksum::Partial { at: usize::from(partial.start) + usize::from(partial.offset) });
        }
        if let Some((_, size)) = header.gso {
            frame = frame.super_packet(size);
        }
        let remap = match remap(&mut frame, 0, ingress, self.tables) {
            Verdict::Accept { connection, .. } if connection != self.connection => return Err(DropReason::NoSession),
            Verdict::Accept { remap, .. } => remap,
            Verdict::Drop(reason) => return Err(reason),
            Verdict::Pass => return Err(DropReason::NotOurDestination),
        };
        buffer[at..HEADROOM].copy_from_slice(&header.bytes());
        Ok(remap)
    }
}
