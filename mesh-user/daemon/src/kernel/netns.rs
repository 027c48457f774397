//! How is something done in another network namespace, and is the namespace of a path still the one of before?
//!
//! A thread of its own enters the namespace and ends with the work, so that no other thread ever changes its namespace.
//! Descriptors that were opened there keep the namespace alive.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

/// File system type of what a namespace's path leads to (`NSFS_MAGIC`, linux/magic.h).
const NSFS: u64 = 0x6e73_6673;

/// Which namespace a path leads to; another one of the same path is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// As the links of `/proc/PID/ns` name it; all namespaces are on one device.
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inode)
    }
}

/// The namespace that `path` (`/run/netns/NAME`, `/proc/PID/ns/net`) leads to; `None`: to none, or it is gone.
pub fn identity(path: &Path) -> Option<Identity> {
    let stat = rustix::fs::fstat(place(path).ok()??).ok()?;
    Some(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Does `work` in the namespace of `path`; `None`: in this one, on this thread.
pub fn within<T: Send>(path: Option<&Path>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(path) = path else { return work() };
    let namespace = open(path)?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| {
                format!("{} cannot be entered: is it a network namespace, and are we root?", path.display())
            })?;
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A namespace that nobody else knows; it goes with the last descriptor and socket of it, and its devices with it.
pub fn create() -> Result<File> {
    let made = std::thread::spawn(|| {
        // SAFETY: this thread ends at once, so nothing that it shares with others is used in the new namespace.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("cannot make a network namespace: are we root?")?;
        File::open("/proc/thread-self/ns/net").context("open the new network namespace")
    });
    made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What [`within`] takes for a namespace that is open.
pub fn path_of(namespace: &File) -> PathBuf {
    format!("/proc/self/fd/{}", namespace.as_raw_fd()).into()
}

fn open(path: &Path) -> Result<File> {
    let shown = path.display();
    // What was looked at is what is opened, whatever the path leads to by now.
    let opened = place(path)
        .and_then(|place| place.map(|place| File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))).transpose());
    match opened {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(anyhow::anyhow!("{shown} is no network namespace")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(anyhow::anyhow!("there is no network namespace {shown}"))
        }
        Err(error) => Err(anyhow::anyhow!("cannot open the network namespace {shown}: {error}")),
    }
}

/// Where the path leads, without opening what is there: a FIFO would wait for its other end, and a device might do
/// something. `None`: not to a namespace.
fn place(path: &Path) -> io::Result<Option<OwnedFd>> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = rustix::fs::fstatfs(&place)?.f_type;
    Ok((u64::try_from(kind) == Ok(NSFS)).then_some(place))
}

/// A name for messages.
pub fn shown(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "the network namespace of meshd".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_where_it_should_be() {
        let lab = mesh_lab::Lab::new().unwrap();
        let namespace = lab.namespace("inside").unwrap();
        let path = namespace.path();
        let here = |path: Option<&Path>| {
            within(path, || Ok(std::fs::read_link("/proc/thread-self/ns/net")?.display().to_string())).unwrap()
        };
        assert_ne!(here(Some(&path)), here(None));
        let inode = format!("net:[{}]", identity(&path).unwrap().inode);
        assert_eq!(here(Some(&path)), inode);
    }

    #[test]
    fn what_is_no_namespace_has_no_identity() {
        assert_eq!(identity(Path::new("/proc/self/status")), None);
        assert_eq!(identity(Path::new("/nonexistent")), None);
        let error = within(Some(Path::new("/nonexistent")), || Ok(())).unwrap_err().to_string();
        assert_eq!(error, "there is no network namespace /nonexistent");
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(identity(&fifo), None, "and nobody waits for its other end");
        let error = within(Some(&fifo), || Ok(())).unwrap_err().to_string();
        assert_eq!(error, format!("{} is no network namespace", fifo.display()));
    }
}
