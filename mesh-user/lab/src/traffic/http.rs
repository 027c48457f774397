//! A file from nginx through curl, compared by its SHA-256.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{End, noise};
use crate::{interrupt, process};

const PORT: u16 = 8080;

/// `client` fetches `length` bytes from an nginx that `server` runs at `dial`. Returns the hash that both ends agree on.
/// `directory` is emptied of what was put there.
pub fn fetch(client: &End, server: &End, dial: IpAddr, length: usize, directory: &Path, seed: u64) -> Result<String> {
    let root = directory.join(format!("http-{seed:x}"));
    fs::create_dir_all(&root)?;
    let fetched = serve_and_fetch(client, server, dial, length, &root, seed);
    // The directory of the run goes at its end in any case.
    let _ = fs::remove_dir_all(&root);
    fetched
}

fn serve_and_fetch(client: &End, server: &End, dial: IpAddr, length: usize, root: &Path, seed: u64) -> Result<String> {
    let (file, copy) = (root.join("file"), root.join("copy"));
    fs::write(&file, noise(seed, length))?;
    let nginx = start_nginx(server, root)?;
    let url = format!("http://{}/file", SocketAddr::new(dial, PORT));
    let mut curl = client.namespace.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20"]);
    curl.args(["--interface", &client.address.to_string(), "--output"]).arg(&copy).arg(&url);
    process::output(&mut curl, Duration::from_secs(25))
        .with_context(|| format!("{} cannot fetch {url}\n{}", client.address, nginx.tail(5)))?;
    let (sent, came) = (sha256(&file)?, sha256(&copy)?);
    if sent != came {
        bail!("the file has SHA-256 {sent}, its copy {came}");
    }
    Ok(sent)
}

fn start_nginx(server: &End, root: &Path) -> Result<process::Daemon> {
    let place = root.display();
    let listen = SocketAddr::new(server.address, PORT);
    let configuration = format!(
        "daemon off; master_process off; user root; worker_processes 1; pid {place}/pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off; sendfile on;\n\
         \x20 client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;\n\
         \x20 uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
         \x20 server {{ listen {listen}; root {place}; }}\n}}\n"
    );
    let path = root.join("nginx.conf");
    fs::write(&path, configuration)?;
    let mut command = server.namespace.command("nginx");
    command.arg("-e").arg(root.join("error.log")).arg("-p").arg(root).arg("-c").arg(&path);
    let mut nginx = process::Daemon::start("nginx", command, &root.join("nginx.log"))?;
    interrupt::wait_for("nginx to listen", Duration::from_secs(5), Duration::from_millis(10), || {
        if let Some(status) = nginx.ended()? {
            bail!("nginx ended with {status}\n{}", nginx.tail(10));
        }
        Ok(server.connect(listen).is_ok().then_some(()))
    })?;
    Ok(nginx)
}

fn sha256(path: &Path) -> Result<String> {
    let printed = process::output(Command::new("sha256sum").arg(path), Duration::from_secs(10))?;
    let hash = printed.split_whitespace().next().context("sha256sum printed nothing")?;
    Ok(hash.to_owned())
}
