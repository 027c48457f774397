//! The BPF object: loaded with its maps, which are pinned and found again by the next run.
//!
//! What is in the maps is for `reconcile::maps` to say, which program goes where for `reconcile::programs`. Attaching is
//! in `bpf_links`.

use std::{
    collections::BTreeSet,
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

/// All programs and maps, as `mesh-ebpf` was built.
pub const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mesh.o"));
/// What the kernel says of itself; without it no program is verified with its types.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// `BPF_FS_MAGIC`.
const BPFFS: u32 = 0xcafe_4a11;
/// What is pinned, and shared by all programs of interfaces.
pub(super) const ALL_MAPS: [&str; 13] = [
    name::TOP_V4,
    name::CHUNKS_V4,
    name::TABLE_V6,
    name::LENGTHS_V6,
    name::REMAPS,
    name::NODE,
    name::WIREGUARD_PORTS,
    name::LINK_ADDRESSES,
    name::REDIRECTS,
    name::DROPS,
    name::REMAP_COUNTERS,
    name::INTERFACE_COUNTERS,
    name::ICMP_TOKENS,
];

/// The loaded object. Its programs name its maps by their descriptors, so none is taken out of it.
#[derive(Debug)]
pub struct Bpf {
    pub(super) ebpf: Ebpf,
    pub(super) pins: Pins,
    /// Pins of the doorkeepers that this process attached.
    pub(super) doors: BTreeSet<String>,
}

/// What loading gives.
#[derive(Debug)]
pub struct Loaded {
    pub bpf: Bpf,
    pub tables: Tables,
    pub counters: Counters,
    /// Tells this object and its log level from others. Programs that an earlier run attached from the same one need not
    /// be replaced.
    pub fingerprint: String,
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
    pub link_addresses: Array<MapData, u64>,
    pub redirects: DevMapHash<MapData>,
}

impl Bpf {
    /// Loads the object; maps that are pinned are used as they are, others are made and pinned. `log`: the programs may
    /// write log lines. What fails leaves no new pins.
    pub fn load(pin_directory: &Path, log: bool) -> Result<Loaded> {
        check_btf()?;
        let is_first = !pin_directory.exists();
        let loaded = Pins::open(pin_directory).and_then(|pins| Bpf::load_pinned(pins, log));
        if loaded.is_err() && is_first {
            Pins::remove(pin_directory)?;
        }
        loaded
    }

    fn load_pinned(pins: Pins, log: bool) -> Result<Loaded> {
        let mut loader = loader(log);
        for map in ALL_MAPS {
            loader.map_pin_path(map, pins.maps().join(map));
        }
        let ebpf = loader.load(OBJECT).context("cannot load the BPF maps")?;
        let (tables, counters) = (Tables::open(&pins)?, Counters::open(&pins)?);
        Ok(Loaded { bpf: Bpf { ebpf, pins, doors: BTreeSet::new() }, tables, counters, fingerprint: fingerprint(log) })
    }

    /// Unpins everything.
    pub fn unpin(&self) -> Result<()> {
        Pins::remove(&self.pins.root).map(drop)
    }

    /// For the log lines of the programs.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// How the object is loaded, pins aside.
pub fn loader(log: bool) -> EbpfLoader<'static> {
    let level = if log { &u8::MAX } else { &0 };
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, level, false);
    loader.map_max_entries(name::CHUNKS_V4, slots::CHUNKS * CHUNK_SLOTS as u32);
    loader
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
    fn open(pins: &Pins) -> Result<Tables> {
        Ok(Tables {
            top: slot_map(pins, name::TOP_V4)?,
            chunks: slot_map(pins, name::CHUNKS_V4)?,
            v6: open(pins, name::TABLE_V6)?,
            lengths: open(pins, name::LENGTHS_V6)?,
            remaps: open(pins, name::REMAPS)?,
            node: open(pins, name::NODE)?,
            ports: open(pins, name::WIREGUARD_PORTS)?,
            link_addresses: open(pins, name::LINK_ADDRESSES)?,
            redirects: open(pins, name::REDIRECTS)?,
        })
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("top", &self.top).field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

/// Opens a pinned map as what it is.
pub(super) fn open<T>(pins: &Pins, name: &str) -> Result<T>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = Map::from_map_data(pinned(pins, name)?)?;
    T::try_from(map).with_context(|| format!("the map {name} is of another kind: run `meshd cleanup` once"))
}

fn slot_map(pins: &Pins, name: &str) -> Result<SlotMap> {
    SlotMap::open(&pinned(pins, name)?).with_context(|| format!("the map {name}"))
}

fn pinned(pins: &Pins, name: &str) -> Result<MapData> {
    MapData::from_pin(pins.maps().join(name)).with_context(|| format!("cannot open the pinned map {name}"))
}

fn fingerprint(log: bool) -> String {
    // FNV-1a: nobody tries to make two objects look alike.
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = OBJECT.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    // Log lines go to the process that loaded the program.
    let reader = if log { format!("-{}", std::process::id()) } else { String::new() };
    format!("{hash:016x}{reader}")
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
