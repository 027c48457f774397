//! A daemon that is killed (SIGKILL) while it takes many objects has all of them or none when it comes back.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};

use crate::site::{Site, all, configuration};

const ROUNDS: u32 = 6;
const COUNT: usize = 40;

#[test]
fn all_or_nothing() -> Result<()> {
    let mut site = Site::start()?;
    let mut there = 0;
    for round in 0..ROUNDS {
        let remote = |number: usize| format!("r{round}-{number}");
        let pod = |number: usize| format!("10.{}.{number}.0/24", 100 + round);
        let one = |number: usize| configuration(&remote(number), &pod(number)).replace("10.70.0.0/16", "10.70.0.0/24");
        let text = all(&(0..COUNT).map(one).collect::<Vec<_>>());
        let mut command = site.namespace.command("curl");
        command.args(["--silent", "--max-time", "10", "--header", "Content-Type: application/yaml", "--unix-socket"]);
        let command = command.arg(site.node.socket()).args(["--data-binary", &text, "http://mesh/v1/apply"]);
        let mut asking = command.stdout(std::process::Stdio::null()).spawn()?;
        sleep(Duration::from_millis(u64::from(round) * 12));
        site.node.kill()?;
        asking.wait()?;
        site.node.start()?;
        let now = site.objects("configurations")?.len();
        ensure!(now == there || now == there + COUNT, "{now} after {there}");
        there = now;
    }
    Ok(())
}
