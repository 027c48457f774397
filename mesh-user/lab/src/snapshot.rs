//! What this host holds, as text lines that can be compared before and after.
//!
//! What live labs of other processes made is left out: they come and go at their own time.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{lab, namespace, process};

/// Links, addresses, routes, rules, sysctls, namespaces, BPF programs that no process has open, pins, mounts, directories
/// and daemons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

/// How the line of a BPF program begins.
const PROGRAM: &str = "BPF program: ";

impl Snapshot {
    pub fn take() -> Result<Snapshot> {
        let mut lines = BTreeSet::new();
        for family in ["-4", "-6"] {
            for (what, arguments) in [
                ("address", &["-o", "address", "show"][..]),
                ("route", &["-d", "-o", "route", "show", "table", "all"]),
                ("rule", &["rule", "show"]),
                ("neighbour", &["-o", "neighbour", "show", "nud", "permanent"]),
            ] {
                let printed = process::output(Command::new("ip").arg(family).args(arguments), Duration::from_secs(10))?;
                lines.extend(printed.lines().map(|line| format!("{what} {family}: {}", lasting_words(line))));
            }
        }
        let links = process::output(Command::new("ip").args(["-d", "-o", "link", "show"]), Duration::from_secs(10))?;
        lines.extend(links.lines().map(|line| format!("link: {}", line.trim())));
        sysctls(Path::new("/proc/sys/net"), &mut lines);
        lines.extend(names(Path::new(namespace::DIRECTORY)).map(|name| format!("namespace: {name}")));
        let temporary = std::env::temp_dir();
        let made = names(&temporary).filter(|name| name.starts_with(lab::PREFIX));
        lines.extend(made.map(|name| format!("directory: {name}")));
        // Other processes load and drop programs as they like; what nobody has open was left by somebody.
        let open = open_bpf_programs();
        lines.extend(bpf_programs().filter(|id| !open.contains(id)).map(|id| format!("{PROGRAM}{id}")));
        mounts_and_pins(&mut lines)?;
        daemons(&mut lines);
        lines.retain(|line| !lab::is_of_another_live_run(line));
        Ok(Snapshot(lines))
    }

    /// What is there now and was not, or is not there any more, one line each.
    pub fn difference(&self, after: &Snapshot) -> Vec<String> {
        // A program that nobody had open and that is gone was being freed already.
        let gone = self.0.difference(&after.0).filter(|line| !line.starts_with(PROGRAM));
        let gone = gone.map(|line| format!("- {line}"));
        gone.chain(after.0.difference(&self.0).map(|line| format!("+ {line}"))).collect()
    }

    /// Takes snapshots until one equals this. The kernel frees namespaces and programs in the background, so it gets
    /// `patience` for that.
    pub fn expect_same(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let difference = self.difference(&Snapshot::take()?);
            if difference.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("this host is not as it was before:\n{}", difference.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A line of `ip` without the seconds that count down.
fn lasting_words(line: &str) -> String {
    let mut words = Vec::new();
    let mut all = line.split_whitespace();
    while let Some(word) = all.next() {
        match word {
            "expires" | "valid_lft" | "preferred_lft" => {
                all.next();
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}

fn sysctls(directory: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sysctls(&path, lines);
            continue;
        }
        // A counter of the kernel's, not a setting.
        if path.ends_with("nf_conntrack_count") {
            continue;
        }
        // Some can only be written; some stand for a value that was never set.
        let value = fs::read_to_string(&path).unwrap_or_else(|error| error.kind().to_string());
        lines.insert(format!("sysctl: {} = {}", path.display(), value.trim()));
    }
}

fn names(directory: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(directory).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok())
}

/// The ids of all loaded programs, by `BPF_PROG_GET_NEXT_ID` (command 11).
fn bpf_programs() -> impl Iterator<Item = u32> {
    #[repr(C)]
    struct Attributes {
        start: u32,
        next: u32,
        flags: u32,
    }
    let mut last = 0;
    std::iter::from_fn(move || {
        let mut attributes = Attributes { start: last, next: 0, flags: 0 };
        let size = size_of::<Attributes>();
        // SAFETY: the attributes are the prefix of `union bpf_attr` that this command reads and writes, and outlive the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, 11, &raw mut attributes, size) };
        (done == 0).then(|| {
            last = attributes.next;
            last
        })
    })
}

/// The ids of the programs that a process has open, itself or by a BPF link.
fn open_bpf_programs() -> BTreeSet<u32> {
    let mut open = BTreeSet::new();
    for process in processes() {
        for fd in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let kind = fs::read_link(fd.path()).unwrap_or_default();
            if !kind.to_string_lossy().contains("bpf") {
                continue;
            }
            let facts = fs::read_to_string(process.join("fdinfo").join(fd.file_name())).unwrap_or_default();
            let ids = facts.lines().filter_map(|line| line.strip_prefix("prog_id:"));
            open.extend(ids.filter_map(|id| id.trim().parse::<u32>().ok()));
        }
    }
    open
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let is_pid = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    names(Path::new("/proc")).filter(is_pid).map(|pid| Path::new("/proc").join(pid))
}

fn mounts_and_pins(lines: &mut BTreeSet<String>) -> Result<()> {
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        // Ids and device numbers differ from mount to mount: proc(5).
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(point), Some(dash)) = (words.get(4), words.iter().position(|word| *word == "-")) else { continue };
        let kind = words.get(dash + 1).copied().unwrap_or_default();
        lines.insert(format!("mount: {point} {kind}"));
        if kind == "bpf" {
            pins(Path::new(point), lines);
        }
    }
    Ok(())
}

fn pins(directory: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        lines.insert(format!("pin: {}", entry.path().display()));
        if entry.path().is_dir() {
            pins(&entry.path(), lines);
        }
    }
}

/// Running daemons of the kind that the lab starts, with their command lines (which name the run).
fn daemons(lines: &mut BTreeSet<String>) {
    for process in processes() {
        let read = |what: &str| fs::read_to_string(process.join(what)).unwrap_or_default();
        if matches!(read("comm").trim(), "meshd" | "nginx") {
            lines.insert(format!("process: {}", read("cmdline").replace('\0', " ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countdowns_are_left_out() {
        let line = "2: eth0 inet 192.0.2.1/24 scope global valid_lft 85000sec preferred_lft forever";
        assert_eq!(lasting_words(line), "2: eth0 inet 192.0.2.1/24 scope global");
    }
}
