//! `meshctl man DIR`: the manual pages, one a verb, made from the same definitions as the parser.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};

use crate::{
    Cli,
    exit::{Exit, Failure},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let directory = &arguments.directory;
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| {
        Failure::new(Exit::Unexpected, format!("cannot write pages to {}: {error}", directory.display()), "")
    })?;
    Ok(format!("Written to {}; `man meshctl` begins.\n", directory.display()))
}
