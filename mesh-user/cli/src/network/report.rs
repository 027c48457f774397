//! What a sequence of steps says while it runs: a line for each step, and a spinner where somebody watches.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;

use crate::output::Form;

const SPINNER: [char; 8] = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Which of the two clusters a step is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    Local,
    Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What `-v` adds.
    Detail,
    Info,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) end: End,
    pub(crate) level: Level,
    pub(crate) message: String,
}

/// Lines go out at once where they are text; programs get all of them at the end.
#[derive(Debug)]
pub(crate) struct Report {
    is_text: bool,
    is_verbose: bool,
    has_terminal: bool,
    turn: usize,
    pub(crate) lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(form: Form, is_verbose: bool) -> Report {
        let is_text = form == Form::Text;
        let has_terminal = is_text && io::stderr().is_terminal();
        Report { is_text, is_verbose, has_terminal, turn: 0, lines: Vec::new() }
    }

    pub(crate) fn info(&mut self, end: End, message: impl Into<String>) {
        self.line(end, Level::Info, message.into());
    }

    pub(crate) fn detail(&mut self, end: End, message: impl Into<String>) {
        if self.is_verbose {
            self.line(end, Level::Detail, message.into());
        }
    }

    pub(crate) fn error(&mut self, end: End, message: impl Into<String>) {
        self.line(end, Level::Error, message.into());
    }

    /// Something is waited for: the spinner turns.
    pub(crate) fn turn(&mut self, end: End, what: &str) {
        if self.has_terminal {
            self.turn = (self.turn + 1) % SPINNER.len();
            // Nothing depends on it.
            let _ = write!(io::stderr(), "\r\x1b[K {}      ({end}) {what}", SPINNER[self.turn]);
        }
    }

    fn line(&mut self, end: End, level: Level, message: String) {
        let line = Line { end, level, message };
        if self.is_text {
            if self.has_terminal {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            // A reader that went away does not stop what was begun.
            let _ = writeln!(io::stdout(), "{line}");
        }
        self.lines.push(line);
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Local => "local",
            End::Remote => "remote",
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Detail => "DEBG",
            Level::Info => "INFO",
            Level::Error => "ERRO",
        };
        write!(f, " {level}   ({}) {}", self.end, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_level_and_end() {
        let mut report = Report::new(Form::Json, false);
        report.info(End::Local, "done");
        report.detail(End::Local, "not asked for");
        report.error(End::Remote, "not done");
        let lines: Vec<String> = report.lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [" INFO   (local) done", " ERRO   (remote) not done"]);
    }
}
