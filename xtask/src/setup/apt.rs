//! How do we get a Debian package that this machine's own suites do not have, without touching its configuration?
//!
//! A private apt configuration in the tools folder, with the mirror and the key of the machine's own sources. Packages are
//! downloaded and unpacked, never installed, so it needs no root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process;

/// Where newer builds are found, newest first.
const SUITES: [&str; 3] = ["sid", "trixie-backports", "bookworm-backports"];

/// From the package debian-archive-keyring, which every Debian has.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[derive(Debug)]
pub(crate) struct Private {
    folder: PathBuf,
}

impl Private {
    /// Makes the configuration and fetches the package lists.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        if process::find("apt-get").is_none() {
            bail!("this machine has no apt-get, so Debian's packages cannot be used");
        }
        let apt = Self { folder: folder.to_path_buf() };
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(sub)).with_context(|| format!("make {}", folder.display()))?;
        }
        fs::write(folder.join("sources.list"), sources()?).with_context(|| format!("write {}", folder.display()))?;
        process::output(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// The versions that the suites have, newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = process::output(self.command("apt-cache").args(["madison", package]))?;
        let version = |line: &str| line.split('|').nth(1).map(|version| version.trim().to_owned());
        Ok(table.lines().filter_map(version).collect())
    }

    /// The path of the downloaded package.
    pub(crate) fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        let wanted = format!("{package}={version}");
        process::output(self.command("apt-get").args(["-qq", "download", &wanted]).current_dir(&self.folder))?;
        let prefix = format!("{package}_");
        for entry in fs::read_dir(&self.folder).with_context(|| format!("read {}", self.folder.display()))? {
            let path = entry.with_context(|| format!("read {}", self.folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(".deb") {
                return Ok(path);
            }
        }
        bail!("apt-get downloaded {wanted}, but there is no {prefix}*.deb in {}", self.folder.display())
    }

    /// Removes the lists and the packages: they are needed once.
    pub(crate) fn close(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("remove {}", self.folder.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = |option: &str, path: &str| format!("{option}={}", self.folder.join(path).display());
        for option in [
            own("Dir::State::Lists", "lists"),
            own("Dir::Cache", "cache"),
            own("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            // Root's apt would fetch as a user that cannot write here.
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// The suites, on the mirror of the machine's own Debian sources.
fn sources() -> Result<String> {
    let targets = process::output(Command::new("apt-get").args([
        "indextargets",
        "--no-release-info",
        "--format",
        "$(REPO_URI)",
    ]))?;
    let mirror = targets
        .lines()
        .find(|mirror| mirror.trim_end_matches('/').ends_with("/debian"))
        .context("the apt sources of this machine name no Debian mirror")?;
    // Without the keyring's file apt looks among the keys that it trusts for all sources.
    let signed_by = if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
    Ok(SUITES.map(|suite| format!("deb {signed_by}{mirror} {suite} main\n")).concat())
}
