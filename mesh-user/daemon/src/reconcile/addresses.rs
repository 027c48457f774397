//! How our addresses come onto devices and go, and which are noted as ours.
//!
//! An address that somebody else put where we plan one is not taken over: it would be noted as ours, and later deleted.

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use mesh_core::{
    plan::{DeviceAddress, DeviceName},
    reconcile::Step,
};

use super::World;

impl World {
    /// Refuses, before anything is noted as ours, an address that is there and is not.
    pub(super) fn prepare_addresses(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let wanted = match step {
                Step::AddAddress(address) => address.clone(),
                Step::AddTunnelAddress(device, address) => DeviceAddress { device: device.clone(), address: *address },
                _ => continue,
            };
            if self.foreign.contains(&wanted) {
                let DeviceAddress { device, address } = wanted;
                bail!(
                    "{address} is on {device} already and is not ours: `ip addr del {address} dev {device}`, or choose \
                     another external CIDR"
                );
            }
        }
        Ok(())
    }

    pub(super) async fn add_address(&mut self, address: &DeviceAddress) -> Result<()> {
        let index = self.index(&address.device).with_context(|| {
            format!(
                "no device {} for the address {}: create it, or correct the settings",
                address.device.0, address.address
            )
        })?;
        self.netlink.add_address(index, address).await
    }

    pub(super) async fn remove_address(&mut self, address: &DeviceAddress) -> Result<()> {
        if let Some(index) = self.index(&address.device) {
            self.netlink.remove_address(index, address).await?;
        }
        self.record.addresses.remove(address);
        Ok(())
    }

    pub(super) async fn add_tunnel_address(&mut self, device: &DeviceName, address: IpNet) -> Result<()> {
        self.add_address(&DeviceAddress { device: device.clone(), address }).await
    }

    pub(super) async fn remove_tunnel_address(&mut self, device: &DeviceName, address: IpNet) -> Result<()> {
        self.remove_address(&DeviceAddress { device: device.clone(), address }).await
    }
}
