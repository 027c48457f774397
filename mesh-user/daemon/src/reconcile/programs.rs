//! Which program runs on which interface, at which hook, and why there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use mesh_common::{
    ids::IfIndex,
    maps::{INTERFACE_SLOTS, interface_slot, link_address},
};
use mesh_core::{
    plan::{Attachment, DeviceName, HookChoice, Plan},
    reconcile::Step,
};

use super::World;
use crate::kernel::{
    bpf::{self, Bpf, Loaded},
    bpf_counters::Counters,
    bpf_links::{HOOKS, Hook},
    bpf_log,
    netlink::Link,
    xdp_features,
};

/// What runs on an interface, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReport {
    pub hook: Option<Hook>,
    pub why: String,
    pub index: IfIndex,
}

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) bpf: Bpf,
    /// [`Loaded::fingerprint`] of it.
    object: String,
    counters: Arc<Counters>,
    /// Why each hook was chosen.
    reasons: BTreeMap<DeviceName, String>,
}

impl Programs {
    /// The programs, and the maps for those who write them.
    pub(super) fn new(loaded: Loaded) -> (Self, bpf::Tables) {
        let Loaded { bpf, tables, counters, fingerprint } = loaded;
        let programs = Programs { bpf, object: fingerprint, counters: Arc::new(counters), reasons: BTreeMap::new() };
        (programs, tables)
    }
}

impl World {
    /// Adopts the BPF links that an earlier run left. Programs of another object are replaced behind them.
    pub(super) fn resume_programs(&mut self) -> Result<usize> {
        let Some(programs) = &mut self.programs else { return Ok(0) };
        let mut adopted = 0;
        for (device, attachment) in &self.record.interfaces {
            let Some(link) = self.links.get(device) else { continue };
            if let Some(hook) = programs.bpf.attached(device, link) {
                if self.record.object != programs.object {
                    programs.bpf.attach(device, link, hook, attachment.role)?;
                }
                let (_, why) = candidates(attachment.hook, link).into_iter().find(|(other, _)| *other == hook).unzip();
                programs.reasons.insert(device.clone(), why.unwrap_or_else(|| "kept from an earlier run".to_owned()));
                adopted += 1;
            }
        }
        self.record.object.clone_from(&programs.object);
        Ok(adopted)
    }

    /// Interfaces whose program runs. An interface that was made again has none.
    pub(super) fn observe_interfaces(&self, plan: &Plan) -> BTreeMap<DeviceName, Attachment> {
        let Some(programs) = &self.programs else { return plan.interfaces.clone() };
        let runs = |device: &DeviceName, attachment: &Attachment| {
            self.links.get(device).is_some_and(|link| {
                (attachment.hook == HookChoice::Off) == programs.bpf.attached(device, link).is_none()
            })
        };
        let known = self.record.interfaces.iter().filter(|(device, attachment)| runs(device, attachment));
        known.map(|(device, attachment)| (device.clone(), *attachment)).collect()
    }

    /// Refuses, before anything is done, a hook that somebody else holds and a program that the kernel does not take.
    pub(super) fn prepare_programs(&mut self, steps: &[Step]) -> Result<()> {
        let Some(programs) = &mut self.programs else { return Ok(()) };
        for step in steps {
            let Step::Attach(device, attachment) = step else { continue };
            let Some(link) = self.links.get(device) else { continue };
            let hooks = candidates(attachment.hook, link);
            if let Some(program) = foreign_xdp(&programs.bpf, device, link)
                && hooks.iter().all(|(hook, _)| *hook != Hook::Tcx)
                && !hooks.is_empty()
            {
                bail!(
                    "{device} has an XDP program of others (id {program}): `ip link set dev {device} xdp off` removes \
                     it, or set hook = \"tcx\" for {device}"
                );
            }
            if let Some((hook, _)) = hooks.first() {
                programs.bpf.verify(*hook, attachment.role)?;
            }
        }
        Ok(())
    }

    /// The first hook that the device takes, and no other.
    pub(super) fn attach(&mut self, device: &DeviceName, attachment: Attachment) -> Result<()> {
        if let Some(programs) = &mut self.programs {
            let link = self.links.get(device).with_context(|| format!("there is no interface {device}"))?;
            let hooks = candidates(attachment.hook, link);
            let runs = programs.attach_first(device, link, attachment, &hooks)?;
            for hook in HOOKS {
                if Some(hook) != runs {
                    programs.bpf.detach(device, Some(hook))?;
                }
            }
        }
        self.record.interfaces.insert(device.clone(), attachment);
        Ok(())
    }

    pub(super) fn detach(&mut self, device: &DeviceName) -> Result<()> {
        if let Some(programs) = &mut self.programs {
            programs.bpf.detach(device, None)?;
            programs.reasons.remove(device);
        }
        self.record.interfaces.remove(device);
        Ok(())
    }

    /// Tells the XDP programs the Ethernet addresses of their interfaces, before they run and whenever one changes: a frame for
    /// another is not ours. (The stack knows them for tcx.)
    pub(super) fn tell_link_addresses(&mut self, plan: &Plan) -> Result<()> {
        let Some(maps) = &mut self.tables.maps else { return Ok(()) };
        let mut told: BTreeMap<u32, &DeviceName> = BTreeMap::new();
        for (device, attachment) in &plan.interfaces {
            let Some(link) = self.links.get(device) else { continue };
            if candidates(attachment.hook, link).iter().all(|(hook, _)| *hook == Hook::Tcx) {
                continue;
            }
            let slot = interface_slot(link.index);
            if let Some(other) = told.insert(slot, device) {
                bail!(
                    "the indices of {other} and {device} are a multiple of {INTERFACE_SLOTS} apart, and XDP has room for \
                     one of them: set hook = \"tcx\" for {device}, or make the interface again"
                );
            }
            let own = link.mac.map_or(0, |[a, b, c, d, e, f]| link_address(link.index, [a, b, c, d, e, f, 0, 0]));
            maps.link_addresses.set(slot, own, 0).with_context(|| format!("cannot write the address of {device}"))?;
        }
        Ok(())
    }

