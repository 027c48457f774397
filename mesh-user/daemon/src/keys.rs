//! Where does the private key of this cluster come from: a file as `wg genkey` writes it, made at the first start.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use uuid::Uuid;

/// Length of a Curve25519 key in bytes.
const KEY_LENGTH: usize = 32;

/// The key in `path`, which nobody but its owner may read. Absent: a new one is made there, mode 0600.
pub fn load_or_create(path: &Path) -> Result<[u8; KEY_LENGTH]> {
    match load(path) {
        Err(error) if is_absent(&error) => create(path),
        loaded => loaded,
    }
}

fn load(path: &Path) -> Result<[u8; KEY_LENGTH]> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot open the private key {}", path.display()))?;
    let mode = file.metadata().context("cannot stat the private key")?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.display();
        bail!("the private key {path} has mode {mode:04o}, so that others may read it: run `chmod 600 {path}`");
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(|| format!("cannot read the private key {}", path.display()))?;
    let bytes = BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; KEY_LENGTH]>::try_from(bytes).ok());
    bytes.with_context(|| {
        format!("{} holds no private key (base64 of 32 bytes, as `wg genkey` prints it)", path.display())
    })
}

fn create(path: &Path) -> Result<[u8; KEY_LENGTH]> {
    let mut key = random().context("cannot make a new private key")?;
    key[0] &= 0xf8; // clamped as `wg genkey` does, RFC 7748 section 5
    key[31] = (key[31] & 0x7f) | 0x40;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| {
        format!("cannot create the private key {}: does its directory exist and is it writable?", path.display())
    })?;
    let written = writeln!(file, "{}", BASE64_STANDARD.encode(key)).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write the private key {}", path.display()))?;
    tracing::info!(path = %path.display(), "made a new private key");
    Ok(key)
}

/// 32 bytes that nobody can guess.
pub(crate) fn random() -> Result<[u8; KEY_LENGTH]> {
    let mut bytes = [0; KEY_LENGTH];
    let mut random = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    random.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// Of version 4.
pub(crate) fn random_uuid() -> Result<Uuid> {
    let random = random()?;
    let bytes = random.first_chunk().expect("16 of 32 bytes");
    Ok(uuid::Builder::from_random_bytes(*bytes).into_uuid())
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private.key");
        let key = load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap(), key);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private.key");
        load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = load_or_create(&path).unwrap_err().to_string();
        assert!(message.contains("mode 0640") && message.contains("chmod 600"), "{message}");
    }

    #[test]
    fn text_that_is_no_key_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private.key");
        fs::write(&path, "hello\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let message = load_or_create(&path).unwrap_err().to_string();
        assert!(message.contains("holds no private key"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello\n");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let message = load_or_create(Path::new("/nonexistent/private.key")).unwrap_err().to_string();
        assert!(message.contains("/nonexistent/private.key"), "{message}");
    }
}
