//! How is one device followed that may be in another network namespace than this process?
//!
//! Nothing here keeps that namespace alive, so that it ends with its container and takes the device along: its messages come
//! to a socket of this namespace (`NETLINK_LISTEN_ALL_NSID`, Linux 4.2), and questions name it by a number.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mesh_core::plan::DeviceName;
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags},
        nsid::{NsidAttribute, NsidMessage},
    },
    sys::AsyncSocket as _,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{netlink::errno, tun_device::NetworkNamespace};

/// What a namespace without number is told to have.
const UNNUMBERED: i32 = -1;

/// A netlink socket of this thread's namespace.
#[derive(Debug)]
pub struct LinkWatch {
    handle: Handle,
    changes: mpsc::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

/// What a namespace is called in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceNumber(i32);

/// What others may change of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedLink {
    pub mtu: u32,
    pub up: bool,
}

impl LinkWatch {
    /// Must be called within a tokio runtime, which then drives it.
    pub fn open() -> Result<LinkWatch> {
        let subscribed = rtnetlink::new_multicast_connection(&[MulticastGroup::Link]);
        let (mut connection, handle, mut events) = subscribed.context("cannot subscribe to netlink events")?;
        if let Err(error) = connection.socket_mut().socket_mut().set_listen_all_namespaces(true) {
            tracing::warn!("MTU and name of a device are not followed in other network namespaces: {error}");
        }
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

    /// Gives the namespace a number if it has none; from then on its messages come here.
    pub async fn number(&self, namespace: &NetworkNamespace) -> Result<NamespaceNumber> {
        if let Some(number) = self.known_number(namespace).await? {
            return Ok(number);
        }
        let mut question = by_descriptor(namespace)?;
        question.attributes.push(NsidAttribute::Id(UNNUMBERED));
        let mut answers = self.request(RouteNetlinkMessage::NewNsId(question), NLM_F_REQUEST | NLM_F_ACK)?;
        while let Some(answer) = answers.next().await {
            // Somebody else may have done it meanwhile.
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some_and(|code| -code.get() != libc::EEXIST)
            {
                bail!("cannot number the network namespace of the device: {}", error.to_io());
            }
        }
        self.known_number(namespace).await?.context("the network namespace of the device got no number")
    }

    /// A device, in this namespace or another one. `None`: it is not there.
    pub async fn link(&self, device: &DeviceName, namespace: Option<NamespaceNumber>) -> Result<Option<WatchedLink>> {
        let mut request = self.handle.link().get().match_name(device.0.clone());
        if let Some(NamespaceNumber(number)) = namespace {
            request.message_mut().attributes.push(LinkAttribute::IfNetnsId(number));
        }
        let link = match request.execute().try_next().await {
            Err(error) if is_absence(&error) => None,
            found => found.with_context(|| format!("{device}: cannot read the device"))?,
        };
        let mtu = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        };
        Ok(link.and_then(|link| {
            let mtu = link.attributes.iter().find_map(mtu)?;
            Some(WatchedLink { mtu, up: link.header.flags.contains(LinkFlags::Up) })
        }))
    }

    async fn known_number(&self, namespace: &NetworkNamespace) -> Result<Option<NamespaceNumber>> {
        let mut answers = self.request(RouteNetlinkMessage::GetNsId(by_descriptor(namespace)?), NLM_F_REQUEST)?;
        while let Some(answer) = answers.next().await {
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(told)) = answer.payload else { continue };
            let number = told.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(number) => Some(*number),
                _ => None,
            });
            return Ok(number.filter(|number| *number != UNNUMBERED).map(NamespaceNumber));
        }
        Ok(None)
    }

    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        self.handle.clone().request(message).map(Box::pin).context("the netlink connection is gone")
    }
}

fn by_descriptor(namespace: &NetworkNamespace) -> Result<NsidMessage> {
    let descriptor = u32::try_from(namespace.as_fd().as_raw_fd()).context("a descriptor is not negative")?;
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Fd(descriptor));
    Ok(message)
}

/// There is no such device, or no namespace of that number any more.
fn is_absence(error: &rtnetlink::Error) -> bool {
    matches!(errno(error), Some(libc::ENODEV | libc::EINVAL))
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
