//! What an operator writes: `meshd.toml` and manifests.

use mesh_core::{
    allocate::Allocations,
    model::{Intent, Manifest, Settings},
    plan::{DeviceName, NodeFacts, PublicKey, check, plan},
};

/// Settings, a line `---8<---`, and a manifest. All of it is refused with at least one problem, or becomes a plan that
/// the independent checker finds nothing wrong with.
pub fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (settings, manifest) = text.split_once("---8<---\n").unwrap_or(("", &text));
    let settings = match Settings::parse("meshd.toml", settings) {
        Ok(settings) => settings,
        Err(problems) => return assert!(!problems.0.is_empty(), "refused without a reason"),
    };
    let manifest = Manifest { file: "a.yaml".to_owned(), text: manifest.to_owned() };
    let intent = Intent {
        settings,
        manifests: vec![manifest],
        objects: Vec::new(),
        parsed: Default::default(),
        own_key: PublicKey([9; 32]),
    };
    let planned = intent.validate().and_then(|valid| plan(&valid, &facts(), &Allocations::default()));
    match planned {
        Ok((plan, _)) => assert!(check(&plan).is_empty(), "{:?}", check(&plan)),
        Err(problems) => assert!(!problems.0.is_empty(), "refused without a reason"),
    }
}

fn facts() -> NodeFacts {
    let interface = |name: &str, address: &str| (DeviceName(name.to_owned()), address.parse().into_iter().collect());
    NodeFacts {
        interfaces: [interface("pods0", "10.243.0.1/16"), interface("wan0", "192.0.2.1/24")].into(),
        ..NodeFacts::default()
    }
}
