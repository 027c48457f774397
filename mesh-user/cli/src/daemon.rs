//! Which daemon a command is for, and how it is asked.

use std::{
    env,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use mesh_client::{Client, Contexts, Url};
use mesh_core::{api::node::Server, model::group::Org};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use crate::exit::{Exit, Failure};

const SOCKET_VARIABLE: &str = "MESHD_SOCKET";
const DEFAULT_SOCKET: &str = "/run/mesh/meshd.sock";
const CONTEXTS_VARIABLE: &str = "MESH_CONTEXTS";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which daemon")]
pub(crate) struct Endpoint {
    /// The daemon's socket [default: $MESHD_SOCKET, else the current context, else /run/mesh/meshd.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "context")]
    socket: Option<PathBuf>,
    /// A daemon of the contexts file
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Seconds to wait for the daemon's answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// One daemon, asked from a program that waits for each answer.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) client: Client,
    pub(crate) timeout: Duration,
    /// What the context says; a command may say otherwise.
    pub(crate) org: Org,
    runtime: Runtime,
}

impl Endpoint {
    /// The daemon that holds the state: perhaps far away.
    pub(crate) fn daemon(&self) -> Result<Daemon, Failure> {
        if let Some(socket) = self.named_socket() {
            return self.reach(Client::unix(&socket), None);
        }
        let path = contexts_file()?;
        let contexts = load(&path)?;
        match self.context.as_ref().or(contexts.current.as_ref()) {
            None => self.reach(Client::unix(Path::new(DEFAULT_SOCKET)), None),
            Some(name) => {
                let entry = find(&contexts, name, &path)?;
                self.reach(Client::new(&entry.server())?, entry.org.clone())
            }
        }
    }

    /// The daemon of this machine: the current context does not count.
    pub(crate) fn node(&self) -> Result<Daemon, Failure> {
        if self.context.is_some() {
            return self.daemon();
        }
        let socket = self.named_socket().unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
        self.reach(Client::unix(&socket), None)
    }

    fn named_socket(&self) -> Option<PathBuf> {
        let variable = || env::var_os(SOCKET_VARIABLE).filter(|_| self.context.is_none());
        self.socket.clone().or_else(|| variable().map(PathBuf::from))
    }

    fn reach(&self, client: Client, org: Option<Org>) -> Result<Daemon, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::unexpected(format!("cannot start: {error}")))?;
        Ok(Daemon { client, timeout: Duration::from_secs(self.timeout), org: org.unwrap_or_default(), runtime })
    }
}

impl Daemon {
    pub(crate) fn get<T: DeserializeOwned>(&self, url: impl Into<Url>) -> Result<T, Failure> {
        Ok(self.wait(self.client.get(url, self.timeout))?)
    }

    pub(crate) fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: &B,
    ) -> Result<T, Failure> {
        Ok(self.wait(self.client.post(url, body, self.timeout))?)
    }

    pub(crate) fn patch<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: &B,
    ) -> Result<T, Failure> {
        Ok(self.wait(self.client.patch(url, body, self.timeout))?)
    }

    pub(crate) fn put<T: DeserializeOwned>(&self, url: impl Into<Url>) -> Result<T, Failure> {
        Ok(self.wait(self.client.put(url, self.timeout))?)
    }

    pub(crate) fn put_body<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: &B,
    ) -> Result<T, Failure> {
        Ok(self.wait(self.client.put_body(url, body, self.timeout))?)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, url: impl Into<Url>) -> Result<T, Failure> {
        Ok(self.wait(self.client.delete(url, self.timeout))?)
    }

    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// `$MESH_CONTEXTS`, else `mesh/contexts.toml` below the user's configuration directory.
pub(crate) fn contexts_file() -> Result<PathBuf, Failure> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set(CONTEXTS_VARIABLE) {
        return Ok(path);
    }
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let missing = || Failure::usage("where is the contexts file?", "set HOME, XDG_CONFIG_HOME or MESH_CONTEXTS");
    folder.map(|folder| folder.join("mesh/contexts.toml")).ok_or_else(missing)
}

pub(crate) fn load(path: &Path) -> Result<Contexts, Failure> {
    Contexts::load(path).map_err(|error| Failure::usage(error.to_string(), "`meshctl context set` writes it"))
}

pub(crate) fn find<'a>(contexts: &'a Contexts, name: &str, path: &Path) -> Result<&'a mesh_client::Entry, Failure> {
    contexts.find(name, path).map_err(|error| {
        let hint = "`meshctl context set NAME --server URL` makes one";
        Failure::new(Exit::NotFound, error.to_string(), hint).with_code("unknown_context")
    })
}

/// Of a context of this user, as another daemon is told.
pub(crate) fn server(name: &str) -> Result<Server, Failure> {
    let path = contexts_file()?;
    Ok(find(&load(&path)?, name, &path)?.server())
}
