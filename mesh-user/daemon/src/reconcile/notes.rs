//! What is noted as ours before it is made, so that no crash leaves something that nobody knows.

use anyhow::Result;
use mesh_core::{
    plan::{DeviceAddress, DeviceName, Sysctl, Tunnel},
    reconcile::Step,
};

use super::World;
use crate::kernel::sysctl;

impl World {
    pub(super) fn note_new(&mut self, steps: &[Step]) -> Result<()> {
        self.note_groups(steps);
        for step in steps {
            match step {
                Step::CreateTunnel(device, tunnel) => self.note_tunnel(device, tunnel),
                Step::AddTunnelAddress(device, address) => {
                    self.record.addresses.insert(DeviceAddress { device: device.clone(), address: *address });
                }
                Step::AddAddress(address) => {
                    self.record.addresses.insert(address.clone());
                }
                Step::SetNat(_) => self.note_nat(),
                Step::SetSysctl(setting, _) => self.note_sysctl(setting)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn note_sysctl(&mut self, setting: &Sysctl) -> Result<()> {
        if self.record.original(setting).is_some() {
            return Ok(());
        }
        if let Some(value) = sysctl::read(setting)? {
            self.record.followers.extend(sysctl::followers(setting, self.links.keys().cloned())?);
            self.record.note_original(setting, value);
        }
        Ok(())
    }

    fn note_tunnel(&mut self, device: &DeviceName, tunnel: &Tunnel) {
        self.record.tunnels.insert(device.clone());
        let addresses = tunnel.addresses.iter();
        self.record
            .addresses
            .extend(addresses.map(|address| DeviceAddress { device: device.clone(), address: *address }));
    }
}
