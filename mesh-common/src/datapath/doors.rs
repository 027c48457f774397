//! The rules: which pairs of addresses may pass a door, and what each becomes there.
//!
//! A door is an [`Ingress`]. Nothing here touches a packet.

use super::{DropReason, Ingress, Tables, address::Address};
use crate::{
    ids::{IfIndex, RemapId},
    maps::{Entry, Role},
};

/// What a door says of a pair of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule<const N: usize> {
    /// Not ours, or ours and routed by the kernel as it is.
    Untouched,
    Rewrite(Pair<N>),
    Drop(DropReason),
}

/// Both addresses as they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair<const N: usize> {
    /// `None`: the source may not come in here, unless with an ICMP error that it makes for a packet of ours.
    pub(super) src: Option<[u8; N]>,
    pub(super) dst: [u8; N],
    /// The remap of the remote's prefix; meaningless when that is the source's and there is none.
    pub(super) remap: RemapId,
    /// Our own side leaves with its mesh-wide address.
    pub(super) presented: bool,
}

/// The rule of this door for a packet from `src` to `dst`.
#[inline(always)]
pub(super) fn rule<const N: usize, T: Tables>(ingress: Ingress, src: [u8; N], dst: [u8; N], tables: &T) -> Rule<N>
where
    [u8; N]: Address<N>,
{
    match ingress {
        Ingress::Workload => from_workload(src, dst, tables),
        Ingress::Underlay(interface) => from_underlay(interface, src, dst, tables),
        Ingress::Tun => into_tunnel(src, dst, tables),
        Ingress::Tunnel(_) => out_of_tunnel(ingress, src, dst, tables),
    }
}

/// What a source becomes at this door, and the remap that says so; `None` when it may not come in here.
#[inline(always)]
pub(super) fn source<const N: usize, T: Tables>(
    ingress: Ingress,
    presented: bool,
    address: [u8; N],
    tables: &T,
) -> Option<([u8; N], RemapId)>
where
    [u8; N]: Address<N>,
{
    let (entry, moves) = match ingress {
        Ingress::Workload | Ingress::Tun => {
            let local = with_role(address, Role::LOCAL, tables)?;
            (local, presented || local.role.is_outside())
        }
        Ingress::Underlay(interface) => (direct_remote(interface, address, tables)?, false),
        Ingress::Tunnel(connection) => (address.announced(connection, tables)?, true),
    };
    Some((if moves { address.moved_to(&entry) } else { address }, RemapId(entry.remap)))
}

/// Tunnelled destinations are left to their route, and so is the own presented prefix, which has an unreachable one.
#[inline(always)]
fn from_workload<const N: usize, T: Tables>(src: [u8; N], dst: [u8; N], tables: &T) -> Rule<N>
where
    [u8; N]: Address<N>,
{
    let source = src.locate(tables);
    let from = source.map_or(Role::NONE, |entry| entry.role);
    if from != Role::NONE && !from.has(Role::LOCAL) {
        return Rule::Drop(if from.has(Role::BARRED) { DropReason::Barred } else { DropReason::SpoofedSource });
    }
    let Some(remote) = dst.locate(tables) else { return Rule::Untouched };
    if remote.role.has(Role::BARRED) {
        return Rule::Drop(DropReason::Barred);
    }
    if !remote.role.has(Role::DIRECT) {
        return Rule::Untouched;
    }
    // Any other source that is in the table was refused above.
    let src = source.filter(|local| local.role.has(Role::LOCAL)).map(|local| src.moved_to(&local));
    Rule::Rewrite(Pair { src, dst, remap: RemapId(remote.remap), presented: true })
}

