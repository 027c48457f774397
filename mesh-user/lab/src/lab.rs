//! One run of the lab: its name, its directory, its bpffs, and the sweep of runs that were killed.

use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};

use crate::namespace::{self, Namespace};

/// Prefix of the name of everything that is made here.
pub(crate) const PREFIX: &str = "mesh-";

/// A directory of its own under the temporary directory, with a bpffs in it. Drop it after what it made.
#[derive(Debug)]
pub struct Lab {
    run: String,
    directory: PathBuf,
}

impl Lab {
    /// The first lab of a process sweeps what runs of dead processes have left.
    pub fn new() -> Result<Lab> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let run = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&run);
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let lab = Lab { run, directory };
        mount_bpffs(&lab.bpffs())?;
        Ok(lab)
    }

    /// A namespace `mesh-PID-RUN-HOST`.
    pub fn namespace(&self, host: &str) -> Result<Namespace> {
        Namespace::make(&format!("{}-{host}", self.run))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A bpffs of this run alone: what is pinned there ends with the lab.
    pub fn bpffs(&self) -> PathBuf {
        self.directory.join("bpf")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove_directory(&self.directory);
    }
}

/// Removes namespaces and directories of runs whose process has ended. A name with our own id is of an earlier process.
fn sweep() {
    for name in names_in(Path::new(namespace::DIRECTORY)) {
        namespace::remove(&name);
    }
    let temporary = std::env::temp_dir();
    for name in names_in(&temporary) {
        remove_directory(&temporary.join(name));
    }
}

/// Entries of a directory that carry the name of a run that has ended.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| maker(name).is_some_and(|pid| pid == std::process::id() || !lives(pid))).collect()
}

/// The process that made a thing of this name: `mesh-PID-...`.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Does a line of text name something of a run whose process, not this one, is alive?
pub(crate) fn is_of_another_live_run(line: &str) -> bool {
    let names = line.match_indices(PREFIX).map(|(at, _)| &line[at..]);
    names.filter_map(maker).any(|pid| pid != std::process::id() && lives(pid))
}

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn mount_bpffs(directory: &Path) -> Result<()> {
    fs::create_dir(directory)?;
    let target = CString::new(directory.as_os_str().as_encoded_bytes())?;
    // SAFETY: all strings are NUL-terminated and outlive the call.
    let mounted = unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if mounted != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("cannot mount a bpffs on {}", directory.display()));
    }
    Ok(())
}

fn remove_directory(directory: &Path) {
    if let Ok(target) = CString::new(directory.join("bpf").as_os_str().as_encoded_bytes()) {
        // SAFETY: the path is a NUL-terminated string that outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
    // What cannot be removed now is swept by the next run.
    let _ = fs::remove_dir_all(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_maker() {
        assert_eq!(maker("mesh-4711-0-cl01-gw"), Some(4711));
        assert_eq!(maker("mesh-4711"), None);
        assert_eq!(maker("mesh-cl01"), None);
        assert_eq!(maker("other-4711-0"), None);
    }

    #[test]
    fn a_lab_leaves_nothing() {
        let lab = Lab::new().unwrap();
        let (directory, path) = (lab.directory().to_owned(), lab.namespace("a").unwrap().path());
        let kept = lab.namespace("b").unwrap();
        assert!(directory.join("bpf").is_dir());
        assert!(!path.exists(), "the last handle of a is gone");
        assert!(kept.path().exists());
        let kept_path = kept.path();
        drop((kept, lab));
        assert!(!kept_path.exists());
        assert!(!directory.exists());
    }

    #[test]
    fn what_a_dead_run_left_is_swept() {
        // A process that has ended: its id is free, or was given to a process that is not the maker.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let dead = Namespace::make(&format!("{PREFIX}{pid}-0-left")).unwrap();
        let path = dead.path();
        std::mem::forget(dead);
        sweep_of(&path);
        assert!(!path.exists());
    }

    fn sweep_of(path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(names_in(path.parent().unwrap()).iter().any(|found| found == name));
        namespace::remove(name);
    }
}
