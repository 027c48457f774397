//! Which kernels mesh promises, and how a VM would be run on this machine.
//!
//! Booting them is not in yet: this prints the list and the accelerator that [`accelerator::choose`] picks.

mod accelerator;

use std::io::Write;

const KERNELS: &str = include_str!("../kernels.toml");

fn main() -> std::io::Result<()> {
    let chosen = accelerator::choose(&accelerator::Machine::read());
    let mut out = std::io::stdout().lock();
    writeln!(out, "accelerator: {chosen}")?;
    for version in versions(KERNELS) {
        writeln!(out, "kernel {version}")?;
    }
    Ok(())
}

/// The `version` values of the list, in order.
fn versions(kernels: &str) -> impl Iterator<Item = &str> {
    kernels.lines().filter_map(|line| line.strip_prefix("version = ")).map(|value| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_promised_kernel_is_listed_oldest_first() {
        assert_eq!(super::versions(super::KERNELS).collect::<Vec<_>>(), ["6.1", "6.12", "7.2"]);
    }
}
