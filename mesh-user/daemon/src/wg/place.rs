//! How a device stays where `wg` finds it: its socket is made anew whenever its name is taken away.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use mesh_core::plan::DeviceName;
use tokio::{net::UnixStream, time::sleep};

use super::socket::Socket;

/// Between two attempts while something is in the way.
const RETRY: Duration = Duration::from_secs(1);
/// Of a directory of sockets.
pub(super) type Watch = EventStream<[u8; 4096]>;

#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    device: DeviceName,
    /// `None`: the name is gone, and another attempt is due.
    socket: Option<Socket>,
    /// `None`: the directory cannot be watched now.
    watch: Option<Watch>,
}

impl Place {
    pub(super) fn take(directory: &Path, device: &DeviceName) -> Result<Place> {
        let socket = Socket::bind(directory, device)?;
        let watch = watch(directory)?;
        Ok(Place { directory: directory.to_owned(), device: device.clone(), socket: Some(socket), watch: Some(watch) })
    }

    /// The next client. Meanwhile the socket is made anew as often as it takes; may be dropped at any time.
    pub(super) async fn accept(&mut self) -> UnixStream {
        loop {
            let (Some(socket), Some(watch)) = (&self.socket, &mut self.watch) else {
                sleep(RETRY).await;
                self.repair();
                continue;
            };
            tokio::select! {
                client = socket.accept() => match client {
                    Ok(client) => return client,
                    Err(error) => {
                        tracing::warn!("{}: cannot take a connection: {error}", self.device);
                        sleep(RETRY).await;
                    }
                },
                is_watched = changed(watch) => {
                    if !is_watched {
                        self.watch = None;
                    }
                    self.repair();
                }
            }
        }
    }

    /// Another name. One that is somebody else's is not taken: then the old one stays.
    pub(super) fn rename(&mut self, device: &DeviceName) {
        match Socket::bind(&self.directory, device) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.device = device.clone();
            }
            Err(error) => tracing::error!("the socket of {device} is still called {}: {error:#}", self.device),
        }
    }

    fn repair(&mut self) {
        if !self.socket.as_ref().is_some_and(Socket::is_in_place) {
            self.socket = None;
            match Socket::bind(&self.directory, &self.device) {
                Ok(socket) => {
                    tracing::warn!("{}: somebody removed the socket; it was made anew", self.device);
                    self.socket = Some(socket);
                }
                Err(error) => tracing::debug!("{}: the socket cannot be made anew: {error:#}", self.device),
            }
        }
        if self.watch.is_none() {
            self.watch = watch(&self.directory).ok();
            // It may have gone before the watch was there.
            if self.watch.is_some() && !self.socket.as_ref().is_some_and(Socket::is_in_place) {
                self.socket = None;
            }
        }
    }
}

/// Something in the directory vanished or came. `false`: it is watched no longer.
pub(super) async fn changed(watch: &mut Watch) -> bool {
    matches!(watch.next().await, Some(Ok(event)) if !event.mask.contains(EventMask::IGNORED))
}

pub(super) fn watch(directory: &Path) -> Result<Watch> {
    let mask = WatchMask::DELETE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    let inotify = Inotify::init().context("cannot open inotify: is fs.inotify.max_user_instances used up?")?;
    inotify.watches().add(directory, mask).with_context(|| format!("cannot watch {}", directory.display()))?;
    inotify.into_event_stream([0; 4096]).context("cannot read inotify")
}
