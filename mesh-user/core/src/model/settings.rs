//! What `meshd.toml` says.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::{
    cluster::{Cluster, Wish},
    prefix,
    problem::{Problem, Problems},
};
use crate::{
    plan::{Attachment, DeviceName, HookChoice, InterfaceRole},
    tunnel::MAX_LANES,
};

const DEFAULT_EXTERNAL: &str = "10.70.0.0/16";
const DEFAULT_POOLS: [&str; 4] = ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fd00::/8"];
/// Bytes of an interface name in Linux (`IFNAMSIZ` less the final zero).
const DEVICE_NAME_MAX: usize = 15;

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file they came from, for messages.
    pub file: String,
    pub cluster: Cluster,
    pub interfaces: BTreeMap<DeviceName, Attachment>,
    pub directories: Directories,
    /// In the format of wg(8); made at first start.
    pub private_key_file: PathBuf,
    /// Threads that carry tunnelled packets; `None`: one for each core.
    pub shards: Option<NonZeroUsize>,
    /// Level of the log lines of the BPF programs: off unless asked.
    pub log_bpf: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    pub manifests: PathBuf,
    pub state: PathBuf,
    pub run: PathBuf,
    pub pins: PathBuf,
    pub uapi: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster_id: Spanned<String>,
    private_key_file: Option<PathBuf>,
    #[serde(default = "default_manifest_dir")]
    manifest_dir: PathBuf,
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default = "default_run_dir")]
    run_dir: PathBuf,
    #[serde(default = "default_pin_dir")]
    pin_dir: PathBuf,
    #[serde(default = "default_uapi_dir")]
    uapi_dir: PathBuf,
    shards: Option<Spanned<usize>>,
    #[serde(default)]
    log_bpf: bool,
    cidr: CidrSection,
    #[serde(default)]
    interface: Vec<InterfaceSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CidrSection {
    pod: Vec<Spanned<String>>,
    #[serde(default)]
    service: Vec<Spanned<String>>,
    external: Option<Vec<Spanned<String>>>,
    internal: Option<Vec<Spanned<String>>>,
    pools: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    reserved: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceSection {
    name: Spanned<String>,
    role: RoleWord,
    #[serde(default)]
    hook: HookWord,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RoleWord {
    Workload,
    Underlay,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HookWord {
    #[default]
    Auto,
    Xdp,
    XdpGeneric,
    Tcx,
    Off,
}

impl Settings {
    /// Reads the text of `file`; a problem of form ends the reading, problems of content are collected.
    pub fn parse(file: &str, text: &str) -> Result<Settings, Problems> {
        let mut reading = Reading { file, text, problems: Problems::default() };
        let parsed: File = match toml::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let hint = "correct the line; docs/operations.md lists all settings".to_owned();
                let line = error.span().map(|span| reading.line(span.start));
                reading.report(line, "", error.message().to_owned(), hint);
                return Err(reading.problems);
            }
        };
        let interfaces = reading.interfaces(&parsed.interface);
        let shards = parsed.shards.as_ref().and_then(|shards| reading.shards(shards));
        let cluster = reading.cluster(&parsed);
        let key_beside_state = parsed.state_dir.join("private.key");
        let settings = cluster.map(|cluster| Settings {
            file: file.to_owned(),
            cluster,
            interfaces,
            directories: Directories {
                manifests: parsed.manifest_dir,
                state: parsed.state_dir,
                run: parsed.run_dir,
                pins: parsed.pin_dir,
                uapi: parsed.uapi_dir,
            },
            private_key_file: parsed.private_key_file.unwrap_or(key_beside_state),
            shards,
            log_bpf: parsed.log_bpf,
        });
        match settings {
            Some(settings) => reading.problems.or(settings),
            None => Err(reading.problems),
        }
    }
}

struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    problems: Problems,
}

impl Reading<'_> {
    fn report(&mut self, line: Option<usize>, path: &str, message: String, hint: String) {
        self.problems.0.push(problem(self.file, line, path, message, hint));
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }

    fn shards(&mut self, shards: &Spanned<usize>) -> Option<NonZeroUsize> {
        if !(1..=MAX_LANES).contains(shards.get_ref()) {
            let line = Some(self.line(shards.span().start));
            let hint = format!("write 1 to {MAX_LANES}, or leave it out: one for each core");
            self.report(line, "shards", format!("{} shards", shards.get_ref()), hint);
        }
        NonZeroUsize::new(*shards.get_ref())
    }

    fn cluster(&mut self, file: &File) -> Option<Cluster> {
        let line = self.line(file.cluster_id.span().start);
        let id = file.cluster_id.get_ref().parse();
        if let Err(error) = &id {
            let hint = "choose a short name that is unique among the connected clusters";
            self.report(Some(line), "cluster_id", format!("{error}"), hint.to_owned());
        }
        let cidr = &file.cidr;
        let cluster = Cluster {
            pod: self.cidrs("cidr.pod", &cidr.pod),
            service: self.cidrs("cidr.service", &cidr.service),
            external: self.wish("cidr.external", cidr.external.as_deref(), &[DEFAULT_EXTERNAL]),
            internal: self.wish("cidr.internal", cidr.internal.as_deref(), &[]),
            pools: self.wish("cidr.pools", cidr.pools.as_deref(), &DEFAULT_POOLS).cidrs,
            reserved: self.cidrs("cidr.reserved", &cidr.reserved),
            id: id.ok()?,
        };
        let file = self.file;
        let problems = cluster.problems(|path, message, hint| problem(file, None, path, message, hint.to_owned()));
        self.problems.0.extend(problems);
        Some(cluster)
    }

    fn wish(&mut self, path: &str, given: Option<&[Spanned<String>]>, default: &[&str]) -> Wish {
        match given {
            Some(list) => Wish { cidrs: self.cidrs(path, list), given: true },
            None => {
                let cidrs = default.iter().map(|text| text.parse().expect("the defaults above are CIDRs")).collect();
                Wish { cidrs, given: false }
            }
        }
    }

    fn cidrs(&mut self, path: &str, list: &[Spanned<String>]) -> Vec<IpNet> {
        let mut nets = Vec::new();
        for text in list {
            match prefix::parse_cidr(text.get_ref()) {
                Ok(net) => nets.push(net),
                Err((message, hint)) => self.report(Some(self.line(text.span().start)), path, message, hint),
            }
        }
        nets
    }

    fn interfaces(&mut self, sections: &[InterfaceSection]) -> BTreeMap<DeviceName, Attachment> {
        let mut interfaces = BTreeMap::new();
        for section in sections {
            let line = Some(self.line(section.name.span().start));
            let name = section.name.get_ref();
            if name.is_empty() || name.len() > DEVICE_NAME_MAX || name.contains(['/', ' ', ':']) {
                let hint = format!("write a name as 'ip link' shows it, 1 to {DEVICE_NAME_MAX} bytes");
                self.report(line, "interface.name", format!("{name:?} is no interface name"), hint);
            }
            let attachment = Attachment { role: section.role.role(), hook: section.hook.choice() };
            if interfaces.insert(DeviceName(name.clone()), attachment).is_some() {
                self.report(
                    line,
                    "interface.name",
                    format!("{name} stands twice"),
                    "keep one section for it".to_owned(),
                );
            }
        }
        interfaces
    }
}

