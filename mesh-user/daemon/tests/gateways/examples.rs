//! Every file of docs/examples/networking is applied to a daemon, and is in force then.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    link::{self, Port},
    node::Node,
};

use crate::site::programs;

/// What the examples speak of.
const SETTINGS: &str = "cluster_id = \"cl01\"\nnode_id = \"hv-a\"\n[cidr]\npod = [\"10.243.0.0/16\"]\n\
    [[interface]]\nname = \"pods0\"\nrole = \"workload\"\nhook = \"off\"\n\
    [[interface]]\nname = \"und0\"\nrole = \"underlay\"\nhook = \"off\"\n";
const EXAMPLES: [&str; 6] =
    ["default", "direct", "high-availability", "overridetargetport", "pingdisabled", "selector"];

#[test]
fn examples_are_applied() -> Result<()> {
    let lab = Lab::new()?;
    let (gateway, wire) = (lab.namespace("gw")?, lab.namespace("wire")?);
    for (device, address) in [("pods0", "10.243.0.1/24"), ("und0", "192.0.2.1/24")] {
        link::veth(Port::new(&gateway, device), Port::new(&wire, device))?;
        link::address(Port::new(&gateway, device), &[address])?;
    }
    let mut node = Node::new(&lab, "gw", &gateway, &programs()?)?;
    node.configure(SETTINGS)?;
    for remote in 2..=8 {
        let text = format!(
            "apiVersion: networking.liqo.io/v1beta1\nkind: Configuration\nmetadata:\n  name: cl0{remote}\n  labels:\n    \
             liqo.io/remote-cluster-id: cl0{remote}\nspec:\n  remote:\n    cidr: {{ pod: 10.{remote}.0.0/16, external: 10.7{remote}.0.0/16 }}\n"
        );
        node.put_manifest(&format!("cl0{remote}"), &text)?;
    }
    node.start()?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/networking");
    let mut files: Vec<_> =
        fs::read_dir(&directory)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    files.sort();
    let stem = |path: &std::path::PathBuf| {
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    for name in EXAMPLES {
        ensure!(files.iter().any(|file| stem(file) == name), "there is no {name}.yaml");
    }
    for file in files.iter().filter(|file| EXAMPLES.contains(&stem(file).as_str())) {
        let applied = node.meshctl(&["apply", "-f", &file.display().to_string()])?;
        ensure!(applied.status.success(), "{}: {}{}", file.display(), applied.stdout, applied.stderr);
    }
    let status = node.status()?;
    ensure!(status.problems.is_empty(), "{:?}", status.problems);
    let shown = node.meshctl(&["get", "gatewayservers", "-A", "-o", "json"])?;
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).context("JSON")?;
    let endpoint = |name: &str| {
        let items = shown["items"].as_array().or(shown["objects"].as_array())?;
        let found = items.iter().find(|item| item["metadata"]["name"] == name)?;
        Some((
            found["status"]["endpoint"]["addresses"][0].as_str()?.to_owned(),
            found["status"]["endpoint"]["port"].as_u64()?,
        ))
    };
    let expect = |name: &str, address: &str, port: u64| {
        let told = endpoint(name);
        ensure!(told == Some((address.to_owned(), port)), "{name}: {told:?} in {shown:#}");
        Ok(())
    };
    expect("two-nodes", "192.0.2.1", 51_844)?;
    expect("pingdisabled", "192.0.2.1", 51_846)?;
    expect("selector", "192.0.2.1", 51_847)?;
    expect("target-port", "198.51.100.8", 51_840)?;
    let (address, port) = endpoint("default-server").context("the default server has an endpoint")?;
    ensure!(address == "192.0.2.1" && (30_000..=32_767).contains(&port), "{address} {port}");
    let direct = node.status()?.connection("cl09")?.kind.clone();
    ensure!(direct == "Direct", "{direct}");
    Ok(())
}
