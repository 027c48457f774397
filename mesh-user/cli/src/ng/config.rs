//! `meshctl ng get-config PEER G`: what wg-quick needs, as text, JSON, file or QR code.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use mesh_core::{
    api::group::{PeerConfiguration, PeerReply},
    plan::PublicKey,
};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use ratatui::crossterm::terminal;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::Desk;
use crate::exit::{Exit, Failure};

/// Stands in a configuration where only its owner can write something.
const PLACEHOLDER: &str = "<%PrivateKey%>";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Id or label of the peer
    peer: String,
    /// Id or label
    group: String,
    /// Fills in this key (as `wg genkey` prints it); it does not leave this machine
    #[arg(long, value_name = "PATH")]
    private_key_file: Option<PathBuf>,
    /// Writes a file that only its owner can read
    #[arg(long, value_name = "PATH")]
    out_file: Option<PathBuf>,
    /// Shows a code that WireGuard's apps read from the terminal
    #[arg(long, conflicts_with = "out_file")]
    qr: bool,
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    let url = desk.group_url(&arguments.group, &["peers", &arguments.peer, "configuration"]);
    let mut configuration: PeerConfiguration = desk.daemon.get(url)?;
    if let Some(path) = &arguments.private_key_file {
        let key = private_key(path)?;
        let ids = [configuration.ng_id.as_str(), configuration.peer_id.as_str()];
        let peer: PeerReply = desk.daemon.get(desk.group_url(ids[0], &["peers", ids[1]]))?;
        belongs(&key, &peer.peer.public_key, path)?;
        configuration.conf = configuration.conf.replace(PLACEHOLDER, &key);
    }
    if let Some(path) = &arguments.out_file {
        write_private(path, &configuration.conf)
            .map_err(|error| Failure::new(Exit::Unexpected, format!("cannot write {}: {error}", path.display()), ""))?;
        return desk.form.print(&configuration, |_| format!("Written to {}\n", path.display()));
    }
    let code = if arguments.qr { Some(qr(&configuration.conf)?) } else { None };
    if let Some(code) = &code
        && io::stdout().is_terminal()
        && let Ok((columns, _)) = terminal::size()
    {
        fits(code, columns)?;
    }
    desk.form.print(&configuration, |configuration| code.unwrap_or_else(|| configuration.conf.clone()))
}

/// One line of base64, without its end.
fn private_key(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| {
        Failure::usage(format!("cannot read the private key {}: {error}", path.display()), "`wg genkey` makes one")
    })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn belongs(key: &str, expected: &PublicKey, path: &Path) -> Result<(), Failure> {
    let bytes = BASE64_STANDARD.decode(key).ok().map(Zeroizing::new);
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.as_slice().try_into().ok());
    let Some(bytes) = bytes else {
        let message = format!("{} holds no private key", path.display());
        return Err(Failure::usage(message, "it is base64 of 32 bytes, as `wg genkey` prints it"));
    };
    let public = x25519_dalek::PublicKey::from(&StaticSecret::from(bytes));
    if public.as_bytes() == &expected.0 {
        return Ok(());
    }
    let public = BASE64_STANDARD.encode(public.as_bytes());
    let message = format!("{} is the private key of {public}, and the peer's is {expected}", path.display());
    Err(Failure::new(Exit::Conflict, message, "is it another peer's?"))
}

/// Whole or not at all, mode 0600 from its beginning. What is there is replaced only if it is a plain file.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("what is there is no plain file"));
    }
    let mut name = path.file_name().ok_or_else(|| io::Error::other("it is no file name"))?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| {
        // Best effort: the error of the write is the one to tell.
        let _ = fs::remove_file(&fresh);
    })
}

/// Light on dark, as terminals are: readers take both.
fn qr(text: &str) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|error| {
        let peers = text.lines().filter(|line| line.trim() == "[Peer]").count();
        let message = format!(
            "the configuration does not fit into a QR code ({error}): it has {} bytes for {peers} peers, and a code holds \
             2,953, about 30 peers",
            text.len()
        );
        Failure::usage(message, "--out-file PATH writes it to a file, which wg-quick and WireGuard's apps import")
    })?;
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Ok(image + "\n")
}

/// A code with broken lines is none.
fn fits(code: &str, columns: u16) -> Result<(), Failure> {
    let width = code.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    if width <= usize::from(columns) {
        return Ok(());
    }
    let message = format!("the QR code is {width} columns wide, and the terminal has {columns}");
    Err(Failure::usage(message, "make the terminal wider or its letters smaller, or write a file: --out-file PATH"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_private_even_where_one_was_that_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wg0.conf");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdout");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(write_private(&path, "new").is_err());
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn a_key_belongs_to_one_peer() {
        let secret = StaticSecret::from([7; 32]);
        let public = PublicKey(*x25519_dalek::PublicKey::from(&secret).as_bytes());
        let key = BASE64_STANDARD.encode(secret.to_bytes());
        let path = Path::new("key");
        assert_eq!(belongs(&key, &public, path), Ok(()));
        assert_eq!(belongs(&key, &PublicKey([1; 32]), path).unwrap_err().exit, Exit::Conflict);
        assert_eq!(belongs("nonsense", &public, path).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn what_no_code_holds_is_told_with_what_to_do() {
        let peer = "[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs = 10.101.0.5/32\n\n";
        assert!(qr(&peer.repeat(28)).is_ok());
        let failure = qr(&peer.repeat(40)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.error.message.contains("3680 bytes for 40 peers"), "{}", failure.error.message);
        assert!(failure.error.hint.starts_with("--out-file PATH"));
    }

    #[test]
    fn a_code_is_square() {
        let code = qr("[Interface]\nPrivateKey = x\n").unwrap();
        let lines: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
        let width = u16::try_from(lines[0]).unwrap();
        assert_eq!(fits(&code, width), Ok(()));
        assert_eq!(fits(&code, width - 1).unwrap_err().exit, Exit::Usage);
        assert!(lines.iter().all(|width| *width == lines[0] && width.div_ceil(2) == lines.len()), "{code}");
    }
}
