//! Is the file one that we can use? What is damaged or newer is told apart before anything is written to it.
//!
//! Opening a database may repair it, which writes. So a file is tried out first with every write kept in memory, and only
//! one that passes is opened itself.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    panic,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use redb::{Builder, Database, StorageBackend};

use super::tables::{self, Failed, SCHEMA};
use crate::store::StoreError;

/// Bytes of the file that are kept in memory.
const CACHE: usize = 16 << 20;
/// Bytes of what is kept of a file that is tried out.
const BLOCK: u64 = 4_096;
/// The thread in which a file is tried out.
const TRIAL: &str = "store-trial";

/// Opens the store in `path`, or makes an empty one there, mode 0600.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    if !fs::exists(path).map_err(|error| unusable(path, &error))? {
        create(path).map_err(|error| unusable(path, &error))?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| unusable(path, &error))?;
    let again = file.try_clone().map_err(|error| unusable(path, &error))?;
    try_out(path, again)?;
    Builder::new().set_cache_size(CACHE).create_file(file).map_err(|error| refusal(path, error.into()))
}

/// What cannot be done with the file now, for a reason outside it.
pub(super) fn unusable(path: &Path, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Unusable(format!("cannot use the store {}: {reason}", path.display()))
}

/// As a file of another name first: whatever happens, `path` is whole or absent.
fn create(path: &Path) -> Result<(), Failed> {
    let new = beside(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
    let database = Builder::new().set_cache_size(CACHE).create_file(file)?;
    tables::make(&database)?;
    drop(database);
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(directory)?.sync_all()?)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// On a thread of its own, because a damaged file may also end in a panic, of which nothing is printed: the error says it.
fn try_out(path: &Path, file: File) -> Result<(), StoreError> {
    if file.metadata().map_err(|error| unusable(path, &error))?.len() == 0 {
        return Err(damaged(path, "it is empty"));
    }
    hush_trials();
    let backend = Trial::new(file).map_err(|error| unusable(path, &error))?;
    let trial = std::thread::Builder::new().name(TRIAL.to_owned()).spawn(move || examine(backend));
    let version = trial.map_err(|error| unusable(path, &error))?.join();
    match version {
        Err(_) => Err(damaged(path, "its structure contradicts itself")),
        Ok(Err(error)) => Err(refusal(path, error)),
        Ok(Ok(None)) => Err(damaged(path, "a checksum is wrong")),
        Ok(Ok(Some(SCHEMA))) => Ok(()),
        Ok(Ok(Some(other))) => Err(StoreError::Unusable(format!(
            "the store {} has version {other}, this meshd knows {SCHEMA}: run the meshd that wrote it, or move the file \
             away to start anew; it is left as it is",
            path.display()
        ))),
    }
}

fn hush_trials() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(TRIAL) {
                told(panic);
            }
        }));
    });
}

/// The version of the tables; `None`: a checksum is wrong.
fn examine(backend: Trial) -> Result<Option<u64>, Failed> {
    let mut database = Builder::new().set_cache_size(CACHE).create_with_backend(backend)?;
    let sound = database.check_integrity()?;
    let version = tables::version(&database)?;
    Ok(sound.then_some(version))
}

fn refusal(path: &Path, error: Failed) -> StoreError {
    match error {
        Failed::DatabaseAlreadyOpen => unusable(path, "another process has it open; stop that one first"),
        Failed::Io(error)
            if error.kind() != io::ErrorKind::InvalidData && error.kind() != io::ErrorKind::UnexpectedEof =>
        {
            unusable(path, &error)
        }
        Failed::UpgradeRequired(version) => damaged(path, format!("its format is {version}, an older one")),
        error => damaged(path, error),
    }
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Unusable(format!(
        "the store {} is damaged ({reason}): restore a backup of it, or move it away to start anew without network \
         groups; it is left as it is",
        path.display()
    ))
}

/// A file that is read, and what would be written to it.
#[derive(Debug)]
struct Trial {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Whole blocks by number.
    blocks: BTreeMap<u64, Vec<u8>>,
    /// Bytes of the file that still count: what was cut off once is zero.
    original: u64,
}

impl Trial {
    fn new(file: File) -> io::Result<Trial> {
        let length = file.metadata()?.len();
        Ok(Trial { file, written: Mutex::new(Written { length, blocks: BTreeMap::new(), original: length }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as the file has it, zeros behind its end.
    fn original(&self, written: &Written, number: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK as usize];
        let begin = number * BLOCK;
        let length = written.original.saturating_sub(begin).min(BLOCK) as usize;
        self.file.read_exact_at(&mut block[..length], begin)?;
        Ok(block)
    }
}

/// The parts of `offset..offset + length` by block: number, where in the block, how many bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let (number, inside) = (at / BLOCK, at % BLOCK);
        let length = (end - at).min(BLOCK - inside);
        at += length;
        (length > 0).then_some((number, inside as usize, length as usize))
    })
}

impl StorageBackend for Trial {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (number, inside, length) in parts(offset, out.len()) {
            let part = &mut out[done..done + length];
            match written.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[inside..inside + length]),
                None => part.copy_from_slice(&self.original(&written, number)?[inside..inside + length]),
            }
            done += length;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            written.blocks.retain(|number, _| number * BLOCK < length);
            if let Some(block) = written.blocks.get_mut(&(length / BLOCK)) {
                block[(length % BLOCK) as usize..].fill(0);
            }
            written.original = written.original.min(length);
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut done = 0;
        for (number, inside, length) in parts(offset, data.len()) {
            if !written.blocks.contains_key(&number) {
                let block = self.original(&written, number)?;
                written.blocks.insert(number, block);
            }
            let block = written.blocks.entry(number).or_default();
            block[inside..inside + length].copy_from_slice(&data[done..done + length]);
            done += length;
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }
}
