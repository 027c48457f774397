//! `cargo xtask bpf`: what do the BPF programs look like, and what do they cost?

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    bench, bpf_build,
    place::Place,
    process,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Prints the assembly of all programs
    Dump,
    /// Instructions, verifier's walk, time per packet, memory: `cargo xtask bench budget`
    Budget {
        /// `--check` holds bench/budgets.toml, `--json FILE` writes the figures
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
}

pub(crate) fn run(place: &Place, verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Dump => dump(place).map(|()| ExitCode::SUCCESS),
        Verb::Budget { arguments } => bench::start(place, &[&["budget".to_owned()], arguments.as_slice()].concat()),
    }
}

/// The linker itself writes assembly when asked: no disassembler is needed. It does so in a folder of its own, where nobody
/// looks for an object.
fn dump(place: &Place) -> Result<()> {
    setup::ensure(place, Purpose::Build)?;
    let folder = place.target_dir.join("dump");
    let mut cargo =
        bpf_build::cargo("rustc", &place.workspace, &folder, &place.tools).map_err(|reason| anyhow!(reason))?;
    process::run(cargo.args(["--quiet", "--", "-Clink-arg=--emit=asm"]))?;
    let file = bpf_build::object(&folder);
    let assembly = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    match io::stdout().write_all(code(&assembly).as_bytes()) {
        // A pager that was left early is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write the assembly"),
        _ => Ok(()),
    }
}

/// The instructions and their labels, without what is there for debuggers.
fn code(assembly: &str) -> String {
    let mut code = String::new();
    let mut for_debuggers = false;
    for line in assembly.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if word == ".section" {
            for_debuggers = [".debug", ".BTF"].iter().any(|name| line.contains(name));
        } else if word == ".text" {
            for_debuggers = false;
        }
        let mark = [".loc", ".file", ".cfi", ".Ltmp", ".Lfunc", ".ident"].iter().any(|mark| word.starts_with(mark));
        if !for_debuggers && !mark {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_kept_and_what_debuggers_read_is_not() {
        let assembly = "\
\t.section\txdp,\"ax\",@progbits
xdp_empty:
.Lfunc_begin0:
\t.loc\t11 10 5
\tr0 = 2
\texit
\t.section\t.debug_str,\"MS\",@progbits,1
\t.asciz\t\"core\"
";
        assert_eq!(code(assembly), "\t.section\txdp,\"ax\",@progbits\nxdp_empty:\n\tr0 = 2\n\texit\n");
    }
}
