//! The contexts file: which daemons one knows, by name, and which of them is meant when nothing is said.
//!
//! ```toml
//! current = "hub"
//! [context.hub]
//! server = "https://hub.example:7443"
//! ca = "/etc/mesh/ca.pem"
//! cert = "/etc/mesh/alice.pem"
//! key = "/etc/mesh/alice.key"
//! org = "shop"                # meant when a command names none
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use mesh_core::{api::node::Server, model::group::Org};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub context: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `unix:///PATH` or `https://HOST:PORT`.
    pub server: String,
    /// PEM files; needed with https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<Org>,
}

impl Entry {
    pub fn server(&self) -> Server {
        let Entry { server, ca, cert, key, org: _ } = self.clone();
        Server { server, ca, cert, key }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ContextsError {
    #[error("cannot read contexts from {path}: {reason}")]
    Read { path: PathBuf, reason: io::Error },
    #[error("cannot write contexts to {path}: {reason}")]
    Write { path: PathBuf, reason: io::Error },
    #[error("{path}: {reason}")]
    NotAllowed { path: PathBuf, reason: String },
    #[error("there is no context {name:?} in {path}; known: {known}")]
    Unknown { path: PathBuf, name: String, known: String },
}

impl Contexts {
    /// An absent file has no contexts.
    pub fn load(path: &Path) -> Result<Contexts, ContextsError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(reason) => return Err(ContextsError::Read { path: path.to_owned(), reason }),
        };
        let not_allowed = |reason: String| ContextsError::NotAllowed { path: path.to_owned(), reason };
        let contexts: Contexts = toml::from_str(&text).map_err(|error| not_allowed(error.to_string()))?;
        if let Some(current) = contexts.current.as_ref().filter(|name| !contexts.context.contains_key(*name)) {
            return Err(not_allowed(format!("`current` is {current:?}, and there is no [context.{current}]")));
        }
        Ok(contexts)
    }

    /// Whole or not at all; readable by its owner alone.
    pub fn save(&self, path: &Path) -> Result<(), ContextsError> {
        let failed = |reason| ContextsError::Write { path: path.to_owned(), reason };
        let text = toml::to_string_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let fresh = folder.join(name);
        let written = write(&fresh, &text).and_then(|()| fs::rename(&fresh, path));
        written.map_err(|error| {
            // Best effort: the error of the write is the one to tell.
            let _ = fs::remove_file(&fresh);
            failed(error)
        })
    }

    /// `path` is for the message.
    pub fn find(&self, name: &str, path: &Path) -> Result<&Entry, ContextsError> {
        self.context.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.context.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            ContextsError::Unknown { path: path.to_owned(), name: name.to_owned(), known }
        })
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh/contexts.toml");
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
        let server = |text: &str| Entry { server: text.to_owned(), ca: None, cert: None, key: None, org: None };
        let mut contexts = Contexts { current: Some("hub".to_owned()), ..Contexts::default() };
        contexts.context.insert("hub".to_owned(), Entry { ca: Some("/ca.pem".into()), ..server("https://hub:7443") });
        contexts.context.insert("here".to_owned(), server("unix:///run/mesh/meshd.sock"));
        contexts.save(&path).unwrap();
        contexts.save(&path).unwrap();
        assert_eq!(Contexts::load(&path).unwrap(), contexts);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing but the file is left");
        let error = contexts.find("cloud", Path::new("c.toml")).unwrap_err().to_string();
        assert_eq!(error, "there is no context \"cloud\" in c.toml; known: here, hub");
    }

    #[test]
    fn files_that_are_wrong_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        for text in ["current = \"x\"", "[context.a]\nsrver = \"x\"", "nonsense", "[context.a]"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Contexts::load(&path), Err(ContextsError::NotAllowed { .. })), "{text}");
        }
    }
}
