//! Requests made at random from the description: whatever is sent, the reply is one that is described, and never 5xx.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::process;

use crate::site::{SERVER, Site};

/// Seconds of requests; the daemon and the reports come on top.
const BUDGET: &str = "60";
const PATIENCE: Duration = Duration::from_secs(150);
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method";

#[test]
fn nothing_is_answered_with_5xx() -> Result<()> {
    let site = Site::start()?;
    let name = |name: &str| site.file(name).display().to_string();
    let mut command = site.namespace.command(program()?);
    command.args(["run", &format!("{SERVER}/v1/openapi.json"), "--url", SERVER]);
    command.args(["--request-cert", &name("everything.pem"), "--request-cert-key", &name("everything.key")]);
    command.args(["--tls-verify", &name("ca.pem")]);
    // An event stream does not end.
    command.args(["--exclude-path-regex", "watch$", "--checks", CHECKS, "--max-time", BUDGET, "--seed", "4"]);
    command.args(["--generation-database", "none", "--request-timeout", "10", "--no-color", "--no-shrink"]);
    // The folder of its hypotheses and reports is that of the test.
    command.current_dir(site.file(""));
    let finished = process::finish(&mut command, PATIENCE)?;
    ensure!(finished.status.success(), "{}\n{}\n{}", finished.stdout, finished.stderr, site.node.tail(20));
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
