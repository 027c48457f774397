//! How our addresses come onto devices and go, and which are noted as ours.

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mesh_core::plan::{DeviceAddress, DeviceName};

use super::World;

impl World {
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
