//! How a command ends when it fails: exit code, and the message in the form that was asked for.

use std::process::ExitCode;

use mesh_core::api::Error;
use serde::Serialize;
use serde_json::Value;

use crate::output::{Form, yaml};

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
    /// The files of another admin are not there yet.
    Waiting = 9,
}

/// [`mesh_core::api::ErrorReply`], and what was found before.
#[derive(Serialize)]
struct Shown<'a> {
    error: &'a Error,
    #[serde(flatten)]
    report: Option<&'a Value>,
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
    /// What was found before, for programs; people have read it already.
    report: Option<Value>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let code = match exit {
            Exit::Unexpected => "internal",
            Exit::Usage => "invalid",
            Exit::NotFound => "not_found",
            Exit::Conflict => "conflict",
            Exit::Unreachable => "unreachable",
            Exit::Timeout => "timeout",
            Exit::Permission => "permission",
            Exit::Unhealthy => "unhealthy",
            Exit::Waiting => "waiting",
        };
        Failure {
            exit,
            error: Error { code: code.to_owned(), message: message.into(), hint: hint.into() },
            report: None,
        }
    }

    /// What the daemon refused.
    pub(crate) fn refused(error: Error) -> Self {
        let exit = match error.code.as_str() {
            "invalid" | "wrong_scope" => Exit::Usage,
            "not_found" | "not_member" => Exit::NotFound,
            "conflict" | "already_linked" | "ambiguous" | "managed_by_file" | "exhausted" => Exit::Conflict,
            "unreachable" => Exit::Unreachable,
            "timeout" => Exit::Timeout,
            "permission" => Exit::Permission,
            "unhealthy" => Exit::Unhealthy,
            _ => Exit::Unexpected,
        };
        Failure { exit, error, report: None }
    }

    pub(crate) fn unexpected(message: impl Into<String>) -> Self {
        Failure::new(Exit::Unexpected, message, "is meshctl of the same version as meshd?")
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message, hint)
    }

    /// Something more precise than the exit code says.
    #[must_use]
    pub(crate) fn with_code(mut self, code: &str) -> Self {
        code.clone_into(&mut self.error.code);
        self
    }

    /// Where programs read, this stands beside the error.
    #[must_use]
    pub(crate) fn with_report(mut self, report: Value) -> Self {
        self.report = Some(report);
        self
    }

    /// Adds a sentence to the hint.
    #[must_use]
    pub(crate) fn and_hint(mut self, more: &str) -> Self {
        let hint = &mut self.error.hint;
        if !hint.is_empty() {
            hint.push_str("; ");
        }
        hint.push_str(more);
        self
    }

    /// Text is for standard error; the others for standard output, where the answer would have been.
    pub(crate) fn render(&self, form: Form) -> String {
        let reply = Shown { error: &self.error, report: self.report.as_ref() };
        match form {
            Form::Json => serde_json::to_string(&reply).expect("strings are JSON") + "\n",
            Form::Yaml => yaml(&reply).unwrap_or_else(|failure| failure.render(Form::Text)),
            Form::Text if self.error.hint.is_empty() => format!("error: {}\n", self.error.message),
            Form::Text => format!("error: {}\n hint: {}\n", self.error.message, self.error.hint),
        }
    }
}

impl From<mesh_client::Error> for Failure {
    fn from(error: mesh_client::Error) -> Self {
        use mesh_client::Error as Client;
        let message = error.to_string();
        match error {
            Client::Refused { error, .. } => Failure::refused(error),
            Client::Unusable { .. } => Failure::usage(message, "`meshctl context set` changes a context"),
            Client::Unreachable { .. } => {
                let hint = "start meshd, or name another with --socket, MESHD_SOCKET or --context";
                Failure::new(Exit::Unreachable, message, hint)
            }
            Client::Broken { .. } => Failure::new(Exit::Unreachable, message, "did meshd stop just now?"),
            Client::Permission { .. } => {
                let hint = "run as root, or as a member of the group of the socket";
                Failure::new(Exit::Permission, message, hint)
            }
            Client::TlsRefused { .. } => {
                let hint = "does the context's `ca` sign the daemon's certificate, and the daemon's `ca` the context's `cert`?";
                Failure::new(Exit::Permission, message, hint)
            }
            Client::Timeout { .. } => {
                Failure::new(Exit::Timeout, message, "its log may tell; `--timeout` waits longer")
            }
            Client::NotUnderstood { .. } => Failure::unexpected(message),
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
        let codes = ["wrong_scope", "not_member", "already_linked", "ambiguous", "managed_by_file", "exhausted"];
        assert_eq!(codes.map(exit), [2, 3, 4, 4, 4, 4]);
        assert_eq!(["unreachable", "timeout"].map(exit), [5, 6]);
    }

    #[test]
    fn failures_are_text_json_or_yaml() {
        let failure = Failure::new(Exit::Timeout, "no answer", "wait");
        assert_eq!(failure.render(Form::Text), "error: no answer\n hint: wait\n");
        let json = "{\"error\":{\"code\":\"timeout\",\"message\":\"no answer\",\"hint\":\"wait\"}}\n";
        assert_eq!(failure.render(Form::Json), json);
        let yaml = "error:\n  code: timeout\n  hint: wait\n  message: no answer\n";
        assert_eq!(failure.render(Form::Yaml), yaml);
        assert_eq!(failure.and_hint("or ask").error.hint, "wait; or ask");
    }
}
