//! `meshctl apply -f F`: makes what manifests say, or shows what that would change.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use mesh_client::Url;
use mesh_core::{
    api::{Action, Applied, ApplyReply, to_body},
    model::{Manifest, group::Org},
};

use crate::{
    daemon::Endpoint,
    exit::Failure,
    output::{Output, OutputArguments},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File, directory (its *.yaml, *.yml and *.json), or - for standard input; may stand several times
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Shows what would change, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// Owner of what names none [default: the context's, else `default`]
    #[arg(long)]
    org: Option<Org>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    let manifests = to_body(&manifests(&arguments.files)?);
    let daemon = endpoint.daemon()?;
    let org = arguments.org.as_ref().unwrap_or(&daemon.org);
    let mut url = Url::new("/v1/apply").query("org", org.as_str());
    if arguments.dry_run {
        url = url.query("dryRun", "true");
    }
    let reply: ApplyReply = daemon.wait(daemon.client.post_text(url, manifests, daemon.timeout))?;
    let output = arguments.output.output;
    output.form().print(&reply, |reply| text(reply, output))
}

/// Of files, directories and standard input.
pub(crate) fn manifests(paths: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let texts: Result<Vec<_>, _> = paths.iter().map(|path| read(path)).collect();
    Ok(texts?.concat())
}

fn read(path: &Path) -> Result<Vec<Manifest>, Failure> {
    let failed = |path: &Path, error: io::Error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()), "-f names a file, a directory or -")
    };
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| failed(path, error))?;
        return Ok(vec![Manifest { file: "standard input".to_owned(), text }]);
    }
    let read_file = |path: &Path| {
        let text = fs::read_to_string(path).map_err(|error| failed(path, error))?;
        Ok(Manifest { file: path.display().to_string(), text })
    };
    if !path.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| failed(path, error))? {
        let file = entry.map_err(|error| failed(path, error))?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        let hint = "manifests are *.yaml, *.yml and *.json";
        return Err(Failure::usage(format!("{} holds no manifests", path.display()), hint));
    }
    files.sort();
    files.iter().map(|file| read_file(file)).collect()
}

fn text(reply: &ApplyReply, output: Output) -> String {
    let is_other = |applied: &&Applied| !matches!(applied.action, Action::Unchanged | Action::Skipped);
    let name = |applied: &Applied| format!("{}/{}", applied.kind.to_ascii_lowercase(), applied.name);
    if output == Output::Name {
        return reply.changes.iter().map(|applied| name(applied) + "\n").collect();
    }
    let verb = |action: Action| match (action, reply.dry_run) {
        (Action::Unchanged, _) => "unchanged",
        (Action::Skipped, _) => "left to its node, which makes it",
        (Action::Created, false) => "created",
        (Action::Changed, false) => "changed",
        (Action::Deleted, false) => "deleted",
        (Action::Created, true) => "would be created",
        (Action::Changed, true) => "would be changed",
        (Action::Deleted, true) => "would be deleted",
    };
    let lines = reply.changes.iter().map(|applied| {
        let diff: String = applied.diff.iter().map(|line| format!("  {line}\n")).collect();
        format!("{} {}\n{diff}", name(applied), verb(applied.action))
    });
    let lines: String = lines.collect();
    if !reply.changes.iter().any(|applied| is_other(&applied)) {
        return format!("{lines}Nothing to change.\n");
    }
    let shown = if reply.dry_run { reply.plan.as_slice() } else { &[] };
    let plan: String = shown.iter().map(|line| format!("  {line}\n")).collect();
    if plan.is_empty() { lines } else { format!("{lines}In the kernel and the daemon:\n{plan}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(action: Action, name: &str, diff: &[&str]) -> Applied {
        let diff = diff.iter().map(|line| (*line).to_owned()).collect();
        Applied { action, kind: "NetworkGroup".to_owned(), name: name.to_owned(), diff }
    }

    #[test]
    fn what_was_done_and_what_would_be() {
        let changes = vec![
            applied(Action::Created, "a", &[]),
            applied(Action::Changed, "b", &["description: \"x\" -> \"y\""]),
            applied(Action::Unchanged, "c", &[]),
            applied(Action::Skipped, "d", &[]),
        ];
        let mut reply = ApplyReply { schema: 1, dry_run: false, changes, plan: Vec::new() };
        let done = "networkgroup/a created\nnetworkgroup/b changed\n  description: \"x\" -> \"y\"\nnetworkgroup/c unchanged\n\
             networkgroup/d left to its node, which makes it\n";
        assert_eq!(text(&reply, Output::Table), done);
        assert_eq!(text(&reply, Output::Name), "networkgroup/a\nnetworkgroup/b\nnetworkgroup/c\nnetworkgroup/d\n");
        reply.dry_run = true;
        assert!(text(&reply, Output::Table).starts_with("networkgroup/a would be created\n"));
        reply.plan = vec!["+ route 10.71.0.0/16".to_owned()];
        let planned = "it\nIn the kernel and the daemon:\n  + route 10.71.0.0/16\n";
        assert!(text(&reply, Output::Table).ends_with(planned));
        reply.changes.drain(..2);
        reply.changes.truncate(1);
        assert_eq!(text(&reply, Output::Table), "networkgroup/c unchanged\nNothing to change.\n");
    }

    #[test]
    fn files_of_a_directory_keep_their_names() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err(), "no manifests");
        for (name, text) in [("b.yaml", "b: 1\n"), ("a.json", "{\"a\": 1}"), ("notes.txt", "no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let expected = [("a.json", "{\"a\": 1}"), ("b.yaml", "b: 1\n")];
        let expected = expected.map(|(name, text)| Manifest { file: path(name), text: text.to_owned() });
        assert_eq!(read(folder.path()).unwrap(), expected);
        assert!(read(&folder.path().join("c.yaml")).is_err());
    }
}
