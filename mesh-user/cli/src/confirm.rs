//! Whether somebody really wants what cannot be undone.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;

use crate::exit::Failure;

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Confirmation {
    /// Answers every question
    #[arg(short, long, visible_alias = "skip-confirm")]
    yes: bool,
}

impl Confirmation {
    pub(crate) fn is_given(self) -> bool {
        self.yes
    }

    /// Asks at the terminal. `consequence` is a sentence of what will happen.
    pub(crate) fn ask(self, consequence: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let message = format!("there is no terminal to ask at, and nothing was changed: {consequence}");
            return Err(Failure::usage(message, "--yes goes on without a question"));
        }
        eprint!("{consequence}\nGo on? [y/N] ");
        let mut answer = String::new();
        let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
        read.map_err(|error| Failure::unexpected(format!("cannot read the answer: {error}")))?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::usage("not confirmed: nothing was changed", ""))
    }
}
