//! Which daemon a command is for, and how it is asked.

use std::{
    env,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use mesh_client::{Client, Contexts, Entry, Url};
use mesh_core::{api::node::Server, model::group::Org};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use crate::exit::{Exit, Failure};

const SOCKET_VARIABLE: &str = "MESHD_SOCKET";
const DEFAULT_SOCKET: &str = "/run/mesh/meshd.sock";
const CONTEXTS_VARIABLE: &str = "MESH_CONTEXTS";
/// Patience with one answer, and with a sequence of many.
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);
const LONGEST: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which daemon")]
pub(crate) struct Endpoint {
    /// The daemon's socket [default: $MESHD_SOCKET, else the current context, else /run/mesh/meshd.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["context", "kubeconfig"])]
    socket: Option<PathBuf>,
    /// A daemon of the contexts file
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Another contexts file [default: $MESH_CONTEXTS, else ~/.config/mesh/contexts.toml]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How long to wait, as in 30, 30s or 2m [default: 10s for an answer, 2m for a connection]
    #[arg(long, global = true, value_name = "DURATION", value_parser = patience)]
    timeout: Option<Duration>,
}

/// Parts of a context that are taken from others.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Parts {
    /// Take server and CA from this context
    #[arg(long, value_name = "CONTEXT")]
    cluster: Option<String>,
    /// Take certificate, key and org from this context
    #[arg(long, value_name = "CONTEXT")]
    user: Option<String>,
}

/// The other daemon of a command that is for two.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The remote daemon")]
pub(crate) struct RemoteEndpoint {
    /// A contexts file; its current context is meant unless --remote-context names one
    #[arg(long, value_name = "FILE")]
    remote_kubeconfig: Option<PathBuf>,
    /// A daemon of that file, else of the own contexts file
    #[arg(long, value_name = "NAME")]
    remote_context: Option<String>,
    /// Take server and CA from this context
    #[arg(long, value_name = "CONTEXT")]
    remote_cluster: Option<String>,
    /// Take certificate, key and org from this context
    #[arg(long, value_name = "CONTEXT")]
    remote_user: Option<String>,
    /// The remote daemon's socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["remote_context", "remote_kubeconfig"])]
    remote_socket: Option<PathBuf>,
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

impl RemoteEndpoint {
    /// A daemon of the own contexts file.
    pub(crate) fn context(name: &str) -> RemoteEndpoint {
        RemoteEndpoint { remote_context: Some(name.to_owned()), ..RemoteEndpoint::default() }
    }

    /// The current context of this file.
    pub(crate) fn kubeconfig(file: &Path) -> RemoteEndpoint {
        RemoteEndpoint { remote_kubeconfig: Some(file.to_owned()), ..RemoteEndpoint::default() }
    }

    pub(crate) fn socket(path: &Path) -> RemoteEndpoint {
        RemoteEndpoint { remote_socket: Some(path.to_owned()), ..RemoteEndpoint::default() }
    }
}

impl Endpoint {
    /// The daemon that holds the state: perhaps far away.
    pub(crate) fn daemon(&self) -> Result<Daemon, Failure> {
        self.daemon_of(&Parts::default())
    }

    pub(crate) fn daemon_of(&self, parts: &Parts) -> Result<Daemon, Failure> {
        if let Some(socket) = self.named_socket() {
            return self.reach(Client::unix(&socket), None);
        }
        let path = self.contexts()?;
        let contexts = load(&path)?;
        match self.context.as_ref().or(contexts.current.as_ref()) {
            None if parts.is_none() => self.reach(Client::unix(Path::new(DEFAULT_SOCKET)), None),
            None => self.reach_entry(&parts.entry(None, &contexts, &path)?),
            Some(name) => self.reach_entry(&parts.entry(Some(name), &contexts, &path)?),
        }
    }

    /// `None`: no remote daemon was named.
    pub(crate) fn remote(&self, remote: &RemoteEndpoint) -> Result<Option<Daemon>, Failure> {
        if let Some(socket) = &remote.remote_socket {
            return self.reach(Client::unix(socket), None).map(Some);
        }
        let parts = Parts { cluster: remote.remote_cluster.clone(), user: remote.remote_user.clone() };
        if remote.remote_kubeconfig.is_none() && remote.remote_context.is_none() && parts.is_none() {
            return Ok(None);
        }
        let path = remote.remote_kubeconfig.clone().map_or_else(|| self.contexts(), Ok)?;
        let contexts = load(&path)?;
        let current = contexts.current.as_ref().filter(|_| remote.remote_kubeconfig.is_some());
        let name = remote.remote_context.as_ref().or(current);
        if name.is_none() && parts.cluster.is_none() {
            let message = format!("{} has no current context", path.display());
            return Err(Failure::usage(message, "--remote-context names one"));
        }
        self.reach_entry(&parts.entry(name, &contexts, &path)?).map(Some)
    }

