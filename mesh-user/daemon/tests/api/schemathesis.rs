//! Requests made at random from the description: whatever is sent, the reply is one that is described, and never 5xx.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::process;
use serde_json::json;

use crate::site::{SERVER, Site, public_key};

/// Seconds of requests; the start of the daemon and of Python come on top.
const BUDGET: &str = "35";
const PATIENCE: Duration = Duration::from_secs(120);
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method";
/// Fewer requests than this would say little.
const ENOUGH: u32 = 300;

/// What the parameters of a path are, so that requests meet something that is there.
const NAMES: &str = r#"
[parameters]
"path.org" = "default"
"path.ng" = "myNG"
"path.member" = "app_one"
"path.peer" = "p1"
"path.resource" = "myNG"

[[operations]]
include-method = "DELETE"
parameters = { "path.org" = "default", "path.ng" = "victim", "path.member" = "redis_two", "path.peer" = "p2" }
"#;

#[test]
fn of_any_names() -> Result<()> {
    let site = Site::start()?;
    try_requests(&site)
}

#[test]
fn of_names_that_are_there() -> Result<()> {
    let site = Site::start()?;
    for label in ["myNG", "victim"] {
        let groups = "/v1/orgs/default/networkgroups";
        let members = json!([{ "id": "app_one" }, { "id": "redis_two" }]);
        site.json("POST", groups, Some(json!({ "label": label, "members": members })))?;
        for number in [1, 2] {
            let peer = json!({ "label": format!("p{number}"), "publicKey": public_key(number) });
            site.json("POST", &format!("{groups}/{label}/external-peers"), Some(peer))?;
        }
    }
    fs::write(site.file("schemathesis.toml"), NAMES)?;
    try_requests(&site)
}

fn try_requests(site: &Site) -> Result<()> {
    let name = |name: &str| site.file(name).display().to_string();
    let mut command = site.namespace.command(program()?);
    command.args(["run", &format!("{SERVER}/v1/openapi.json"), "--url", SERVER]);
    command.args(["--request-cert", &name("everything.pem"), "--request-cert-key", &name("everything.key")]);
    command.args(["--tls-verify", &name("ca.pem")]);
    // An event stream does not end.
    command.args(["--exclude-path-regex", "watch$", "--checks", CHECKS, "--max-time", BUDGET, "--seed", "4"]);
    command.args(["--generation-database", "none", "--request-timeout", "10", "--no-color", "--no-shrink"]);
    // Where its settings are, and where it writes.
    command.current_dir(site.file(""));
    let finished = process::finish(&mut command, PATIENCE)?;
    ensure!(finished.status.success(), "{}\n{}\n{}", finished.stdout, finished.stderr, site.node.tail(20));
    let words: Vec<&str> = finished.stdout.split_whitespace().collect();
    let counts =
        words.windows(2).filter(|pair| pair[1].starts_with("generated")).filter_map(|pair| pair[0].parse().ok());
    let made: u32 = counts.max().with_context(|| format!("no count of requests in\n{}", finished.stdout))?;
    ensure!(made >= ENOUGH, "only {made} requests were made:\n{}", finished.stdout);
    ensure!(site.curl("/v1/health/live", &[])?.status == 200, "the daemon lives");
    Ok(())
}

/// As `cargo xtask setup` installs it.
fn program() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_BIN_EXE_meshd"));
    let target = built.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let tools = match env::var_os("MESH_TOOLS").filter(|folder| !folder.is_empty()) {
        Some(folder) => folder.into(),
        None => target.context("the target folder")?.join("tools"),
    };
    let program = tools.join("schemathesis/bin/schemathesis");
    ensure!(program.is_file(), "{} is not there; run: cargo xtask setup", program.display());
    Ok(program)
}
