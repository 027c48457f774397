//! `meshctl completion SHELL`: the script that a shell reads.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{Cli, exit::Failure};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// As in `meshctl completion bash > /etc/bash_completion.d/meshctl`
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "meshctl", &mut script);
    String::from_utf8(script).map_err(|error| Failure::unexpected(format!("the script is not text: {error}")))
}
