//! What others do to the device: rename it, move it to another network namespace, give it another MTU, take it
//! down, delete it.

use anyhow::Result;
use mesh_core::plan::DeviceName;

use crate::kernel::{
    link_watch::{LinkWatch, NamespaceNumber, WatchedLink},
    tun::Tun,
    tun_device::{NetworkNamespace, TunDevice},
};

/// Looks in a row before the next change is awaited: name and place may change between two questions.
const LOOKS: usize = 8;

/// The device wherever it is. Our sockets stay in the namespace of this process.
#[derive(Debug)]
pub(super) struct Follow {
    tun: TunDevice,
    home: NetworkNamespace,
    watch: LinkWatch,
    /// `None`: it is at home.
    abroad: Option<NamespaceNumber>,
}

/// The device at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    There { name: DeviceName, mtu: u16, up: bool },
    Deleted,
}

impl Follow {
    /// Follows a device that is in this thread's namespace.
    pub(super) fn start(tun: &Tun) -> Result<Follow> {
        let home = NetworkNamespace::current()?;
        Ok(Follow { tun: TunDevice::of(tun)?, home, watch: LinkWatch::open()?, abroad: None })
    }

    /// Returns when [`Follow::look`] may see something else.
    pub(super) async fn changed(&mut self) -> Result<()> {
        self.watch.changed().await
    }

    /// `None`: it changes faster than one can look; there will be another change to look at.
    pub(super) async fn look(&mut self) -> Result<Option<Seen>> {
        for _ in 0..LOOKS {
            let (Some(namespace), Some(name)) = (self.tun.namespace()?, self.tun.name()?) else {
                return Ok(Some(Seen::Deleted));
            };
            let at = if namespace.is(&self.home)? { None } else { Some(self.watch.number(&namespace).await?) };
            // Held no longer than that: others may wait for its end.
            drop(namespace);
            if at != self.abroad {
                tracing::info!("{name}: was moved to another network namespace");
                self.abroad = at;
            }
            if let Some(WatchedLink { mtu, up }) = self.watch.link(&name, at).await? {
                // A TUN takes at most 65,535.
                return Ok(Some(Seen::There { name, mtu: u16::try_from(mtu).unwrap_or(u16::MAX), up }));
            }
        }
        Ok(None)
    }
}
