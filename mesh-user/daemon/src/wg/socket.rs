//! Where `wg` finds a device: one unix socket per device in one directory, which others may clear at any time.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixListener as StdListener,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use mesh_core::plan::DeviceName;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::net::{UnixListener, UnixStream};

/// Where `wg` looks.
pub(super) const DIRECTORY: &str = "/var/run/wireguard";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A listening socket with a name in the directory. Dropped, it takes its name away, if that is still its own.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the name.
    identity: (u64, u64),
}

impl Socket {
    /// Fails where somebody answers on a socket of that name.
    pub(super) fn check(directory: &Path, device: &DeviceName) -> Result<()> {
        is_stale(&path(directory, device)).map(drop)
    }

    /// Takes the place of a socket that nobody answers. The name is there only from when connections are taken: `wg`
    /// deletes what refuses them.
    ///
    /// # Errors
    /// Somebody answers on a socket of that name; the directory cannot be made or written.
    pub(super) fn bind(directory: &Path, device: &DeviceName) -> Result<Socket> {
        let path = path(directory, device);
        make_directory(directory)?;
        if is_stale(&path)? {
            fs::remove_file(&path).with_context(|| format!("remove {}, which nobody answers", path.display()))?;
        }
        // `wg` takes every name that ends with `.sock` for a device.
        let hidden = directory.join(format!(".{device}.{}", std::process::id()));
        let listener = listen(&hidden).with_context(|| format!("listen on {}", hidden.display()));
        let named = listener.and_then(|(listener, identity)| {
            renameat_with(CWD, &hidden, CWD, &path, RenameFlags::NOREPLACE)
                .with_context(|| format!("name the socket {}", path.display()))?;
            Ok((listener, identity))
        });
        if named.is_err() {
            // It has no name that anybody would look for.
            let _ = fs::remove_file(&hidden);
        }
        let (listener, identity) = named?;
        Ok(Socket { path, listener, identity })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// The name still leads here.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_in_place() {
            // Whoever finds it meets a refusal, as of any process that was killed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make_directory(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .with_context(|| format!("make the directory {}", directory.display()))
}

/// Removes a socket that nobody answers; anything else stays.
pub(super) fn remove_stale(directory: &Path, device: &DeviceName) -> Result<bool> {
    let path = path(directory, device);
    if !is_stale(&path).unwrap_or(false) {
        return Ok(false);
    }
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(true)
}

fn path(directory: &Path, device: &DeviceName) -> PathBuf {
    directory.join(format!("{device}.sock"))
}

/// There is a socket whose process is no more.
fn is_stale(path: &Path) -> Result<bool> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        // Again: so many wait to be accepted that there is no room for one more.
        Ok(()) | Err(Errno::AGAIN) => bail!("{} answers: a WireGuard device of that name is in use", path.display()),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(error) => Err(error).with_context(|| format!("see whether {} is in use", path.display())),
    }
}

/// Only the owner may connect, and that from the first moment: private keys are told there.
fn listen(path: &Path) -> Result<(UnixListener, (u64, u64))> {
    // An earlier process of the same number may have left it.
    let _ = fs::remove_file(path);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from_std(StdListener::from(socket))?, identity(path)?))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceName {
        DeviceName("wg0".to_owned())
    }

    #[tokio::test]
    async fn what_nobody_answers_is_replaced_and_what_somebody_answers_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("made/for/it");
        let first = Socket::bind(&directory, &device()).unwrap();
        assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no second name stays");
        let message = Socket::bind(&directory, &device()).unwrap_err().to_string();
        assert!(message.contains("wg0.sock answers") && message.contains("in use"), "{message}");
        assert!(first.is_in_place());

        // As after a kill: the name is there, and nobody behind it.
        let path = first.path.clone();
        drop(first);
        drop(StdListener::bind(&path).unwrap());
        let second = Socket::bind(&directory, &device()).unwrap();
        assert!(second.is_in_place());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_name_that_is_another_s_now_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mine = Socket::bind(directory.path(), &device()).unwrap();
        fs::remove_file(&mine.path).unwrap();
        assert!(!mine.is_in_place());
        let theirs = Socket::bind(directory.path(), &device()).unwrap();
        drop(mine);
        assert!(theirs.is_in_place());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wg0.sock");
        fs::create_dir(&path).unwrap();
        assert!(Socket::bind(directory.path(), &device()).is_err());
        assert!(path.is_dir());
    }
}
