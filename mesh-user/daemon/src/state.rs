//! What must outlive the daemon and cannot be read back from the kernel, as JSON files in the state directory.
//!
//! A file is replaced as a whole (written beside it, then renamed) and carries a version. One that is damaged or of a
//! newer version is an error that names it; it is left as it is.

mod groups;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use mesh_common::ids::{ConnectionId, RemapId};
use mesh_core::{
    model::group::MemberId,
    plan::{Attachment, DeviceAddress, DeviceName, PublicKey, Remap, Sysctl, block::BlockedInstances},
    tunnel::Lane,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::reconcile::NatRecord;
pub use groups::{GroupEndpoints, GroupRecord, public_key};

const VERSION: u32 = 1;
const ALLOCATIONS: &str = "allocations.json";
const BLOCKED: &str = "blocked.json";
const RECORD: &str = "applied.json";
const SECRETS: &str = "secrets";

/// The state directory, mode 0700.
#[derive(Clone, Debug)]
pub struct StateDirectory {
    path: PathBuf,
}

/// What is ours in the kernel, as far as the kernel cannot tell. An item is noted before it is made, so that no crash
/// leaves something that nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// TUN devices that we made.
    pub tunnels: BTreeSet<DeviceName>,
    /// The same for network groups; these may be in other network namespaces.
    pub groups: BTreeMap<DeviceName, GroupRecord>,
    /// Addresses that we added: the kernel marks them only since 5.18.
    pub addresses: BTreeSet<DeviceAddress>,
    /// Values that we found when we first wrote a setting.
    pub sysctls: Vec<(Sysctl, String)>,
    /// The same for what the kernel changed along with one of them.
    pub followers: Vec<(Sysctl, String)>,
    /// What the programs of each interface were attached for.
    pub interfaces: BTreeMap<DeviceName, Attachment>,
    /// Where clients were last, so that a restarted server can call them before they notice.
    endpoints: Vec<EndpointRecord>,
    /// Our nftables table.
    pub nat: Option<NatRecord>,
    /// Which object the programs are from.
    pub object: String,
    /// What the remap numbers in the pinned maps stand for.
    remaps: BTreeMap<u16, RemapRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RemapRecord {
    connection: Option<u16>,
    real: IpNet,
    presented: IpNet,
    #[serde(default)]
    mtu: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EndpointRecord {
    device: DeviceName,
    /// Public key, in base64.
    peer: String,
    #[serde(default)]
    lane: u8,
    endpoint: SocketAddr,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    content: T,
}

impl StateDirectory {
    /// Opens the directory, making it if it is absent.
    pub fn open(path: &Path) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("cannot make the state directory {}", path.display()))?;
        Ok(StateDirectory { path: path.to_owned() })
    }

    pub fn record(&self) -> Result<Record> {
        Ok(self.load(RECORD)?.unwrap_or_default())
    }

    pub fn save_record(&self, record: &Record) -> Result<()> {
        self.save(RECORD, record)
    }

    /// After a cleanup nothing is ours any more.
    pub fn forget_record(&self) -> Result<()> {
        match fs::remove_file(self.path.join(RECORD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", self.path.join(RECORD).display()))
            }
            _ => Ok(()),
        }
    }

    /// What was given out so far; `None` at the first start.
    pub fn allocations<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.load(ALLOCATIONS)
    }

    pub fn save_allocations<T: Serialize>(&self, allocations: &T) -> Result<()> {
        self.save(ALLOCATIONS, allocations)
    }

    /// Members that were blocked when the daemon ran last, so that they are not open until the hub is heard.
    pub fn blocked(&self) -> Result<BlockedInstances> {
        let places: Vec<(Option<PathBuf>, BTreeSet<MemberId>)> = self.load(BLOCKED)?.unwrap_or_default();
        Ok(places.into_iter().collect())
    }

    pub fn save_blocked(&self, blocked: &BlockedInstances) -> Result<()> {
        self.save(BLOCKED, &blocked.iter().collect::<Vec<_>>())
    }

    /// Where the key pair of a secret is kept; its directory is made if it is absent.
    pub fn secret_file(&self, name: &str) -> Result<PathBuf> {
        let directory = self.path.join(SECRETS);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| format!("cannot make the directory {}", directory.display()))?;
        Ok(directory.join(format!("{name}.key")))
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let damaged = || format!("{} is damaged: restore it, or move it away to start anew", path.display());
        let any: Versioned<serde_json::Value> = serde_json::from_str(&text).with_context(damaged)?;
        if any.version != VERSION {
            bail!(
                "{} has version {}, this meshd knows {VERSION}: run the meshd that wrote it, or move the file away to \
                 start anew",
                path.display(),
                any.version
            );
        }
        Ok(Some(serde_json::from_value(any.content).with_context(damaged)?))
    }

    fn save<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        let path = self.path.join(name);
        let failed = || format!("cannot write {}", path.display());
        let mut text = serde_json::to_string_pretty(&Versioned { version: VERSION, content }).with_context(failed)?;
        text.push('\n');
        if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            // To wait for the disk costs more than all that a change of a plan takes.
            return Ok(());
        }
        let mut file = tempfile::Builder::new()
            .prefix(name)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.path)
            .with_context(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(failed)?;
        file.persist(&path).with_context(failed)?;
        let directory = fs::File::open(&self.path).with_context(failed)?;
        directory.sync_all().with_context(failed)
    }
}