impl RoleWord {
    fn role(&self) -> InterfaceRole {
        match self {
            RoleWord::Workload => InterfaceRole::Workload,
            RoleWord::Underlay => InterfaceRole::Underlay,
        }
    }
}

impl HookWord {
    fn choice(&self) -> HookChoice {
        match self {
            HookWord::Auto => HookChoice::Auto,
            HookWord::Xdp => HookChoice::Xdp,
            HookWord::XdpGeneric => HookChoice::XdpGeneric,
            HookWord::Tcx => HookChoice::Tcx,
            HookWord::Off => HookChoice::Off,
        }
    }
}

fn problem(file: &str, line: Option<usize>, path: &str, message: String, hint: String) -> Problem {
    Problem { file: file.to_owned(), line, object: None, path: path.to_owned(), message, hint }
}

fn default_manifest_dir() -> PathBuf {
    "/etc/mesh/manifests".into()
}

fn default_state_dir() -> PathBuf {
    "/var/lib/mesh".into()
}

fn default_run_dir() -> PathBuf {
    "/run/mesh".into()
}

fn default_pin_dir() -> PathBuf {
    "/sys/fs/bpf/mesh".into()
}

fn default_uapi_dir() -> PathBuf {
    "/var/run/wireguard".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "cluster_id = \"cl01\"\n[cidr]\npod = [\"10.243.0.0/16\"]\n";

    fn refused(text: &str) -> String {
        Settings::parse("meshd.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn defaults() {
        let settings = Settings::parse("meshd.toml", GOOD).unwrap();
        assert_eq!(settings.cluster.id.as_str(), "cl01");
        assert_eq!(settings.cluster.external.cidrs[0].to_string(), DEFAULT_EXTERNAL);
        assert!(!settings.cluster.external.given && settings.interfaces.is_empty() && !settings.log_bpf);
        assert_eq!(settings.directories.run, PathBuf::from("/run/mesh"));
        assert_eq!(settings.private_key_file, PathBuf::from("/var/lib/mesh/private.key"));
    }

    #[test]
    fn the_number_of_shards_is_given_or_left_to_the_cores() {
        let shards = |line: &str| Settings::parse("meshd.toml", &format!("{line}\n{GOOD}")).map(|s| s.shards);
        assert_eq!(shards("shards = 3").unwrap(), NonZeroUsize::new(3));
        assert_eq!(shards("").unwrap(), None);
        for bad in ["shards = 0", "shards = 65"] {
            let refused = shards(bad).unwrap_err().to_string();
            assert!(refused.starts_with("meshd.toml:1: shards:"), "{refused}");
        }
    }

    #[test]
    fn interfaces_have_role_and_hook() {
        let text = format!("{GOOD}[[interface]]\nname = \"pods0\"\nrole = \"workload\"\nhook = \"xdp-generic\"\n");
        let settings = Settings::parse("meshd.toml", &text).unwrap();
        let expected = Attachment { role: InterfaceRole::Workload, hook: HookChoice::XdpGeneric };
        assert_eq!(settings.interfaces[&DeviceName("pods0".into())], expected);
    }

    #[test]
    fn refusals_name_the_line() {
        assert!(
            refused("cluster_id = \"a\"\nspeed = 9\n[cidr]\npod = []\n")
                .starts_with("meshd.toml:2: unknown field `speed`")
        );
        assert!(
            refused(&GOOD.replace("0.0/16", "1.0/16"))
                .starts_with("meshd.toml:3: cidr.pod: 10.243.1.0/16 has host bits")
        );
        let overlapping = format!("{GOOD}pools = [\"10.0.0.0/8\", \"10.4.0.0/16\"]\n");
        assert!(refused(&overlapping).contains("pools 10.0.0.0/8 and 10.4.0.0/16 overlap"));
        let clash = format!("{GOOD}external = [\"10.243.1.0/24\"]\n");
        assert!(refused(&clash).contains("10.243.1.0/24 overlaps pod 10.243.0.0/16"));
        assert!(refused("cluster_id = \"A\"\n[cidr]\npod = [\"10.243.0.0/33\"]\n").lines().count() == 2);
    }
}
