//! What does the operator's command say about the addresses of this node?

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mesh_core::model::Host;

/// How often a command that runs is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of an answer; a pipe holds them all.
const ANSWER_MAX: u64 = 4_096;

/// Addresses and DNS names that the command prints, separated by white space.
pub(super) fn addresses(command: &[String], patience: Duration) -> Result<Vec<Host>> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let ended = wait(&mut child, patience);
    if !matches!(&ended, Ok(Some(_))) {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    let Some(status) = ended? else { bail!("{program} did not end within {} s", patience.as_secs()) };
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    let mut text = String::new();
    let output = child.stdout.take().with_context(|| format!("{program} has no output"))?;
    output.take(ANSWER_MAX).read_to_string(&mut text).with_context(|| format!("cannot read what {program} says"))?;
    let hosts: Result<Vec<Host>, _> = text.split_whitespace().map(str::parse).collect();
    let hosts = hosts.with_context(|| format!("{program} said {text:?}"))?;
    if hosts.is_empty() {
        bail!("{program} said nothing");
    }
    Ok(hosts)
}

fn wait(child: &mut Child, patience: Duration) -> Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        let ended = child.try_wait().context("cannot wait for the command")?;
        if ended.is_some() || Instant::now() > until {
            return Ok(ended);
        }
        sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(script: &str, patience: Duration) -> Result<Vec<Host>, String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        addresses(&command, patience).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_a_command_says_and_how_it_may_fail() {
        let long = Duration::from_secs(10);
        assert_eq!(say("echo 192.0.2.1; echo gw.example", long).unwrap().len(), 2);
        for (script, expected) in [
            ("true", "/bin/sh said nothing"),
            ("echo 10.0.0.300", "said \"10.0.0.300\\n\": \"10.0.0.300\" is neither"),
            ("echo 192.0.2.1; exit 3", "ended with exit status: 3"),
        ] {
            let told = say(script, long).unwrap_err();
            assert!(told.contains(expected), "{script}: {told}");
        }
        let begin = Instant::now();
        assert!(say("exec sleep 60", Duration::from_millis(100)).unwrap_err().contains("did not end within"));
        assert!(begin.elapsed() < Duration::from_secs(5), "it is killed");
        assert!(addresses(&["/nonexistent".to_owned()], long).unwrap_err().to_string().contains("cannot run"));
    }
}
