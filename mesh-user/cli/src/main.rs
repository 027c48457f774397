//! `meshctl`: the command line of mesh. One file per noun; every answer comes from a daemon's socket.

mod client;
mod exit;
mod explain;
mod status;
mod table;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use client::Client;
use exit::Failure;

const SOCKET_VARIABLE: &str = "MESHD_SOCKET";
const DEFAULT_SOCKET: &str = "/run/mesh/meshd.sock";

/// Asks the meshd of a node.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 not found, 4 conflict, 5 daemon unreachable, \
    6 timeout, 7 permission, 8 unhealthy."
)]
struct Cli {
    /// The daemon's socket [default: $MESHD_SOCKET, else /run/mesh/meshd.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Seconds to wait for the daemon's answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// This node: interfaces, connections, remaps, drops, problems
    Status(status::Arguments),
    /// What would happen to a packet, stage by stage
    Explain(explain::Arguments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(text) => print(&text),
        Err(failure) => {
            eprint!("{}", failure.render(cli.output));
            failure.exit.into()
        }
    }
}

fn run(cli: &Cli) -> Result<String, Failure> {
    let socket = cli.socket.clone().or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from));
    let socket = socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    let client = Client::new(socket, Duration::from_secs(cli.timeout))?;
    match &cli.command {
        Command::Status(arguments) => status::run(&client, arguments, cli.output),
        Command::Explain(arguments) => explain::run(&client, arguments, cli.output),
    }
}

/// A reader that closes the pipe early (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    use std::io::{ErrorKind, Write as _};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => exit::Exit::Unexpected.into(),
        _ => ExitCode::SUCCESS,
    }
}
