//! How the program nft(8) is asked: it knows how the kernel in use wants its tables.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, Write as _},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// For one call, which takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// Puts a script in force as one transaction.
pub fn run(script: &str) -> Result<()> {
    let mut input = tempfile::tempfile().context("cannot make a temporary file for nft")?;
    input.write_all(script.as_bytes()).and_then(|()| input.rewind()).context("cannot write the script for nft")?;
    let (status, _, complaint) = call(&["-f", "-"], input.into())?;
    if !status.success() {
        bail!("nft refused the table: {}", complaint.trim());
    }
    Ok(())
}

/// A table of the family inet without its counters, as nft lists it; `None`: there is none.
pub fn listed(table: &str) -> Result<Option<String>> {
    let (status, text, complaint) = call(&["--stateless", "list", "table", "inet", table], Stdio::null())?;
    match status.success() {
        true => Ok(Some(text)),
        false if complaint.contains("No such file or directory") => Ok(None),
        false => bail!("nft cannot list the table {table}: {}", complaint.trim()),
    }
}

/// Deletes the table, if it is there.
pub fn remove(table: &str) -> Result<()> {
    run(&format!("add table inet {table}\ndelete table inet {table}\n"))
}

/// Runs nft to its end; gives what it printed and what it complained of.
fn call(arguments: &[&str], input: Stdio) -> Result<(ExitStatus, String, String)> {
    let files = || io::Result::Ok((tempfile::tempfile()?, tempfile::tempfile()?));
    let (output, complaint) = files().context("cannot make temporary files for nft")?;
    let copies = output.try_clone().and_then(|output| Ok((output, complaint.try_clone()?)));
    let (to, errors) = copies.context("cannot make temporary files for nft")?;
    let mut command = Command::new("nft");
    command.args(arguments).stdin(input).stdout(to).stderr(errors);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("there is no program nft: install the package nftables"),
        _ => anyhow::Error::from(error).context("cannot start nft"),
    })?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().context("cannot wait for nft")? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("nft did not end within {PATIENCE:?}");
            }
            None => std::thread::sleep(POLL),
        }
    };
    Ok((status, text_of(output)?, text_of(complaint)?))
}

fn text_of(mut file: File) -> Result<String> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).context("cannot read what nft printed")?;
    Ok(text)
}