    /// Lets XDP redirect to the interfaces of the plan that are found to take such frames, and to no other. The far end of
    /// a veth may change its mind without an event, so this is asked again from time to time.
    pub fn prove_redirects(&mut self, plan: &Plan) -> Result<()> {
        let Some(maps) = &mut self.tables.maps else { return Ok(()) };
        let indices = plan.interfaces.keys().filter_map(|device| self.links.get(device)).map(|link| link.index);
        let mut proved: BTreeSet<u32> =
            indices.filter(|index| xdp_features::takes_redirects(*index)).map(|index| index.0).collect();
        let known: BTreeSet<u32> =
            maps.redirects.keys().collect::<Result<_, _>>().context("cannot read the redirects")?;
        for index in known.difference(&proved) {
            // The entry goes by itself with its device.
            if let Err(error) = maps.redirects.remove(*index) {
                tracing::debug!(index, "cannot withdraw a redirect: {error}");
            }
        }
        // So does a device between the look and now.
        proved.retain(|index| known.contains(index) || maps.redirects.insert(*index, *index, None, 0).is_ok());
        self.redirects = proved.into_iter().map(IfIndex).collect();
        Ok(())
    }

    /// A start that was refused leaves no empty maps behind. Maps of an earlier run are in use and stay.
    pub fn withdraw(&mut self) -> Result<()> {
        if self.record.interfaces.is_empty()
            && let Some(programs) = &self.programs
        {
            programs.bpf.unpin()?;
        }
        Ok(())
    }

    /// Some interface has a hook in the settings.
    pub fn has_programs(&self) -> bool {
        self.programs.is_some()
    }

    /// Passes the log lines of the programs on to the daemon's log.
    pub fn log_programs(&mut self) -> Result<()> {
        self.programs.as_mut().map_or(Ok(()), |programs| bpf_log::start(programs.bpf.object()))
    }

    /// What the programs counted; `None` while no interface has a hook.
    pub fn counters(&self) -> Option<Arc<Counters>> {
        self.programs.as_ref().map(|programs| Arc::clone(&programs.counters))
    }

    /// What runs where.
    pub fn hooks(&self) -> BTreeMap<DeviceName, HookReport> {
        let report = |device: &DeviceName| {
            let link = self.links.get(device)?;
            let programs = self.programs.as_ref()?;
            let hook = programs.bpf.attached(device, link);
            let mut why = programs.reasons.get(device).cloned().unwrap_or_else(|| "set to off".to_owned());
            if hook == Some(Hook::Xdp) && !self.redirects.contains(&link.index) {
                why +=
                    "; takes no redirected frames, so the kernel forwards to it (a veth needs GRO on at its other end)";
            }
            Some((device.clone(), HookReport { hook, why, index: link.index }))
        };
        self.record.interfaces.keys().filter_map(report).collect()
    }
}

impl Programs {
    fn attach_first(
        &mut self,
        device: &DeviceName,
        link: &Link,
        attachment: Attachment,
        hooks: &[(Hook, String)],
    ) -> Result<Option<Hook>> {
        let mut refusals = Vec::new();
        for (hook, why) in hooks {
            match self.bpf.attach(device, link, *hook, attachment.role) {
                Ok(()) => {
                    let mut why = why.clone();
                    for refusal in refusals {
                        why += &format!("; {refusal}");
                    }
                    self.reasons.insert(device.clone(), why);
                    return Ok(Some(*hook));
                }
                Err(error) => refusals.push(format!("{error:#}")),
            }
        }
        self.reasons.remove(device);
        if hooks.is_empty() {
            return Ok(None);
        }
        bail!("{}: set hook = \"tcx\" or \"off\" for {device}", refusals.join("; "))
    }
}

/// The hooks to try in their order, each with the reason to take it.
fn candidates(choice: HookChoice, link: &Link) -> Vec<(Hook, String)> {
    let as_set = |hook| vec![(hook, "as set".to_owned())];
    match (choice, link.kind.as_deref()) {
        (HookChoice::Off, _) => Vec::new(),
        (HookChoice::Xdp, _) => as_set(Hook::Xdp),
        (HookChoice::XdpGeneric, _) => as_set(Hook::XdpGeneric),
        (HookChoice::Tcx, _) => as_set(Hook::Tcx),
        (HookChoice::Auto, None) => {
            vec![(Hook::Xdp, "the driver has native XDP".to_owned()), (Hook::Tcx, "no native XDP here".to_owned())]
        }
        (HookChoice::Auto, Some("veth")) => {
            vec![(Hook::Tcx, "native XDP on a veth would take segmentation offload from its other end".to_owned())]
        }
        (HookChoice::Auto, Some(kind)) => vec![(Hook::Tcx, format!("a {kind} device has no native XDP"))],
    }
}

/// The program of others that holds the device's XDP hook.
fn foreign_xdp(bpf: &Bpf, device: &DeviceName, link: &Link) -> Option<u32> {
    let runs = link.xdp.driver.or(link.xdp.generic)?;
    let ours = matches!(bpf.attached(device, link), Some(Hook::Xdp | Hook::XdpGeneric));
    (!ours).then_some(runs)
}
