//! `meshctl`: the command line of mesh. One file per noun; every answer comes from a daemon's API.

mod apply;
mod completion;
mod confirm;
mod context;
mod create;
mod daemon;
mod exit;
mod explain;
mod features;
mod generate;
mod info;
mod man;
mod manifest;
mod network;
mod ng;
mod objects;
mod output;
mod status;
mod table;
mod test_network;
mod top;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

use daemon::Endpoint;
use exit::{Exit, Failure};
use output::Form;

/// Drives the meshd of a node, or of a hub.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 not found, 4 conflict, 5 daemon unreachable, \
    6 timeout, 7 permission, 8 unhealthy, 9 waits for another admin's files."
)]
struct Cli {
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// This node: interfaces, connections, remaps, drops, problems
    Status(status::Arguments),
    /// What would happen to a packet, stage by stage
    Explain(explain::Arguments),
    /// Network groups: private, named, encrypted groups across nodes
    Ng(Box<ng::Arguments>),
    /// Connections between two clusters
    Network(Box<network::Arguments>),
    /// Writes what the admin of a remote cluster is to apply
    Generate(generate::Arguments),
    /// Makes an object of a connection, or prints its manifest
    Create(Box<create::Arguments>),
    /// This cluster and its remote clusters
    Info(info::Arguments),
    /// Makes what manifests say
    Apply(apply::Arguments),
    /// Objects as manifests or tables
    Get(objects::GetArguments),
    /// Deletes an object
    Delete(objects::DeleteArguments),
    /// Daemons that one knows by name
    Context(context::Arguments),
    /// What can be switched on
    Features(features::Arguments),
    /// Tries whether what should work does
    Test(Box<test_network::Arguments>),
    /// A live view of groups, peers, paths, rates and drops
    Top(top::Arguments),
    /// Writes a completion script
    Completion(completion::Arguments),
    /// Writes the manual pages
    Man(man::Arguments),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, wanted(&arguments)),
    };
    match run(&cli) {
        Ok(text) => print(&text),
        Err(failure) => fail(&failure, form(&cli.command)),
    }
}

fn run(cli: &Cli) -> Result<String, Failure> {
    let endpoint = &cli.endpoint;
    match &cli.command {
        Command::Status(arguments) => status::run(&endpoint.daemon()?, arguments),
        Command::Explain(arguments) => explain::run(&endpoint.daemon()?, arguments),
        Command::Ng(arguments) => ng::run(endpoint, arguments),
        Command::Network(arguments) => network::run(endpoint, arguments),
        Command::Generate(arguments) => generate::run(endpoint, arguments),
        Command::Create(arguments) => create::run(endpoint, arguments),
        Command::Info(arguments) => info::run(endpoint, arguments),
        Command::Apply(arguments) => apply::run(endpoint, arguments),
        Command::Get(arguments) => objects::get(&endpoint.daemon()?, arguments),
        Command::Delete(arguments) => objects::delete(&endpoint.daemon()?, arguments),
        Command::Context(arguments) => context::run(arguments),
        Command::Features(arguments) => features::run(arguments),
        Command::Test(arguments) => test_network::run(endpoint, arguments),
        Command::Top(arguments) => top::run(endpoint, arguments),
        Command::Completion(arguments) => completion::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
}

fn form(command: &Command) -> Form {
    match command {
        Command::Status(arguments) => arguments.output.output.form(),
        Command::Explain(arguments) => arguments.output.output.form(),
        Command::Ng(arguments) => arguments.format.form(),
        Command::Network(arguments) => arguments.form(),
        Command::Generate(arguments) => arguments.form(),
        Command::Create(arguments) => arguments.form(),
        Command::Info(arguments) => arguments.form(),
        Command::Apply(arguments) => arguments.output.output.form(),
        Command::Get(arguments) => arguments.form.of_failure(),
        Command::Delete(arguments) => arguments.output.output.form(),
        Command::Context(arguments) => arguments.form(),
        Command::Features(arguments) => arguments.form(),
        Command::Test(arguments) => arguments.form(),
        Command::Top(_) | Command::Completion(_) | Command::Man(_) => Form::Text,
    }
}

fn fail(failure: &Failure, form: Form) -> ExitCode {
    let text = failure.render(form);
    match form {
        Form::Text => eprint!("{text}"),
        Form::Json | Form::Yaml => {
            print(&text);
        }
    }
    failure.exit.into()
}

/// What the parser says: help and version are answers, the rest is usage.
fn refuse(error: &clap::Error, form: Form) -> ExitCode {
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_answer || form == Form::Text {
        // A closed pipe is the reader's wish.
        let _ = error.print();
        return if is_answer { ExitCode::SUCCESS } else { Exit::Usage.into() };
    }
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").trim();
    fail(&Failure::usage(message, "--help shows what there is"), form)
}

/// Which form was asked for on a line that is no command.
fn wanted(arguments: &[OsString]) -> Form {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let is_ng = words.contains(&"ng");
    let flags: &[&str] = if is_ng { &["-F", "--format"] } else { &["-o", "--output"] };
    let joined = words.windows(2).map(|pair| (pair[0], pair[1]));
    let alone = words.iter().filter_map(|word| word.split_once('='));
    let mut values = joined.chain(alone).filter(|(flag, _)| flags.contains(flag)).map(|(_, value)| value);
    match values.next_back() {
        Some("json") => Form::Json,
        Some("yaml") => Form::Yaml,
        _ => Form::Text,
    }
}

/// A reader that closes the pipe early (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    use std::io::{ErrorKind, Write as _};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Exit::Unexpected.into(),
        _ => ExitCode::SUCCESS,
    }
}
