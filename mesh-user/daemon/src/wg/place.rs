//! How a device stays where `wg` finds it: its socket is made anew whenever its name is taken away.

use std::{
    future::pending,
    io,
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
        let watch =
            watch(directory).inspect_err(|error| tracing::warn!("{error:#}; it is looked at every second")).ok();
        Ok(Place { directory: directory.to_owned(), device: device.clone(), socket: Some(socket), watch })
    }

    /// The next client. Meanwhile the socket is made anew as often as it takes; may be dropped at any time.
    pub(super) async fn accept(&mut self) -> UnixStream {
        loop {
            tokio::select! {
                client = accepted(self.socket.as_ref()) => match client {
                    Ok(client) => return client,
                    Err(error) => {
                        tracing::warn!("{}: cannot take a connection: {error}", self.device);
                        sleep(RETRY).await;
                    }
                },
                () = changed(&mut self.watch) => self.repair(),
                () = sleep(RETRY), if self.socket.is_none() || self.watch.is_none() => self.repair(),
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

/// Never, where there is no socket.
async fn accepted(socket: Option<&Socket>) -> io::Result<UnixStream> {
    match socket {
        Some(socket) => socket.accept().await,
        None => pending().await,
    }
}

/// Something in the directory vanished or came; or it is watched no longer, and then there is no watch any more. Never,
/// where there is none.
pub(super) async fn changed(watch: &mut Option<Watch>) {
    let Some(events) = watch else { return pending().await };
    let event = events.next().await;
    // A directory that was moved is not the one at its path any more.
    let gone = EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::MOVE_SELF;
    if !matches!(event, Some(Ok(event)) if !event.mask.intersects(gone)) {
        *watch = None;
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    /// Lets the place see to itself until the socket takes connections at its path, which is bounded.
    async fn is_found(place: &mut Place, path: &Path) {
        let client = async {
            loop {
                match UnixStream::connect(path).await {
                    Ok(client) => return client,
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(Duration::from_secs(10), async { tokio::join!(place.accept(), client) }).await.unwrap();
    }

    #[tokio::test]
    async fn it_is_found_again_whatever_becomes_of_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("wireguard");
        let path = directory.join("wg0.sock");
        let mut place = Place::take(&directory, &DeviceName("wg0".to_owned())).unwrap();
        is_found(&mut place, &path).await;
        for round in 0..2 {
            fs::remove_file(&path).unwrap();
            is_found(&mut place, &path).await;
            fs::remove_dir_all(&directory).unwrap();
            is_found(&mut place, &path).await;
            fs::rename(&directory, parent.path().join(format!("moved{round}"))).unwrap();
            is_found(&mut place, &path).await;
        }
        // Without anything to watch it is looked at every second.
        place.watch = None;
        fs::remove_file(&path).unwrap();
        is_found(&mut place, &path).await;
        // What another process put there is left to it.
        fs::remove_file(&path).unwrap();
        let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(timeout(Duration::from_millis(1_500), place.accept()).await.is_err());
        drop(place);
        assert!(path.exists());
        drop(theirs);
    }
}