/// What lies in a prefix of the plan and matches no rule is dropped: nobody else may use these addresses here. A host
/// outside the cluster may talk to whom it likes, and to remotes it does so for us.
#[inline(always)]
fn from_underlay<const N: usize, T: Tables>(interface: IfIndex, src: [u8; N], dst: [u8; N], tables: &T) -> Rule<N>
where
    [u8; N]: Address<N>,
{
    let (source, destination) = (src.locate(tables), dst.locate(tables));
    let from = source.map_or(Role::NONE, |entry| entry.role);
    let (to, local) = match destination {
        Some(entry) => (entry.role, entry),
        None => (Role::NONE, Entry::default()),
    };
    let is_foreign = |role: Role| role == Role::NONE || role.is_outside();
    if is_foreign(from) && is_foreign(to) {
        return Rule::Untouched;
    }
    if let Some(outside) = source.filter(|entry| entry.role.is_outside()) {
        // Behind a tunnel: its route leads there.
        if to.has(Role::TUNNEL) {
            return Rule::Untouched;
        }
        if to.has(Role::DIRECT) {
            let src = Some(src.moved_to(&outside));
            return Rule::Rewrite(Pair { src, dst, remap: RemapId(local.remap), presented: true });
        }
    }
    let remote = source.filter(|entry| may_enter(entry, interface, tables));
    if to.has(Role::RESERVED) {
        let welcome = from == Role::NONE || remote.is_some();
        return if welcome { Rule::Untouched } else { Rule::Drop(DropReason::SpoofedSource) };
    }
    if to.has(Role::PRESENTED) {
        let (src, remap) = match remote {
            Some(remote) => (Some(src), RemapId(remote.remap)),
            None => (None, RemapId::default()),
        };
        return Rule::Rewrite(Pair { src, dst: dst.moved_to(&local), remap, presented: false });
    }
    Rule::Drop(match remote {
        _ if from.with(to).has(Role::BARRED) => DropReason::Barred,
        Some(_) if to.has(Role::TUNNEL.with(Role::DIRECT)) => DropReason::Transit,
        None if from != Role::NONE => DropReason::SpoofedSource,
        Some(_) | None => DropReason::NotOurDestination,
    })
}

#[inline(always)]
fn into_tunnel<const N: usize, T: Tables>(src: [u8; N], dst: [u8; N], tables: &T) -> Rule<N>
where
    [u8; N]: Address<N>,
{
    let Some(remote) = with_role(dst, Role::TUNNEL, tables) else {
        return Rule::Drop(DropReason::NotOurDestination);
    };
    let presented = remote.role.has(Role::PRESENT_SOURCE);
    let src = source(Ingress::Tun, presented, src, tables).map(|(src, _)| src);
    Rule::Rewrite(Pair { src, dst: dst.moved_to(&remote), remap: RemapId(remote.remap), presented })
}

#[inline(always)]
fn out_of_tunnel<const N: usize, T: Tables>(ingress: Ingress, src: [u8; N], dst: [u8; N], tables: &T) -> Rule<N>
where
    [u8; N]: Address<N>,
{
    let remote = source(ingress, false, src, tables);
    let local = match dst.locate(tables) {
        Some(entry) if entry.role.has(Role::LOCAL) && !entry.role.is_outside() => dst,
        Some(entry) if entry.role.has(Role::PRESENTED) => dst.moved_to(&entry),
        Some(entry) if entry.role.has(Role::RESERVED) => dst,
        other => {
            let remote_too = other.is_some_and(|entry| entry.role.has(Role::TUNNEL.with(Role::DIRECT)));
            return Rule::Drop(match remote {
                None => DropReason::SpoofedSource,
                Some(_) if remote_too => DropReason::Transit,
                Some(_) => DropReason::NotOurDestination,
            });
        }
    };
    let (src, remap) = match remote {
        Some((src, remap)) => (Some(src), remap),
        None => (None, RemapId::default()),
    };
    Rule::Rewrite(Pair { src, dst: local, remap, presented: false })
}

#[inline(always)]
fn with_role<const N: usize, T: Tables>(address: [u8; N], role: Role, tables: &T) -> Option<Entry<N>>
where
    [u8; N]: Address<N>,
{
    address.locate(tables).filter(|entry| entry.role.has(role))
}

#[inline(always)]
fn direct_remote<const N: usize, T: Tables>(interface: IfIndex, address: [u8; N], tables: &T) -> Option<Entry<N>>
where
    [u8; N]: Address<N>,
{
    address.locate(tables).filter(|entry| may_enter(entry, interface, tables))
}

/// A `direct` remote authenticates by nothing but its prefix and the interface that it comes in by.
#[inline(always)]
fn may_enter<const N: usize, T: Tables>(entry: &Entry<N>, interface: IfIndex, tables: &T) -> bool {
    entry.role.has(Role::DIRECT)
        && tables.remap(RemapId(entry.remap)).is_some_and(|remap| remap.ingress == 0 || remap.ingress == interface.0)
}

#[cfg(test)]
mod tests;
