//! A BPF array of 64-bit slots in this process's memory: each is read and written in one go, without a system call.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;

/// An array map with `BPF_F_MMAPABLE` (Linux 5.5).
#[derive(Debug)]
pub struct SlotMap {
    slots: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to no thread, and all access is atomic.
unsafe impl Send for SlotMap {}

impl SlotMap {
    /// Maps all slots of an array of 8-byte values. The mapping keeps the array.
    pub fn open(map: &MapData) -> Result<SlotMap> {
        let info = map.info()?;
        ensure!(info.value_size() as usize == SLOT, "a slot has {} bytes: run `meshd cleanup` once", info.value_size());
        let count = info.max_entries() as usize;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping of the descriptor, which touches nothing that exists.
        let address = unsafe { libc::mmap(ptr::null_mut(), count * SLOT, protection, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("cannot map a BPF array into memory");
        }
        let slots = NonNull::new(address.cast()).context("a mapping at address zero")?;
        Ok(SlotMap { slots, count })
    }

    pub fn load(&self, slot: usize) -> u64 {
        self.slots()[slot].load(Ordering::Acquire)
    }

    pub fn store(&self, slot: usize, value: u64) {
        self.slots()[slot].store(value, Ordering::Release);
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.slots().iter().map(|slot| slot.load(Ordering::Acquire))
    }

    fn slots(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `count` slots, is page-aligned, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.count) }
    }
}

impl Drop for SlotMap {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `open` made; no slice of it outlives `self`.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), self.count * SLOT) };
    }
}

const SLOT: usize = size_of::<AtomicU64>();
