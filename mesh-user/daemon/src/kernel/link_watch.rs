//! How is one device followed that may be in another network namespace than this process?

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mesh_core::plan::DeviceName;
use rtnetlink::{Handle, MulticastGroup, packet_route::link::LinkAttribute};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{netlink::errno, tun_device::NetworkNamespace};

/// A netlink socket in the namespace that it was opened for.
#[derive(Debug)]
pub struct LinkWatch {
    handle: Handle,
    changes: mpsc::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

impl LinkWatch {
    /// Must be called within a tokio runtime, which then drives it.
    pub fn open(namespace: &NetworkNamespace) -> Result<LinkWatch> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, mut events) = namespace.enter(|| {
            let _here = runtime.enter();
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).context("cannot subscribe to netlink events")
        })?;
        // Wake-ups merge: one says "look again", whatever happened since.
        let (wake, changes) = mpsc::channel(1);
        let pass_on = async move {
            while events.next().await.is_some() {
                // Full: a wake-up waits already. Closed: this task is about to be ended.
                let _ = wake.try_send(());
            }
        };
        Ok(LinkWatch { handle, changes, tasks: [tokio::spawn(connection), tokio::spawn(pass_on)] })
    }

    /// Returns after a change of any link, of which nothing else is told. Changes between two calls count.
    pub async fn changed(&mut self) -> Result<()> {
        self.changes.recv().await.context("the kernel's messages about links ended")
    }

    /// The MTU of a device. `None`: it is not there.
    pub async fn mtu(&self, device: &DeviceName) -> Result<Option<u32>> {
        let mut links = self.handle.link().get().match_name(device.0.clone()).execute();
        let link = match links.try_next().await {
            Err(error) if errno(&error) == Some(libc::ENODEV) => None,
            found => found.with_context(|| format!("{device}: cannot read the device"))?,
        };
        let mtu = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        };
        Ok(link.and_then(|link| link.attributes.iter().find_map(mtu)))
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