impl Record {
    pub fn remaps(&self) -> BTreeMap<RemapId, Remap> {
        let remap = |record: &RemapRecord| Remap {
            connection: record.connection.map(ConnectionId),
            real: record.real,
            presented: record.presented,
            mtu: record.mtu,
        };
        self.remaps.iter().map(|(id, record)| (RemapId(*id), remap(record))).collect()
    }

    pub fn set_remap(&mut self, id: RemapId, remap: &Remap) {
        let connection = remap.connection.map(|id| id.0);
        self.remaps
            .insert(id.0, RemapRecord { connection, real: remap.real, presented: remap.presented, mtu: remap.mtu });
    }

    pub fn remove_remap(&mut self, id: RemapId) {
        self.remaps.remove(&id.0);
    }

    /// Where the peer was last, by lane.
    pub fn endpoints(&self, device: &DeviceName, peer: &PublicKey) -> Vec<(Lane, SocketAddr)> {
        let peer = format!("{peer:?}");
        let known = self.endpoints.iter().filter(|known| known.device == *device && known.peer == peer);
        known.map(|known| (Lane(known.lane), known.endpoint)).collect()
    }

    pub fn set_endpoints(&mut self, device: &DeviceName, peer: &PublicKey, endpoints: &[(Lane, SocketAddr)]) {
        self.forget_endpoint(device, peer);
        let record = |(lane, endpoint): &(Lane, SocketAddr)| EndpointRecord {
            device: device.clone(),
            peer: format!("{peer:?}"),
            lane: lane.0,
            endpoint: *endpoint,
        };
        self.endpoints.extend(endpoints.iter().map(record));
    }

    pub fn forget_endpoint(&mut self, device: &DeviceName, peer: &PublicKey) {
        let peer = format!("{peer:?}");
        self.endpoints.retain(|known| known.device != *device || known.peer != peer);
    }

    pub fn original(&self, sysctl: &Sysctl) -> Option<&str> {
        self.sysctls.iter().find(|(known, _)| known == sysctl).map(|(_, value)| value.as_str())
    }

    /// Notes the value found at the first write; later ones are our own.
    pub fn note_original(&mut self, sysctl: &Sysctl, value: String) {
        if self.original(sysctl).is_none() {
            self.sysctls.push((sysctl.clone(), value));
        }
    }

    pub fn forget_sysctl(&mut self, sysctl: &Sysctl) {
        self.sysctls.retain(|(known, _)| known != sysctl);
        // Only a setting of `all` has followers, and there is one such setting of a key.
        if sysctl.device.0 == "all" {
            self.followers.retain(|(follower, _)| follower.key != sysctl.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::plan::SysctlKey;

    use super::*;

    fn example() -> Record {
        let mut record = Record::default();
        let device = DeviceName("mesh-cl02".to_owned());
        record.tunnels.insert(device.clone());
        record.addresses.insert(DeviceAddress { device: device.clone(), address: "10.70.0.2/32".parse().unwrap() });
        record.note_original(&Sysctl { device, key: SysctlKey::RpFilter }, "2".to_owned());
        let remap = Remap {
            connection: Some(ConnectionId(3)),
            real: "10.243.0.0/16".parse().unwrap(),
            presented: "10.71.0.0/16".parse().unwrap(),
            mtu: 1_340,
        };
        record.set_remap(RemapId(9), &remap);
        let endpoints = [(Lane(0), "[2001:db8::1]:9".parse().unwrap()), (Lane(1), "192.0.2.1:10".parse().unwrap())];
        record.set_endpoints(&DeviceName("mesh-cl02".to_owned()), &PublicKey([1; 32]), &endpoints);
        record
    }

    #[test]
    fn a_record_survives_and_the_first_start_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&directory.path().join("a/b")).unwrap();
        assert_eq!(state.record().unwrap(), Record::default());
        state.save_record(&example()).unwrap();
        assert_eq!(state.record().unwrap(), example());
        let endpoints = example().endpoints(&DeviceName("mesh-cl02".to_owned()), &PublicKey([1; 32]));
        assert_eq!(endpoints[1], (Lane(1), "192.0.2.1:10".parse().unwrap()));
        assert_eq!(fs::read_dir(directory.path().join("a/b")).unwrap().count(), 1, "no temporary file stays");
        state.forget_record().unwrap();
        state.forget_record().unwrap();
        assert_eq!(state.record().unwrap(), Record::default());
    }

    #[test]
    fn damaged_and_newer_files_are_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let path = directory.path().join(RECORD);
        for (text, expected) in [
            ("{\"version\":1,\"cont", "is damaged"),
            ("{\"version\":1,\"content\":{\"tunnels\":7}}", "is damaged"),
            ("{\"version\":2,\"content\":{\"anything\":true}}", "has version 2, this meshd knows 1"),
        ] {
            fs::write(&path, text).unwrap();
            let message = state.record().unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains(RECORD), "{message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn the_first_value_of_a_setting_is_the_one_that_is_kept() {
        let mut record = example();
        let sysctl = record.sysctls[0].0.clone();
        record.note_original(&sysctl, "0".to_owned());
        assert_eq!(record.original(&sysctl), Some("2"));
        record.forget_sysctl(&sysctl);
        assert_eq!(record.original(&sysctl), None);
    }
}
