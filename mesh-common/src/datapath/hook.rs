//! What a program at a kernel hook does with a packet from beginning to end: count it, judge it, act on the verdict.
//!
//! XDP and tc differ in how they reach the bytes and in what they can do with a packet; that is [`Hook`].

use super::{
    Tables,
    address::Address,
    forward::{self, Door, KernelVerdict, Kind, Packed},
    route::Fib,
};
use crate::{
    frame::Frame,
    ids::{IfIndex, RemapId},
    maps::{Counter, InterfaceCounter},
    wire::ethernet,
};

/// A frame at a hook, from its Ethernet header on, and the actions that the hook knows.
pub trait Hook: Frame {
    const PASS: i32;
    const DROP: i32;

    /// The interface by which it came.
    fn interface(&self) -> IfIndex;

    /// The frame was sent to the interface's own Ethernet address. What was flooded, or sent to a group, is not ours.
    fn is_sent_here(&self) -> bool;

    /// A VLAN tag that the driver put beside the frame.
    fn has_tag_aside(&self) -> bool {
        false
    }

    fn routes(&self) -> impl Fib + use<Self>;

    /// Sends it out by another interface.
    fn redirect(&self, to: IfIndex) -> i32;

    /// Sends it back out of the interface by which it came.
    fn reply(&self) -> i32;

    /// It is dropped for the reason of this index.
    fn note_drop(&self, reason: u8);
}

/// The counters of this CPU; `None` where a table has no such slot.
pub trait Counters {
    fn interface(&mut self, interface: IfIndex) -> Option<&mut InterfaceCounter>;

    fn remap(&mut self, id: RemapId) -> Option<&mut Counter>;

    /// By the index of a [`super::DropReason`].
    fn drops(&mut self, reason: u8) -> Option<&mut u64>;
}

/// Judges the frame and acts on it; gives the action. Frames for other hosts pass unread, and those with a VLAN tag: VLANs
/// are served on their own devices.
#[inline(always)]
pub fn run<H: Hook, D: Door, T: Tables, C: Counters>(
    mut frame: H,
    door: impl FnOnce(IfIndex) -> D,
    tables: &T,
    mut counters: C,
) -> i32 {
    let (len, door) = (frame.len(), door(frame.interface()));
    let is_tagged = frame.has_tag_aside()
        || matches!(frame.load(ethernet::ETHERTYPE_AT), Some(ethernet::VLAN | ethernet::SERVICE_VLAN));
    if let Some(counter) = counters.interface(frame.interface()) {
        counter.packets += 1;
        counter.bytes += len as u64;
        if is_tagged {
            counter.tagged += 1;
        }
    }
    let is_read = !is_tagged && frame.is_sent_here();
    let verdict = match forward::version(&frame, ethernet::LEN) {
        Some(4) if is_read => judge::<4, H, D, T>(&mut frame, door, tables),
        Some(6) if is_read => judge::<16, H, D, T>(&mut frame, door, tables),
        Some(_) | None => KernelVerdict::Pass.pack(),
    };
    act(&frame, verdict, len, &mut counters)
}

#[inline(always)]
fn act<H: Hook, C: Counters>(frame: &H, verdict: Packed, len: usize, counters: &mut C) -> i32 {
    match verdict.kind() {
        Kind::Pass => return H::PASS,
        Kind::PassRewritten | Kind::Redirect => {
            if let Some(counter) = counters.remap(verdict.remap()) {
                counter.packets += 1;
                counter.bytes += len as u64;
            }
        }
        Kind::Reply | Kind::Drop => {
            if let Some(count) = counters.drops(verdict.reason()) {
                *count += 1;
            }
        }
    }
    match verdict.kind() {
        Kind::Pass | Kind::PassRewritten => H::PASS,
        Kind::Redirect => frame.redirect(verdict.interface()),
        Kind::Reply => frame.reply(),
        Kind::Drop => {
            frame.note_drop(verdict.reason());
            H::DROP
        }
    }
}

/// A function of its own for each version: together they need more than the 512 bytes of stack that BPF has.
#[inline(never)]
fn judge<const N: usize, H: Hook, D: Door, T: Tables>(frame: &mut H, door: D, tables: &T) -> Packed
where
    [u8; N]: Address<N>,
{
    let routes = frame.routes();
    forward::packet::<N, _, _, _, _>(frame, ethernet::LEN, door, tables, &routes)
}
