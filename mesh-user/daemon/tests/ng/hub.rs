//! A node that holds groups, and command lines as a shell has them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    node::{Node, Programs},
    process::{self, Finished},
};
use serde_json::Value;

const SETTINGS: &str = "cluster_id = \"hub\"\nnode_id = \"hv-hub\"\n[dns]\nenabled = false\n";

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) node: Node,
    contexts: PathBuf,
    // Last, so that it is dropped last: it removes the namespace.
    _lab: Lab,
}

impl Hub {
    pub(crate) fn start() -> Result<Hub> {
        Hub::start_with("", |_| Ok(()))
    }

    /// With further sections, and files that they name by paths relative to the node's directory (`[DIR]` in them).
    pub(crate) fn start_with(sections: &str, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Hub> {
        let lab = Lab::new()?;
        let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
        let namespace = lab.namespace("hub")?;
        let mut node = Node::new(&lab, "hub", &namespace, &programs)?;
        prepare(node.directory())?;
        let sections = sections.replace("[DIR]", &node.directory().display().to_string());
        node.configure(&format!("{SETTINGS}{sections}"))?;
        node.start()?;
        let contexts = lab.directory().join("contexts.toml");
        Ok(Hub { node, contexts, _lab: lab })
    }

    /// What `sh` makes of the line; `org` is the context's.
    pub(crate) fn shell(&self, org: &str, line: &str) -> Result<Finished> {
        let server = format!("unix://{}", self.node.socket().display());
        fs::write(&self.contexts, format!("current = \"hub\"\n[context.hub]\nserver = {server:?}\norg = {org:?}\n"))?;
        let programs = self.node.program().parent().context("meshctl is in no directory")?;
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap_or_default());
        let mut command = self.node.namespace().command("sh");
        command.arg("-c").arg(line).current_dir(self.node.directory());
        command.env("PATH", path).env("MESH_CONTEXTS", &self.contexts).env_remove("MESHD_SOCKET");
        process::finish(&mut command, Duration::from_secs(20))
    }

    /// The same; it must succeed.
    pub(crate) fn done(&self, org: &str, line: &str) -> Result<String> {
        let finished = self.shell(org, line)?;
        ensure!(finished.status.success(), "{finished:?}\n{}", self.node.tail(20));
        Ok(finished.stdout)
    }

    pub(crate) fn json(&self, org: &str, line: &str) -> Result<Value> {
        let text = self.done(org, &format!("{line} -F json"))?;
        serde_json::from_str(&text).with_context(|| format!("{line} printed\n{text}"))
    }
}
