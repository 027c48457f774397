//! Which settings of interfaces we look at, and how one is changed and given its old value back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use mesh_core::plan::{Plan, Sysctl};

use super::World;
use crate::{kernel::sysctl, state::Record};

impl World {
    /// Settings that we changed, and those that the plan wants and that hold that value by themselves.
    pub(super) fn observe_sysctls(&self, plan: &Plan) -> Result<BTreeMap<Sysctl, String>> {
        let ours = self.record.sysctls.iter().map(|(sysctl, _)| sysctl);
        let mut found = BTreeMap::new();
        // Most are both, and each is a file to read.
        let all: BTreeSet<&Sysctl> = ours.chain(plan.sysctls.keys()).collect();
        for sysctl in all {
            if let Some(value) = sysctl::read(sysctl)? {
                found.insert(sysctl.clone(), value);
            }
        }
        Ok(found)
    }

    pub(super) fn set_sysctl(&mut self, sysctl: &Sysctl, value: &str) -> Result<()> {
        sysctl::write(sysctl, value)
    }

    pub(super) fn restore_sysctl(&mut self, sysctl: &Sysctl) -> Result<()> {
        restore(&self.record, sysctl)?;
        self.record.forget_sysctl(sysctl);
        Ok(())
    }
}

/// Writes the value that was found before ours, unless the device is gone and its settings with it.
pub(crate) fn restore(record: &Record, setting: &Sysctl) -> Result<()> {
    let Some(original) = record.original(setting) else { return Ok(()) };
    write_if_other(setting, original)?;
    for (follower, value) in record.followers.iter().filter(|(follower, _)| follower.key == setting.key) {
        write_if_other(follower, value)?;
    }
    Ok(())
}

fn write_if_other(setting: &Sysctl, value: &str) -> Result<()> {
    match sysctl::read(setting)? {
        Some(now) if now != value => sysctl::write(setting, value),
        _ => Ok(()),
    }
}