    /// For what takes many answers.
    pub(crate) fn patience(&self) -> Duration {
        self.patience_or(LONG)
    }

    pub(crate) fn patience_or(&self, usual: Duration) -> Duration {
        self.timeout.unwrap_or(usual)
    }

    fn contexts(&self) -> Result<PathBuf, Failure> {
        self.kubeconfig.clone().map_or_else(contexts_file, Ok)
    }

    fn reach_entry(&self, entry: &Entry) -> Result<Daemon, Failure> {
        self.reach(Client::new(&entry.server())?, entry.org.clone())
    }

    /// The daemon of this machine: the current context does not count.
    pub(crate) fn node(&self) -> Result<Daemon, Failure> {
        if self.context.is_some() || self.kubeconfig.is_some() {
            return self.daemon();
        }
        let socket = self.named_socket().unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
        self.reach(Client::unix(&socket), None)
    }

    fn named_socket(&self) -> Option<PathBuf> {
        let is_named = self.context.is_some() || self.kubeconfig.is_some();
        let variable = || env::var_os(SOCKET_VARIABLE).filter(|_| !is_named);
        self.socket.clone().or_else(|| variable().map(PathBuf::from))
    }

    fn reach(&self, client: Client, org: Option<Org>) -> Result<Daemon, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::unexpected(format!("cannot start: {error}")))?;
        Ok(Daemon { client, timeout: self.timeout.unwrap_or(SHORT), org: org.unwrap_or_default(), runtime })
    }
}

impl Parts {
    fn is_none(&self) -> bool {
        self.cluster.is_none() && self.user.is_none()
    }

    /// The context `name`, with what is taken from others.
    fn entry(&self, name: Option<&String>, contexts: &Contexts, path: &Path) -> Result<Entry, Failure> {
        let named = |name: &String| find(contexts, name, path);
        let cluster = self.cluster.as_ref().or(name).map(named).transpose()?;
        let user = self.user.as_ref().or(name).map(named).transpose()?;
        let Some(cluster) = cluster else {
            let message = format!("{} has no current context", path.display());
            return Err(Failure::usage(message, "--context or --cluster names one"));
        };
        let user = user.unwrap_or(cluster).clone();
        Ok(Entry { server: cluster.server.clone(), ca: cluster.ca.clone(), ..user })
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

/// `30`, `30s`, `2m`, `1h`: from a second to an hour.
fn patience(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        _ => (text, 1),
    };
    let expected = || "it is from 1s to 1h, as in 30, 30s or 2m".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let time = number.checked_mul(unit).map(Duration::from_secs);
    time.filter(|time| (Duration::from_secs(1)..=LONGEST).contains(time)).ok_or_else(expected)
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

pub(crate) fn find<'a>(contexts: &'a Contexts, name: &str, path: &Path) -> Result<&'a Entry, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let read = |text: &str| patience(text).ok().map(|time| time.as_secs());
        let given = ["1", "30", "45s", "2m", "1h", "60m"].map(read);
        assert_eq!(given, [Some(1), Some(30), Some(45), Some(120), Some(3_600), Some(3_600)]);
        for wrong in ["", "0", "0s", "2h", "-1", "1.5", "m", "1d", "99999999999999999999m", "18446744073709551615h"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_context_of_parts() {
        let entry = |server: &str, cert: &str| Entry {
            server: server.to_owned(),
            ca: Some(format!("{server}.ca").into()),
            cert: Some(cert.into()),
            key: None,
            org: None,
        };
        let mut contexts = Contexts::default();
        contexts.context.insert("a".to_owned(), entry("https://a", "alice"));
        contexts.context.insert("b".to_owned(), entry("https://b", "bob"));
        let parts = |cluster: Option<&str>, user: Option<&str>| {
            let [cluster, user] = [cluster, user].map(|name| name.map(str::to_owned));
            Parts { cluster, user }.entry(Some(&"a".to_owned()), &contexts, Path::new("c.toml"))
        };
        assert_eq!(parts(None, None), Ok(entry("https://a", "alice")));
        assert_eq!(parts(Some("b"), None), Ok(entry("https://b", "alice")));
        assert_eq!(parts(None, Some("b")), Ok(entry("https://a", "bob")));
        assert_eq!(parts(Some("c"), None).unwrap_err().exit, Exit::NotFound);
    }
}
