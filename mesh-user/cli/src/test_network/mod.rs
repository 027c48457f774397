//! `meshctl test network`: does what is connected carry traffic, and where does it stop if not?

mod checks;
mod report;
mod site;
mod whereabouts;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};

use checks::{Extent, Run};
use report::Report;
use site::Site;

use crate::{
    daemon::{Daemon, Endpoint, RemoteEndpoint},
    exit::Failure,
    output::{Form, OutputArguments},
};

const PATIENCE: Duration = Duration::from_secs(300);
/// A check takes so long at most.
const ANSWER: Duration = Duration::from_secs(40);
/// Where `--ip` gives an address alone.
const HTTPS: u16 = 443;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Connections: pod to pod, node to pod, outside hosts, MTU, throughput, latency, both ways
    Network(Box<NetworkArguments>),
}

#[derive(Debug, Args)]
struct NetworkArguments {
    /// A daemon of the contexts file for each remote cluster that is tested from both ends
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    remote_context: Vec<String>,
    /// The same by contexts files whose current contexts are meant
    #[arg(short = 'p', long, value_name = "FILE", value_delimiter = ',')]
    remote_kubeconfigs: Vec<PathBuf>,
    /// The same by sockets
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    remote_socket: Vec<PathBuf>,
    /// Only whether packets arrive: no throughput, no MTU
    #[arg(long)]
    basic: bool,
    /// First says what each cluster knows of the others
    #[arg(long)]
    info: bool,
    /// Pod to outside hosts: this one (default port 443); without a value the IP objects of the remotes
    #[arg(long, value_name = "ADDRESS[:PORT]", num_args = 0..=1, value_parser = outside)]
    ip: Option<Vec<Option<SocketAddr>>>,
    /// Removes what was made for the test; it is always removed
    #[arg(long)]
    rm: bool,
    /// Ends with the first check that fails
    #[arg(long)]
    fail_fast: bool,
    /// What is asked of which daemon, too
    #[arg(short, long)]
    verbose: bool,
    /// Address of the test pod here, where the daemon cannot choose one
    #[arg(long, value_name = "ADDRESS")]
    pod_ip: Vec<IpAddr>,
    /// The same at the remote clusters
    #[arg(long, value_name = "ADDRESS")]
    remote_pod_ip: Vec<IpAddr>,
    /// Refused: there are no services here
    #[arg(long, hide = true)]
    pod_np: bool,
    /// Refused: there are no services here
    #[arg(long, hide = true)]
    np_ext: bool,
    /// Refused: there are no services here
    #[arg(long, hide = true, value_name = "NODES", num_args = 0..=1, default_missing_value = "all")]
    np_nodes: Option<String>,
    /// Refused: there are no services here
    #[arg(long, hide = true)]
    lb: bool,
    #[command(flatten)]
    output: OutputArguments,
}

impl Arguments {
    pub(crate) fn form(&self) -> Form {
        let What::Network(arguments) = &self.what;
        arguments.output.output.form()
    }
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    let What::Network(arguments) = &arguments.what;
    refuse_services(arguments)?;
    let form = arguments.output.output.form();
    let deadline = Instant::now() + endpoint.patience_or(PATIENCE);
    let meet = |daemon: Daemon| Site::meet(patient(daemon));
    let local = meet(endpoint.daemon()?)?;
    let remotes: Vec<Site> = remotes(endpoint, arguments)?.into_iter().map(meet).collect::<Result<_, _>>()?;
    let mut report = Report::new(form, arguments.verbose, local.id());
    let extent = Extent {
        is_basic: arguments.basic,
        wants_info: arguments.info,
        fails_fast: arguments.fail_fast,
        outside: arguments.ip.as_deref(),
        deadline,
    };
    let mut run = Run { local, remotes, extent, report: &mut report };
    let done = run.open(&arguments.pod_ip, &arguments.remote_pod_ip).and_then(|()| run.all());
    // Also what a failed run has made.
    let closed = run.close();
    done.map_err(|failure| failure.with_report(report.value())).and(closed)?;
    report.end(form)
}

fn remotes(endpoint: &Endpoint, arguments: &NetworkArguments) -> Result<Vec<Daemon>, Failure> {
    let contexts = arguments.remote_context.iter().map(|name| RemoteEndpoint::context(name));
    let files = arguments.remote_kubeconfigs.iter().map(|file| RemoteEndpoint::kubeconfig(file));
    let sockets = arguments.remote_socket.iter().map(|path| RemoteEndpoint::socket(path));
    let named = contexts.chain(files).chain(sockets).map(|remote| endpoint.remote(&remote));
    Ok(named.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// One that waits for the longest check.
fn patient(mut daemon: Daemon) -> Daemon {
    daemon.timeout = daemon.timeout.max(ANSWER);
    daemon
}

fn refuse_services(arguments: &NetworkArguments) -> Result<(), Failure> {
    let flags = [
        (arguments.pod_np, "--pod-np", "pod to pod is always tested: a NodePort is a way to a pod"),
        (arguments.np_ext, "--np-ext", "--ip ADDRESS:PORT tries a port of any host"),
        (arguments.np_nodes.is_some(), "--np-nodes", "node to pod is always tested, from the node of each daemon"),
        (arguments.lb, "--lb", "--ip ADDRESS:PORT tries the address of a load balancer from a pod"),
    ];
    match flags.iter().find(|(is_given, ..)| *is_given) {
        Some((_, flag, instead)) => Err(Failure::usage(
            format!("{flag} is about services of Kubernetes, which there are none of here"),
            *instead,
        )),
        None => Ok(()),
    }
}

/// `ADDRESS` or `ADDRESS:PORT`; IPv6 with a port in brackets.
fn outside(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, HTTPS));
    let whole = address.or_else(|_| text.parse::<SocketAddr>());
    whole.map(Some).map_err(|_| "it is an IP address, with or without :PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_hosts() {
        let read = |text: &str| outside(text).map(|host| host.unwrap().to_string());
        assert_eq!(read("192.0.2.1").unwrap(), "192.0.2.1:443");
        assert_eq!(read("192.0.2.1:80").unwrap(), "192.0.2.1:80");
        assert_eq!(read("2001:db8::1").unwrap(), "[2001:db8::1]:443");
        assert_eq!(read("[2001:db8::1]:80").unwrap(), "[2001:db8::1]:80");
        assert!(read("example.org").is_err());
    }
}
