//! Do huge pages under the send buffers pay? Datagrams are laid out in a buffer, as sealing does, and sent from there.

use std::{
    fs, io,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{TRAIN, Way, fastest, wire::Wire};
use crate::report::{Report, Rival};

const HUGE: usize = 2 << 20;
/// Buffers that take turns: all that a huge page holds.
const BUFFERS: usize = 32;
const BUFFER: usize = HUGE / BUFFERS;

pub(super) fn run(runs: usize, wire: &Wire, report: &mut Report) -> Result<()> {
    for (name, buffers) in [("one buffer", 1), ("32 buffers in turn", BUFFERS)] {
        let (mut normal, mut huge) = (Region::normal()?, Region::huge()?);
        if buffers == 1 {
            println!("huge pages: {}", huge.kind);
        }
        let plain = vec![0x5a; TRAIN];
        let [huge, normal] =
            fastest(runs, [way(wire, &plain, &mut huge, buffers), way(wire, &plain, &mut normal, buffers)])?;
        let rival = vec![Rival::new("normal pages", normal)];
        report.versus(format!("copy and gso, huge pages, {name}"), "ns", huge, rival);
    }
    Ok(())
}

fn way<'a>(wire: &'a Wire, plain: &'a [u8], region: &'a mut Region, buffers: usize) -> Way<'a> {
    let mut turn = 0;
    Box::new(move || -> Result<Duration> {
        let at = turn % buffers * BUFFER;
        turn += 1;
        let buffer = &mut region[at..at + TRAIN];
        wire.time(|| {
            buffer.copy_from_slice(plain);
            wire.send(buffer, wire.joining_address())
        })
    })
}

/// 2 MB of memory, in pages of one kind, all of them there.
struct Region {
    mapping: NonNull<u8>,
    mapped: usize,
    /// Where the 2 MB begin.
    at: usize,
    kind: &'static str,
}

impl Region {
    fn normal() -> Result<Region> {
        let mut region = Region::map(2 * HUGE, 0, "4 KB").context("map memory")?;
        region.advise(libc::MADV_NOHUGEPAGE).context("ask for normal pages")?;
        region.fill(1);
        Ok(region)
    }

    /// From the kernel's pool where there is one, else a transparent one.
    fn huge() -> Result<Region> {
        if let Ok(mut region) = Region::map(HUGE, libc::MAP_HUGETLB, "MAP_HUGETLB") {
            region.fill(1);
            return Ok(region);
        }
        let before = transparent()?;
        let mut region = Region::map(2 * HUGE, 0, "MADV_HUGEPAGE; the kernel's pool of huge pages is empty")
            .context("map memory")?;
        region.advise(libc::MADV_HUGEPAGE).context("ask for huge pages")?;
        region.fill(1);
        ensure!(transparent()? > before, "the kernel gave no huge page: see /sys/kernel/mm/transparent_hugepage");
        Ok(region)
    }

    fn map(len: usize, flags: libc::c_int, kind: &'static str) -> io::Result<Region> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let mapping =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        match NonNull::new(mapping.cast::<u8>()) {
            Some(start) if mapping != libc::MAP_FAILED => {
                let at = start.align_offset(HUGE);
                Ok(Region { mapping: start, mapped: len, at, kind })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn advise(&mut self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: the 2 MB from `at` on lie in the mapping, and the advice changes no bytes.
        match unsafe { libc::madvise(self.as_mut_ptr().cast(), HUGE, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is alive, zeroed at first, and holds 2 MB from `at` on: it begins aligned, or is twice as long.
        unsafe { slice::from_raw_parts(self.mapping.as_ptr().add(self.at), HUGE) }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.mapping.as_ptr().add(self.at), HUGE) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: this is the mapping, and nothing borrows from it any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}

/// Kilobytes of this process in transparent huge pages.
fn transparent() -> Result<u64> {
    let path = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| format!("{path}: AnonHugePages"))?;
    Ok(kilobytes.trim().parse()?)
}
