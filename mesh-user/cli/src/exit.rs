//! How a command ends when it fails: exit code, and the message in the form that was asked for.

use std::process::ExitCode;

use mesh_core::api::{Error, ErrorReply};

use crate::Output;

/// Scripts rely on these numbers. 2 is also what the argument parser ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Unexpected = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Unreachable = 5,
    Timeout = 6,
    Permission = 7,
    Unhealthy = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: String, hint: String) -> Self {
        let code = match exit {
            Exit::Unexpected => "internal",
            Exit::Usage => "invalid",
            Exit::NotFound => "not_found",
            Exit::Conflict => "conflict",
            Exit::Unreachable => "unreachable",
            Exit::Timeout => "timeout",
            Exit::Permission => "permission",
            Exit::Unhealthy => "unhealthy",
        };
        Failure { exit, error: Error { code: code.to_owned(), message, hint } }
    }

    /// What the daemon refused.
    pub(crate) fn refused(error: Error) -> Self {
        let exit = match error.code.as_str() {
            "invalid" => Exit::Usage,
            "not_found" => Exit::NotFound,
            "conflict" => Exit::Conflict,
            "permission" => Exit::Permission,
            "unhealthy" => Exit::Unhealthy,
            _ => Exit::Unexpected,
        };
        Failure { exit, error }
    }

    pub(crate) fn unexpected(message: String) -> Self {
        Failure::new(Exit::Unexpected, message, "is meshctl of the same version as meshd?".to_owned())
    }

    pub(crate) fn render(&self, output: Output) -> String {
        match output {
            Output::Json => {
                let reply = ErrorReply { error: self.error.clone() };
                serde_json::to_string(&reply).expect("strings are JSON") + "\n"
            }
            Output::Table if self.error.hint.is_empty() => format!("error: {}\n", self.error.message),
            Output::Table => format!("error: {}\n hint: {}\n", self.error.message, self.error.hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_daemon_has_its_exit_code() {
        let exit = |code: &str| {
            let error = Error { code: code.to_owned(), message: String::new(), hint: String::new() };
            Failure::refused(error).exit as u8
        };
        let codes = ["internal", "invalid", "not_found", "conflict", "permission", "unhealthy", "new-one"];
        assert_eq!(codes.map(exit), [1, 2, 3, 4, 7, 8, 1]);
    }

    #[test]
    fn failures_are_text_or_json() {
        let failure = Failure::new(Exit::Timeout, "no answer".to_owned(), "wait".to_owned());
        assert_eq!(failure.render(Output::Table), "error: no answer\n hint: wait\n");
        let json = "{\"error\":{\"code\":\"timeout\",\"message\":\"no answer\",\"hint\":\"wait\"}}\n";
        assert_eq!(failure.render(Output::Json), json);
    }
}
