//! What of the network groups must outlive the daemon: devices that are ours, private keys of local peers, and where their
//! peers were.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mesh_core::{
    api::node::Server,
    model::group::{GroupId, PeerId},
    plan::{DeviceName, GroupTunnel, PublicKey, fnv1a},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::StateDirectory;
use crate::keys;

const ENDPOINTS: &str = "endpoints.json";
const KEYS: &str = "keys";

/// A device of a group that we made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    pub group: GroupId,
    pub peer: PeerId,
    pub netns: Option<PathBuf>,
    pub address: IpNet,
}

/// Where peers were last, by device and public key in base64.
pub type GroupEndpoints = BTreeMap<DeviceName, BTreeMap<String, SocketAddr>>;

impl GroupRecord {
    pub fn of(tunnel: &GroupTunnel) -> GroupRecord {
        GroupRecord {
            group: tunnel.group.clone(),
            peer: tunnel.peer.clone(),
            netns: tunnel.netns.clone(),
            address: tunnel.address,
        }
    }

    /// As far as it is known of a device that nobody carries.
    pub fn tunnel(&self) -> GroupTunnel {
        GroupTunnel {
            group: self.group.clone(),
            peer: self.peer.clone(),
            public_key: PublicKey([0; 32]),
            netns: self.netns.clone(),
            mtu: 0,
            listen_port: 0,
            address: self.address,
            peers: BTreeMap::new(),
            policy: None,
        }
    }
}

impl StateDirectory {
    pub fn group_endpoints(&self) -> Result<GroupEndpoints> {
        Ok(self.load(ENDPOINTS)?.unwrap_or_default())
    }

    pub fn save_group_endpoints(&self, endpoints: &GroupEndpoints) -> Result<()> {
        self.save(ENDPOINTS, endpoints)
    }

    /// What was kept of a hub's registry.
    pub fn mirror<T: DeserializeOwned>(&self, server: &Server) -> Result<Option<T>> {
        self.load(&mirror_file(server))
    }

    pub fn save_mirror<T: Serialize>(&self, server: &Server, mirror: &T) -> Result<()> {
        self.save(&mirror_file(server), mirror)
    }

    /// What this node runs, or undertook to run, in groups.
    pub fn ledger<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.load(name)
    }

    pub fn save_ledger<T: Serialize>(&self, name: &str, ledger: &T) -> Result<()> {
        self.save(name, ledger)
    }

    /// The private key of a local peer, made at the first call; mode 0600, and never in a store.
    pub fn peer_key(&self, peer: &PeerId) -> Result<[u8; 32]> {
        let directory = self.path.join(KEYS);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| format!("cannot make the directory {}", directory.display()))?;
        keys::load_or_create(&key_file(&directory, peer))
    }

    /// Forgets the keys of all other peers.
    pub fn keep_peer_keys(&self, is_known: impl Fn(&PeerId) -> bool) -> Result<()> {
        let directory = self.path.join(KEYS);
        let failed = || format!("cannot list {}", directory.display());
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(failed)?,
        };
        for entry in entries {
            let name = entry.with_context(failed)?.file_name();
            let peer = name.to_str().and_then(|name| name.strip_suffix(".key")?.parse().ok());
            if let Some(peer) = peer.filter(|peer| !is_known(peer)) {
                self.forget_peer_key(&peer)?;
            }
        }
        Ok(())
    }

    /// After the peer is deleted, nothing has use for its key.
    pub fn forget_peer_key(&self, peer: &PeerId) -> Result<()> {
        let path = key_file(&self.path.join(KEYS), peer);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// One file for each hub and certificate; the file itself says of which.
fn mirror_file(server: &Server) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let name: String = server.server.chars().map(plain).collect();
    let Server { ca, cert, key, .. } = server;
    if (ca, cert, key) == (&None, &None, &None) {
        return format!("mirror-{name}.json");
    }
    // Paths may be longer than a file name.
    let paths = fnv1a(format!("{ca:?} {cert:?} {key:?}").as_bytes());
    format!("mirror-{name}-{paths:016x}.json")
}

/// An id of a peer has only letters, digits, `_` and `-`.
fn key_file(directory: &Path, peer: &PeerId) -> PathBuf {
    directory.join(format!("{peer}.key"))
}

/// The public key that belongs to [`StateDirectory::peer_key`].
pub fn public_key(secret: [u8; 32]) -> PublicKey {
    mesh_core::tunnel::StaticSecret::from_bytes(secret).public_key()
}
