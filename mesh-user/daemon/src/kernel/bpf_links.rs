//! How a program gets onto an interface and stays there: a BPF link, pinned under the name of the device.
//!
//! A pinned BPF link survives the process. The next one puts its own program behind it in one step, so that no packet
//! passes unjudged. A link whose device is gone is dead; it looks like any other, so the device is asked what runs on it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::programs::{
    LinkOrder, Program, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    tc::TcAttachOptions,
};
use mesh_common::ids::IfIndex;
use mesh_core::plan::{DeviceName, InterfaceRole};

use super::{bpf::Bpf, netlink::Link, netns};

/// Where on an interface a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// In the driver.
    Xdp,
    /// Behind the driver, for any device.
    XdpGeneric,
    /// At the ingress of the traffic control layer (Linux 6.6).
    Tcx,
}

pub const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::XdpGeneric, Hook::Tcx];

/// What the names of the pins of [`Doorkeeper`]s begin with.
const DOORS: &str = "door-";

/// A program at the ingress of an interface in another network namespace, in front of a workload that is closed.
#[derive(Clone, Copy, Debug)]
pub struct Doorkeeper<'a> {
    pub path: &'a Path,
    pub netns: netns::Identity,
    pub device: &'a DeviceName,
    pub index: IfIndex,
}

impl Hook {
    pub const fn word(self) -> &'static str {
        match self {
            Hook::Xdp => "xdp",
            Hook::XdpGeneric => "xdp-generic",
            Hook::Tcx => "tcx",
        }
    }
}

impl Bpf {
    /// The hook at which a program of ours runs on the device, if one does.
    pub fn attached(&self, device: &DeviceName, link: &Link) -> Option<Hook> {
        HOOKS.into_iter().find(|hook| {
            let pinned = PinnedLink::from_pin(self.pin(device, *hook)).ok();
            let program = pinned.and_then(|pinned| FdLink::from(pinned).info().ok()).map(|info| info.program_id());
            program.is_some_and(|program| runs_on(device, link, *hook).contains(&program))
        })
    }

    /// Runs the program of the role there from now on: behind the BPF link that is there, or by a new one.
    pub fn attach(&mut self, device: &DeviceName, link: &Link, hook: Hook, role: InterfaceRole) -> Result<()> {
        let pin = self.pin(device, hook);
        if self.attached(device, link) == Some(hook) {
            let old = FdLink::from(PinnedLink::from_pin(&pin)?);
            return self.replace(hook, role, old).with_context(|| format!("{device}: cannot replace the program"));
        }
        // What is pinned there belongs to a device that is gone.
        remove_pin(&pin)?;
        let new = self.create(device, link, hook, role)?;
        new.pin(&pin).with_context(|| format!("cannot pin {}", pin.display()))?;
        Ok(())
    }

    /// Takes our program off the device, at one hook or (`None`) wherever it is.
    pub fn detach(&self, device: &DeviceName, hook: Option<Hook>) -> Result<()> {
        let hooks = HOOKS.into_iter().filter(|other| hook.is_none_or(|hook| hook == *other));
        hooks.map(|hook| self.pin(device, hook)).try_for_each(|pin| remove_pin(&pin))
    }

    /// Runs the program there from now on; gives the name of its pin, which says of which namespace and interface it is.
    pub fn keep_door(&mut self, door: &Doorkeeper<'_>) -> Result<String> {
        let name = format!("{DOORS}{}-{}", door.netns, door.index.0);
        if self.doors.contains(&name) {
            return Ok(name);
        }
        let program = self.classifier(InterfaceRole::Workload)?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let device = &door.device.0;
        let attached = netns::within(Some(door.path), || {
            Ok(program.attach_with_options(device, TcAttachType::Ingress, options)?)
        })?;
        let new = FdLink::try_from(program.take_link(attached)?).context("tcx needs Linux 6.6")?;
        // What an earlier run left there goes only when the new one is at work.
        let pin = self.pins.links().join(&name);
        let fresh = self.pins.links().join(format!("{name}-new"));
        remove_pin(&fresh)?;
        new.pin(&fresh).with_context(|| format!("cannot pin {}", fresh.display()))?;
        fs::rename(&fresh, &pin).with_context(|| format!("cannot pin {}", pin.display()))?;
        self.doors.insert(name.clone());
        Ok(name)
    }

