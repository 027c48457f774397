//! One network namespace with a name: made, entered and removed.
//!
//! It is entered with setns(2) alone. `ip netns exec` would mount a fresh `/sys`, and pins made there die with it; `ip netns
//! add` would turn `/run/netns` into a mount that stays behind.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use crate::process;

/// Where `ip netns` and `nsenter --net=` look for names.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// A handle; the namespace loses its name when the last handle goes.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<Named>);

#[derive(Debug)]
struct Named {
    name: String,
    fd: OwnedFd,
}

impl Namespace {
    /// A new namespace of this full name, with `lo` up.
    pub(crate) fn make(name: &str) -> Result<Namespace> {
        let path = Path::new(DIRECTORY).join(name);
        touch(&path).with_context(|| format!("cannot make {}: network namespaces need root", path.display()))?;
        if let Err(error) = std::thread::scope(|scope| {
            scope.spawn(|| unshare_and_bind(&path)).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }) {
            remove(name);
            return Err(error).with_context(|| format!("cannot make the network namespace {name}"));
        }
        let fd = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?.into();
        let namespace = Namespace(Arc::new(Named { name: name.to_owned(), fd }));
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.0.name)
    }

    /// Runs `work` on a thread of its own inside the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.join()?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread inside the namespace. It keeps the namespace.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let namespace = self.clone();
        std::thread::spawn(move || {
            namespace.join()?;
            work()
        })
    }

    /// A command that will run inside the namespace, and dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let fd = self.0.fd.as_raw_fd();
        // SAFETY: setns is one system call on a descriptor that stays open until exec (this handle outlives the spawn, or
        // setns fails and the spawn reports it); nothing allocates between fork and exec.
        unsafe { command.pre_exec(move || set_namespace(fd)) };
        command
    }

    /// Runs a command inside the namespace to its end (30 s at most) and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        command.args(arguments);
        process::output(&mut command, Duration::from_secs(30)).with_context(|| format!("in namespace {}", self.name()))
    }

    /// `ip ARGUMENTS` inside the namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        self.run("ip", arguments)
    }

    /// Writes `/proc/sys/KEY`, with slashes in the key (interface names hold dots).
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| {
            let path = Path::new("/proc/sys").join(key);
            fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
        })
    }

    pub fn read_sysctl(&self, key: &str) -> Result<String> {
        self.enter(|| {
            let path = Path::new("/proc/sys").join(key);
            let value = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(value.trim().to_owned())
        })
    }

    fn join(&self) -> Result<()> {
        set_namespace(self.0.fd.as_raw_fd()).with_context(|| format!("cannot enter the namespace {}", self.name()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Takes the name away. The namespace itself ends with its last process and thread.
pub(crate) fn remove(name: &str) {
    let path = Path::new(DIRECTORY).join(name);
    if let Ok(target) = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()) {
        // SAFETY: the path is a NUL-terminated string that outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
    // Both fail where others still use them, and then they must stay.
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir(DIRECTORY);
}

/// Makes the empty file that the namespace is bound on. Another lab may remove the directory in between: try again.
fn touch(path: &Path) -> Result<()> {
    let mut last = None;
    for _ in 0..10 {
        fs::create_dir_all(DIRECTORY)?;
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or_else(|| anyhow!("the directory comes and goes"), Into::into))
}

/// Turns the calling thread, which must end afterwards, into the first of a new namespace and binds it to `path`.
fn unshare_and_bind(path: &Path) -> Result<()> {
    let target = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: changes only the calling thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error()).context("unshare(CLONE_NEWNET)");
    }
    // SAFETY: all strings are NUL-terminated and outlive the call.
    let bound = unsafe {
        libc::mount(
            c"/proc/thread-self/ns/net".as_ptr(),
            target.as_ptr(),
            c"none".as_ptr(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error()).context("bind mount of the namespace");
    }
    Ok(())
}

fn set_namespace(fd: RawFd) -> io::Result<()> {
    // SAFETY: one system call; a descriptor that is not a network namespace is an error, not undefined.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
