//! A daemon that is far away: contexts with certificates, and what the roles of who asks allow.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::hub::Hub;

const SECTIONS: &str = r#"
[api]
listen = "127.0.0.1:7443"
ca = "[DIR]/ca.pem"
cert = "[DIR]/server.pem"
key = "[DIR]/server.key"
[[principal]]
name = "alice"
roles = ["admin of default"]
[[principal]]
name = "bob"
roles = ["read"]
"#;

/// Every line finds its contexts in a file of this test.
const CONTEXTS: &str = "export MESH_CONTEXTS=mine.toml; ";

/// NG-09: exit code 0, or 7 with the reason, or 5 when nobody listens any more.
#[test]
fn a_context_does_what_its_principal_may() -> Result<()> {
    let mut hub = Hub::start_with(SECTIONS, |directory| {
        authority(directory, "ca", &["server", "alice", "bob", "eve"])?;
        authority(directory, "other", &["mallory"])
    })?;
    for (name, ca) in [("alice", "ca"), ("bob", "ca"), ("eve", "ca"), ("mallory", "ca"), ("bob", "other")] {
        let context = format!("{name}-{ca}");
        let files = format!("--ca {ca}.pem --cert {name}.pem --key {name}.key");
        let line = format!("meshctl context set {context} --server https://127.0.0.1:7443 {files}");
        hub.done("default", &format!("{CONTEXTS}{line}"))?;
    }
    let cases = [
        // The first context that is set is the current one.
        ("meshctl ng create shop", 0, "was created"),
        ("meshctl --context bob-ca ng", 0, "shop"),
        ("meshctl --context bob-ca ng create other -F json", 7, "\"code\":\"permission\""),
        ("meshctl --context bob-ca ng delete shop --yes -F json", 7, "\"code\":\"permission\""),
        ("meshctl --context alice-ca ng create other -o acme -F json", 7, "\"code\":\"permission\""),
        ("meshctl --context eve-ca ng create other -F json", 7, "\"code\":\"permission\""),
        ("meshctl --context mallory-ca ng -F json", 7, "no TLS with https://127.0.0.1:7443"),
        ("meshctl --context bob-other ng -F json", 7, "no TLS with https://127.0.0.1:7443"),
        ("meshctl --context alice-ca ng whoami -F json", 3, "\"code\":\"not_found\""),
        ("meshctl context use bob-ca -o name && meshctl ng link app_1 shop -F json", 7, "\"code\":\"permission\""),
    ];
    for (line, code, expected) in cases {
        let finished = hub.shell("default", &format!("{CONTEXTS}{line}"))?;
        let is_as_expected = finished.status.code() == Some(code) && finished.stdout.contains(expected);
        ensure!(is_as_expected, "{line}: {finished:?}\n{}", hub.node.tail(20));
    }
    hub.node.terminate()?;
    let finished = hub.shell("default", &format!("{CONTEXTS}meshctl ng"))?;
    ensure!(finished.status.code() == Some(5), "{finished:?}");
    Ok(())
}

/// `NAME.pem` and `NAME.key` of each, signed by `CA.pem`.
fn authority(directory: &Path, ca: &str, names: &[&str]) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(directory.join(format!("{ca}.pem")), issuer.pem())?;
    for name in names {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, *name);
        let key = KeyPair::generate()?;
        fs::write(directory.join(format!("{name}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