    /// Takes the programs off all doors but these.
    pub fn leave_doors(&mut self, kept: &BTreeSet<String>) -> Result<()> {
        self.doors.retain(|name| kept.contains(name));
        let links = self.pins.links();
        for entry in fs::read_dir(&links).with_context(|| format!("cannot list {}", links.display()))? {
            let name = entry?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(DOORS)) else { continue };
            if !kept.contains(name) {
                remove_pin(&links.join(name))?;
            }
        }
        Ok(())
    }

    fn create(&mut self, device: &DeviceName, link: &Link, hook: Hook, role: InterfaceRole) -> Result<FdLink> {
        let refused = |error: aya::programs::ProgramError| {
            anyhow::Error::new(error).context(format!("{device}: cannot attach at {}", hook.word()))
        };
        match hook {
            Hook::Xdp | Hook::XdpGeneric => {
                let mode = if hook == Hook::Xdp { XdpMode::Driver } else { XdpMode::Skb };
                let program = self.xdp(role)?;
                let id = program.attach_to_if_index(link.index.0, mode).map_err(refused)?;
                FdLink::try_from(program.take_link(id)?).context("BPF links for XDP need Linux 5.9")
            }
            Hook::Tcx => {
                let options = TcAttachOptions::TcxOrder(LinkOrder::default());
                let program = self.classifier(role)?;
                let attached = program.attach_with_options(&device.0, TcAttachType::Ingress, options);
                let id = attached.map_err(refused)?;
                FdLink::try_from(program.take_link(id)?).context("tcx needs Linux 6.6")
            }
        }
    }

    fn replace(&mut self, hook: Hook, role: InterfaceRole, old: FdLink) -> Result<()> {
        match hook {
            Hook::Xdp | Hook::XdpGeneric => {
                self.xdp(role)?.attach_to_link(old.try_into()?)?;
            }
            Hook::Tcx => {
                self.classifier(role)?.attach_to_link(old.try_into()?)?;
            }
        }
        Ok(())
    }

    /// Gives the program to the kernel, so that what it refuses is known before anything is attached.
    pub fn verify(&mut self, hook: Hook, role: InterfaceRole) -> Result<()> {
        match hook {
            Hook::Xdp | Hook::XdpGeneric => self.xdp(role).map(drop),
            Hook::Tcx => self.classifier(role).map(drop),
        }
    }

    fn xdp(&mut self, role: InterfaceRole) -> Result<&mut Xdp> {
        let program: &mut Xdp = self.program(xdp_name(role))?.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| refused(xdp_name(role)))?;
        }
        Ok(program)
    }

    fn classifier(&mut self, role: InterfaceRole) -> Result<&mut SchedClassifier> {
        let program: &mut SchedClassifier = self.program(classifier_name(role))?.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| refused(classifier_name(role)))?;
        }
        Ok(program)
    }

    fn program(&mut self, name: &str) -> Result<&mut Program> {
        self.ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
    }

    fn pin(&self, device: &DeviceName, hook: Hook) -> PathBuf {
        self.pins.links().join(pin_name(device, hook))
    }
}

const fn xdp_name(role: InterfaceRole) -> &'static str {
    match role {
        InterfaceRole::Workload => "xdp_workload",
        InterfaceRole::Underlay => "xdp_underlay",
    }
}

const fn classifier_name(role: InterfaceRole) -> &'static str {
    match role {
        InterfaceRole::Workload => "tc_workload",
        InterfaceRole::Underlay => "tc_underlay",
    }
}

fn refused(name: &str) -> String {
    format!("the kernel refuses the program {name}: set the hook of every interface to \"off\" to go without programs")
}

/// Ids of the programs that the kernel runs at that hook of the device, ours and others'.
fn runs_on(device: &DeviceName, link: &Link, hook: Hook) -> Vec<u32> {
    match hook {
        Hook::Xdp => link.xdp.driver.into_iter().collect(),
        Hook::XdpGeneric => link.xdp.generic.into_iter().collect(),
        Hook::Tcx => match SchedClassifier::query_tcx(&device.0, TcAttachType::Ingress) {
            Ok((_, programs)) => programs.iter().map(aya::programs::ProgramInfo::id).collect(),
            Err(_) => Vec::new(),
        },
    }
}

/// bpffs allows no dot in a name, device names do.
fn pin_name(device: &DeviceName, hook: Hook) -> String {
    format!("{}-{}", device.0.replace('%', "%25").replace('.', "%2e"), hook.word())
}

fn remove_pin(pin: &PathBuf) -> Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot unpin {}", pin.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_names_have_no_dot_and_stay_apart() {
        let name = |device: &str| pin_name(&DeviceName(device.to_owned()), Hook::Tcx);
        assert_eq!(name("eth0"), "eth0-tcx");
        assert_eq!(name("eth0.100"), "eth0%2e100-tcx");
        assert_ne!(name("a%2eb"), name("a.b"));
    }
}
