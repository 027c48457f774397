//! `meshctl context`: daemons that one knows by name, in the user's contexts file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use mesh_client::{Client, Entry};
use mesh_core::model::group::Org;
use serde::Serialize;

use crate::{
    daemon::{contexts_file, find, load},
    exit::{Exit, Failure},
    output::{Form, Output, OutputArguments},
    table::{cell, render},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The contexts; the current one has a star
    List(OutputArguments),
    /// Makes a context the current one
    Use {
        name: String,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Makes or changes a context
    Set(SetArguments),
    /// Forgets a context
    Delete {
        name: String,
        #[command(flatten)]
        output: OutputArguments,
    },
}

#[derive(Debug, Args)]
struct SetArguments {
    name: String,
    /// unix:///PATH or https://HOST:PORT
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// PEM file of who signs the daemon's certificate
    #[arg(long, value_name = "PATH")]
    ca: Option<PathBuf>,
    /// PEM file of our certificate
    #[arg(long, value_name = "PATH")]
    cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "PATH")]
    key: Option<PathBuf>,
    /// Org that is meant when a command names none
    #[arg(long)]
    org: Option<Org>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Serialize)]
struct Listing {
    schema: u32,
    contexts: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    current: bool,
    #[serde(flatten)]
    entry: Entry,
}

impl Arguments {
    pub(crate) fn output(&self) -> Output {
        match &self.verb {
            Verb::List(output) | Verb::Use { output, .. } | Verb::Delete { output, .. } => output.output,
            Verb::Set(arguments) => arguments.output.output,
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.output().form()
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let path = contexts_file()?;
    let mut contexts = load(&path)?;
    match &arguments.verb {
        Verb::List(_) => {}
        Verb::Use { name, .. } => {
            find(&contexts, name, &path)?;
            contexts.current = Some(name.clone());
        }
        Verb::Set(set) => {
            let entry = changed(contexts.context.get(&set.name), set)?;
            // Files that are missing or do not fit are told now.
            Client::new(&entry.server())?;
            contexts.context.insert(set.name.clone(), entry);
            contexts.current.get_or_insert_with(|| set.name.clone());
        }
        Verb::Delete { name, .. } => {
            find(&contexts, name, &path)?;
            contexts.context.remove(name);
            contexts.current = contexts.current.filter(|current| current != name);
        }
    }
    if !matches!(arguments.verb, Verb::List(_)) {
        contexts.save(&path).map_err(|error| Failure::new(Exit::Unexpected, error.to_string(), ""))?;
    }
    let current = contexts.current;
    let listed = |(name, entry)| Listed { current: current.as_ref() == Some(&name), name, entry };
    let contexts = contexts.context.into_iter().map(listed).collect();
    let listing = Listing { schema: mesh_core::api::group::SCHEMA, contexts };
    let output = arguments.output();
    output.form().print(&listing, |listing| text(listing, output, &path))
}

/// What is not said stays.
fn changed(old: Option<&Entry>, set: &SetArguments) -> Result<Entry, Failure> {
    let server = set.server.clone().or_else(|| old.map(|old| old.server.clone()));
    let server = server.ok_or_else(|| {
        Failure::usage(format!("context {} is new and needs --server", set.name), "unix:///PATH or https://HOST:PORT")
    })?;
    let file = |new: &Option<PathBuf>, old: Option<&PathBuf>| match new {
        Some(path) => absolute(path).map(Some),
        None => Ok(old.cloned()),
    };
    Ok(Entry {
        server,
        ca: file(&set.ca, old.and_then(|old| old.ca.as_ref()))?,
        cert: file(&set.cert, old.and_then(|old| old.cert.as_ref()))?,
        key: file(&set.key, old.and_then(|old| old.key.as_ref()))?,
        org: set.org.clone().or_else(|| old.and_then(|old| old.org.clone())),
    })
}

/// The daemon that is told to join reads the same files, from another directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display()), ""))
}

fn text(listing: &Listing, output: Output, path: &Path) -> String {
    if listing.contexts.is_empty() {
        return format!("No contexts in {}. `meshctl context set NAME --server URL` makes one.\n", path.display());
    }
    if output == Output::Name {
        return listing.contexts.iter().map(|listed| format!("{}\n", listed.name)).collect();
    }
    let shown = |path: &Option<PathBuf>| path.as_ref().map_or("-".to_owned(), |path| path.display().to_string());
    let is_wide = output == Output::Wide;
    let row = |listed: &Listed| {
        let star = if listed.current { "*" } else { "" };
        let org = listed.entry.org.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut row = vec![star.to_owned(), listed.name.clone(), listed.entry.server.clone(), cell(&org)];
        if is_wide {
            row.extend([&listed.entry.ca, &listed.entry.cert, &listed.entry.key].map(shown));
        }
        row
    };
    let rows: Vec<_> = listing.contexts.iter().map(row).collect();
    let header = ["", "NAME", "SERVER", "ORG", "CA", "CERT", "KEY"];
    render(if is_wide { &header } else { &header[..4] }, &rows)
}
