//! On which machine was this measured?

use std::{fmt, fs, process::Command, thread};

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    /// Those of the instruction sets that the crypto and the checksum code can use.
    instruction_sets: Vec<String>,
    kernel: String,
    memory_mib: u64,
    /// Runnable tasks over the last minute, when the bench began.
    load: f64,
    commit: String,
}

impl Machine {
    /// What cannot be read is left empty: a bench is worth running on a machine that hides its facts.
    pub(crate) fn this() -> Self {
        let processors = read("/proc/cpuinfo");
        let flags = field(&processors, "flags", ':');
        let kept = ["aes", "avx2", "avx512f", "avx512ifma", "vaes", "sha_ni"];
        Self {
            processor: field(&processors, "model name", ':').to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            instruction_sets: flags.split(' ').filter(|flag| kept.contains(flag)).map(str::to_owned).collect(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: first_number(field(&read("/proc/meminfo"), "MemTotal", ':')).unwrap_or(0.0) as u64 / 1024,
            load: first_number(&read("/proc/loadavg")).unwrap_or(0.0),
            commit: commit(),
        }
    }
}

impl Machine {
    /// In one line, with the commit.
    pub(crate) fn name(&self) -> String {
        format!("{} x {}, kernel {}, commit {}", self.cores, self.processor, self.kernel, self.commit)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "processor  {} x {} ({})", self.cores, self.processor, self.instruction_sets.join(" "))?;
        writeln!(f, "kernel     {}, {} MiB, load {}", self.kernel, self.memory_mib, self.load)?;
        write!(f, "commit     {}", self.commit)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str, separator: char) -> &'a str {
    let value = |line: &'a str| line.split_once(separator).filter(|(key, _)| key.trim() == name);
    text.lines().find_map(value).map(|(_, value)| value.trim()).unwrap_or_default()
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn commit() -> String {
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"])
        .output();
    git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_a_kernel() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_mib > 0 && !machine.kernel.is_empty(), "{machine}");
    }
}
