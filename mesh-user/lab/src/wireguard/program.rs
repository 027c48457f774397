//! Which WireGuard programs are there, where do they lie, and how is one started?

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{Namespace, process};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// `meshd wg`.
    MeshWg,
    WireguardGo,
    BoringtunCli,
    Gotatun,
}

/// Where the programs lie.
#[derive(Clone, Debug)]
pub struct Installed {
    meshd: PathBuf,
    tools: PathBuf,
}

impl Program {
    /// All but our own.
    pub const RIVALS: [Program; 3] = [Program::WireguardGo, Program::BoringtunCli, Program::Gotatun];

    pub fn name(self) -> &'static str {
        match self {
            Program::MeshWg => "mesh-wg",
            Program::WireguardGo => "wireguard-go",
            Program::BoringtunCli => "boringtun-cli",
            Program::Gotatun => "gotatun",
        }
    }

    /// In the foreground, saying only what went wrong.
    fn arguments(self, device: &str) -> Vec<&str> {
        match self {
            Program::MeshWg => vec!["wg", "-f", device],
            Program::WireguardGo => vec!["-f", device],
            Program::BoringtunCli | Program::Gotatun => vec!["-f", "--disable-drop-privileges", device],
        }
    }

    fn environment(self) -> (&'static str, &'static str) {
        match self {
            Program::MeshWg | Program::WireguardGo => ("LOG_LEVEL", "error"),
            Program::BoringtunCli | Program::Gotatun => ("WG_LOG_LEVEL", "error"),
        }
    }
}

impl Installed {
    /// `meshd` as cargo built it, and the tools folder: the one that `MESH_TOOLS` names, else `tools` in the target folder
    /// that `meshd` is in.
    pub fn beside(meshd: &Path) -> Result<Installed> {
        let tools = match env::var_os("MESH_TOOLS").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            // Cargo marks its target folder so.
            None => meshd
                .ancestors()
                .find(|folder| folder.join("CACHEDIR.TAG").exists())
                .with_context(|| format!("{} is in no target folder; set MESH_TOOLS", meshd.display()))?
                .join("tools"),
        };
        Ok(Installed { meshd: meshd.to_owned(), tools })
    }

    /// What the program says about itself, such as `wireguard-go v0.0.20250522`.
    pub fn version(&self, program: Program) -> Result<String> {
        let mut ask = Command::new(self.path(program));
        let text = process::output(ask.arg("--version"), Duration::from_secs(5))
            .with_context(|| format!("{} is missing: `cargo xtask setup` installs it", program.name()))?;
        let word = text.lines().next().unwrap_or_default().split_whitespace().find(|word| is_version(word));
        let version = word.with_context(|| format!("{} --version printed no version: {text}", program.name()))?;
        Ok(version.to_owned())
    }

    pub(super) fn start(&self, program: Program, namespace: &Namespace, device: &str) -> Command {
        let mut command = namespace.command(self.path(program));
        let (name, value) = program.environment();
        command.args(program.arguments(device)).env(name, value);
        command
    }

    pub fn path(&self, program: Program) -> PathBuf {
        match program {
            Program::MeshWg => self.meshd.clone(),
            Program::WireguardGo | Program::BoringtunCli | Program::Gotatun => {
                self.tools.join("bin").join(program.name())
            }
        }
    }
}

fn is_version(word: &str) -> bool {
    word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_words_that_begin_with_a_number() {
        assert!(is_version("v0.0.20250522") && is_version("0.10.2"));
        assert!(!is_version("boringtun") && !is_version("linux-amd64.") && !is_version("2"));
    }
}
