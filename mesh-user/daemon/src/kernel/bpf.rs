//! The BPF object: loaded with its maps, which are pinned and found again by the next run.
//!
//! What is in the maps is for `reconcile::maps` to say, which program goes where for `reconcile::programs`. Attaching is
//! in `bpf_links`.

use std::{
    fmt, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, DevMapHash, HashMap, Map, MapData},
};
use mesh_common::maps::{CHUNK_SLOTS, Entry6, Node, Prefix6, Remap, name};
use mesh_core::plan::slots;

use super::{bpf_counters::Counters, slot_map::SlotMap};

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mesh.o"));
/// What the kernel says of itself; without it no program is verified with its types.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// `BPF_FS_MAGIC`.
const BPFFS: u32 = 0xcafe_4a11;
const ALL_MAPS: [&str; 12] = [
    name::TOP_V4,
    name::CHUNKS_V4,
    name::TABLE_V6,
    name::LENGTHS_V6,
    name::REMAPS,
    name::NODE,
    name::WIREGUARD_PORTS,
    name::REDIRECTS,
    name::DROPS,
    name::REMAP_COUNTERS,
    name::INTERFACE_COUNTERS,
    name::ICMP_TOKENS,
];

/// The loaded object without the maps that were taken out of it.
#[derive(Debug)]
pub struct Bpf {
    pub(super) ebpf: Ebpf,
    pub(super) pins: Pins,
}

/// Where maps and BPF links are pinned. Nothing else of the directory is touched.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

/// The maps that a packet is judged by.
pub struct Tables {
    pub top: SlotMap,
    pub chunks: SlotMap,
    pub v6: HashMap<MapData, Prefix6, Entry6>,
    pub lengths: Array<MapData, u64>,
    pub remaps: Array<MapData, Remap>,
    pub node: Array<MapData, Node>,
    pub ports: Array<MapData, u64>,
    pub redirects: DevMapHash<MapData>,
}

impl Bpf {
    /// Loads the object; maps that are pinned are used as they are, others are made and pinned. `log`: the programs may
    /// write log lines. What fails leaves no new pins.
    pub fn load(pin_directory: &Path, log: bool) -> Result<(Bpf, Tables, Counters)> {
        check_btf()?;
        let is_first = !pin_directory.exists();
        let loaded = Pins::open(pin_directory).and_then(|pins| Bpf::load_pinned(pins, log));
        if loaded.is_err() && is_first {
            Pins::remove(pin_directory)?;
        }
        loaded
    }

    fn load_pinned(pins: Pins, log: bool) -> Result<(Bpf, Tables, Counters)> {
        let level = if log { u8::MAX } else { 0 };
        let mut loader = EbpfLoader::new();
        loader.override_global(aya_log::LEVEL, &level, false);
        loader.map_max_entries(name::CHUNKS_V4, slots::CHUNKS * CHUNK_SLOTS as u32);
        for map in ALL_MAPS {
            loader.map_pin_path(map, pins.maps().join(map));
        }
        let ebpf = loader.load(OBJECT).context("cannot load the BPF maps")?;
        let mut bpf = Bpf { ebpf, pins };
        // While all maps are open: the programs name them by their descriptors.
        bpf.verify()?;
        let tables = Tables::take(&mut bpf.ebpf)?;
        let counters = Counters::take(&mut bpf.ebpf)?;
        Ok((bpf, tables, counters))
    }

    /// For the log lines of the programs.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

impl Pins {
    /// Makes the directory, which must be on a bpffs.
    fn open(root: &Path) -> Result<Pins> {
        let pins = Pins { root: root.to_owned() };
        for directory in [pins.maps(), pins.links()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).with_context(|| {
                format!(
                    "cannot make {}: is a bpffs mounted there (`mount -t bpf bpf /sys/fs/bpf`)?",
                    directory.display()
                )
            })?;
        }
        let kind = rustix::fs::statfs(root).with_context(|| format!("cannot stat {}", root.display()))?.f_type;
        if kind as u32 != BPFFS {
            pins.remove_directories();
            bail!(
                "pin_dir {} is not on a bpffs: `mount -t bpf bpf /sys/fs/bpf`, or name another pin_dir",
                root.display()
            );
        }
        Ok(pins)
    }

    /// Unpins everything of ours under `root`, also without a daemon; returns how many pins there were. Programs that
    /// nothing else holds are detached by that.
    pub fn remove(root: &Path) -> Result<usize> {
        let pins = Pins { root: root.to_owned() };
        let mut removed = 0;
        for directory in [pins.links(), pins.maps()] {
            for path in listed(&directory)? {
                fs::remove_file(&path).with_context(|| format!("cannot unpin {}", path.display()))?;
                removed += 1;
            }
        }
        pins.remove_directories();
        Ok(removed)
    }

    pub(super) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// What is not empty holds something of others and stays.
    fn remove_directories(&self) {
        for directory in [self.links(), self.maps(), self.root.clone()] {
            let _ = fs::remove_dir(directory);
        }
    }
}

impl Tables {
    fn take(ebpf: &mut Ebpf) -> Result<Tables> {
        Ok(Tables {
            top: slot_map(ebpf, name::TOP_V4)?,
            chunks: slot_map(ebpf, name::CHUNKS_V4)?,
            v6: take(ebpf, name::TABLE_V6)?,
            lengths: take(ebpf, name::LENGTHS_V6)?,
            remaps: take(ebpf, name::REMAPS)?,
            node: take(ebpf, name::NODE)?,
            ports: take(ebpf, name::WIREGUARD_PORTS)?,
            redirects: take(ebpf, name::REDIRECTS)?,
        })
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("top", &self.top).field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

/// Takes a map out of the object as what it is.
pub(super) fn take<T>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("the map {name} is of another kind: run `meshd cleanup` once"))
}

fn slot_map(ebpf: &mut Ebpf, name: &str) -> Result<SlotMap> {
    match ebpf.take_map(name) {
        Some(Map::Array(map)) => SlotMap::open(&map).with_context(|| format!("the map {name}")),
        _ => bail!("the object has no array {name}"),
    }
}

fn check_btf() -> Result<()> {
    if Path::new(KERNEL_BTF).exists() {
        return Ok(());
    }
    bail!(
        "this kernel has no BTF ({KERNEL_BTF} is missing): run one with CONFIG_DEBUG_INFO_BTF, or set the hook of every \
         interface to \"off\""
    )
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.with_context(|| format!("cannot list {}", directory.display()))?;
    Ok(entries.iter().map(fs::DirEntry::path).collect())
}
