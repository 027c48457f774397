//! The command line of `mesh-wg`, and in which of its two lives it is: the one that the user starts, and the one that stays.

use std::{num::NonZeroUsize, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser};
use mesh_core::plan::DeviceName;

use super::{background, process};
use crate::{
    kernel::privileges,
    telemetry::{self, LogFormat},
};

/// One WireGuard device in user space, to be configured by wg(8).
///
/// The device lives until it is deleted or the process is ended by SIGTERM. The environment variable LOG_LEVEL says what is
/// logged: silent, error (the default), verbose or debug; LOG_LEVEL=verbose keeps standard error open in the background.
#[derive(Debug, Parser)]
#[command(name = "mesh-wg", version)]
pub struct Program {
    #[command(flatten)]
    pub arguments: Arguments,
}

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Stay in the foreground
    #[arg(short, long)]
    pub foreground: bool,
    /// Threads that carry packets, 1 to 64 [default: one per core]
    #[arg(long, value_name = "N")]
    pub shards: Option<NonZeroUsize>,
    /// Name of the device: 1 to 15 letters, digits and _=+.-
    #[arg(value_name = "IFNAME")]
    pub interface: String,
}

/// Runs until the device is gone; in the background it returns when the device answers.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let device = device_name(&arguments.interface)?;
    if !arguments.foreground {
        return background::start(arguments);
    }
    let level = LogLevel::read()?;
    telemetry::start(Some(level.filter()), LogFormat::Text)?;
    privileges::check(false).context("mesh-wg makes a network device")?;
    let caller = background::Caller::of_this_process(level);
    process::run(device, arguments.shards, caller)?;
    Ok(ExitCode::SUCCESS)
}

/// The names that wg-quick takes. The kernel takes more, some of which mean something else in a path or a shell.
fn device_name(text: &str) -> Result<DeviceName> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    let is_dots = text == "." || text == "..";
    if text.is_empty() || text.len() >= libc::IFNAMSIZ || is_dots || !text.bytes().all(is_plain) {
        bail!("{text:?} is no device name: 1 to 15 letters, digits and _=+.-");
    }
    Ok(DeviceName(text.to_owned()))
}

/// As wireguard-go has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLevel {
    Silent,
    Error,
    Verbose,
}

impl LogLevel {
    fn read() -> Result<LogLevel> {
        match std::env::var("LOG_LEVEL").as_deref() {
            Ok("silent") => Ok(LogLevel::Silent),
            Ok("verbose" | "debug") => Ok(LogLevel::Verbose),
            Ok("error" | "") | Err(_) => Ok(LogLevel::Error),
            Ok(other) => bail!("LOG_LEVEL={other}: there are silent, error, verbose and debug"),
        }
    }

    fn filter(self) -> &'static str {
        match self {
            LogLevel::Silent => "off",
            LogLevel::Error => "error",
            LogLevel::Verbose => "info,meshd=debug,mesh_core=debug",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_path_or_the_kernel_would_take_for_something_else_are_refused() {
        for name in ["wg0", "a", "mesh-cl02", "wg_0.1=+", "123456789012345"] {
            assert_eq!(device_name(name).unwrap().0, name);
        }
        for name in ["", ".", "..", "a/b", "../wg0", "wg 0", "wg%d", "1234567890123456", "wg:0", "wg\n", "wgé"] {
            assert!(device_name(name).is_err(), "{name:?}");
        }
    }
}
