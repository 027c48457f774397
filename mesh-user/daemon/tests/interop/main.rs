//! `mesh-wg` talks to every other WireGuard in user space: real programs, real namespaces, driven by wg(8).

mod ends;
mod nat;
mod plain;
mod renewal;
mod roaming;

/// A test for each of the others.
macro_rules! for_each_rival {
    ($($test:ident),+ $(,)?) => {
        mod wireguard_go {
            $(#[test] fn $test() { super::$test(mesh_lab::wireguard::Program::WireguardGo).unwrap(); })+
        }
        mod boringtun_cli {
            $(#[test] fn $test() { super::$test(mesh_lab::wireguard::Program::BoringtunCli).unwrap(); })+
        }
        mod gotatun {
            $(#[test] fn $test() { super::$test(mesh_lab::wireguard::Program::Gotatun).unwrap(); })+
        }
    };
}
use for_each_rival;
