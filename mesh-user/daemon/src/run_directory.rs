//! How do two daemons not get in each other's way: one at a time holds the lock of a run directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

const LOCK: &str = "meshd.lock";
const SOCKET: &str = "meshd.sock";

/// The run directory, locked for as long as this lives. The lock ends with the process, however it ends.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Makes the directory if it is absent and takes its lock.
    pub fn lock(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the run directory {}", path.display()))?;
        let lock_path = path.join(LOCK);
        let failed = || format!("cannot lock {}", lock_path.display());
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .with_context(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).with_context(failed)?;
            bail!(
                "another meshd (process {}) runs on {}: stop it first, or give this one another run_dir, state_dir and \
                 pin_dir",
                holder.trim(),
                path.display()
            );
        }
        lock.set_len(0).and_then(|()| lock.rewind()).with_context(failed)?;
        writeln!(lock, "{}", std::process::id()).with_context(failed)?;
        Ok(RunDirectory { path: path.to_owned(), _lock: lock })
    }

    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// Deletes what is ours in it, and the directory if nothing else is there.
    pub fn remove(self) -> Result<()> {
        for name in [SOCKET, LOCK] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))?;
            }
        }
        // Files of others keep it alive.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run/mesh");
        let first = RunDirectory::lock(&path).unwrap();
        let message = RunDirectory::lock(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        let again = RunDirectory::lock(&path).unwrap();
        again.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_others_put_there_stays() {
        let parent = tempfile::tempdir().unwrap();
        let held = RunDirectory::lock(parent.path()).unwrap();
        fs::write(parent.path().join("other"), "x").unwrap();
        held.remove().unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
