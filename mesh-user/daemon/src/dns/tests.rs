//! Do the clients that people use get their answers, in network namespaces of their own?

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_core::{
    dns::LocalGroups,
    model::{DnsSettings, group::DomainName},
    registry::{Group, Revision, Stored},
};
use mesh_lab::{Lab, Namespace, process};
use serde_json::json;
use tokio::sync::watch;

use super::{Server, resolved::Resolver, serve, streams};

const ID: &str = "ng_11111111-1111-4111-8111-111111111111";
const SUFFIX: &str = "cc-ng.cloud";
const SERVER: &str = "127.0.0.153";
const PATIENCE: Duration = Duration::from_secs(8);

fn stored<T: serde::de::DeserializeOwned>(object: serde_json::Value) -> Stored<T> {
    Stored { modified: Revision(1), object: Arc::new(serde_json::from_value(object).unwrap()) }
}

/// Members with the addresses of their peers, `p1`, `p2` and so on.
fn group(label: &str, members: &[(&str, &[&str])]) -> Arc<Group> {
    let member = |(id, _): &(&str, &[&str])| {
        let domain = if *id == "app_own" { format!("shop.{SUFFIX}") } else { format!("{id}.m.{ID}.{SUFFIX}") };
        (id.parse().unwrap(), stored(json!({ "id": id, "kind": "APPLICATION", "domainName": domain })))
    };
    let all = members.iter().flat_map(|(id, addresses)| addresses.iter().map(move |address| (id, address)));
    let peer = |(number, (parent, address)): (usize, (&&str, &&str))| {
        let id = format!("p{number}");
        let peer = json!({
            "type": "CleverPeer", "id": id, "hostname": "h", "parentMember": parent,
            "publicKey": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
            "endpoint": { "type": "ClientEndpoint", "ngIp": address },
        });
        (id.parse().unwrap(), stored(peer))
    };
    let network = stored(json!({
        "id": ID, "ownerId": "default", "label": label, "scope": "workloads",
        "networkIp": "10.105.0.0/16", "lastAllocatedIp": "10.105.0.9", "version": 1,
    }));
    let members = members.iter().map(member).collect();
    let peers = (1..).zip(all).map(peer).collect();
    Arc::new(Group::new(network, members, peers, BTreeMap::new()))
}

fn shop() -> Arc<Group> {
    let web: &[&str] = &["10.105.0.5", "10.105.0.6", "10.105.0.7", "fd00:105::5"];
    group("shop", &[("app_web", web), ("postgresql_db", &[]), ("app_own", &["10.105.0.8"])])
}

fn settings() -> DnsSettings {
    let listen = vec![format!("{SERVER}:53").parse().unwrap()];
    DnsSettings { enabled: true, listen, forward: Vec::new(), ttl: 5, register: false }
}

fn nobody() -> Resolver {
    Resolver { directory: "/nonexistent".into(), program: "resolvectl".into(), reachable: false }
}

/// A server in a namespace; `groups` is what the agent would say.
struct Host {
    namespace: Namespace,
    groups: watch::Sender<Arc<LocalGroups>>,
    server: Server,
}

impl Host {
    fn start(namespace: &Namespace, settings: &DnsSettings, suffix: &str, resolver: Resolver) -> Host {
        let (groups, reader) = watch::channel(Arc::default());
        let suffixes: [DomainName; 1] = [suffix.parse().unwrap()];
        let server = namespace.enter(|| serve(settings, &suffixes, reader, resolver)).unwrap();
        Host { namespace: namespace.clone(), groups, server }
    }

    fn with_groups(lab: &Lab, settings: &DnsSettings, groups: Vec<Arc<Group>>) -> Host {
        let host = Host::start(&lab.namespace("host").unwrap(), settings, SUFFIX, nobody());
        host.publish([(None, groups)]);
        eventually("the server answers", || dig(&host.namespace, &[SUFFIX, "soa", "+short"]).contains("hostmaster"));
        host
    }

    fn publish<const N: usize>(&self, by_netns: [(Option<PathBuf>, Vec<Arc<Group>>); N]) {
        self.groups.send_replace(Arc::new(LocalGroups { by_netns: by_netns.into() }));
    }

    fn notices(&self) -> Vec<String> {
        self.server.notices().borrow().clone()
    }

    fn dig(&self, arguments: &[&str]) -> String {
        dig(&self.namespace, arguments)
    }
}

fn dig(namespace: &Namespace, arguments: &[&str]) -> String {
    let server = format!("@{SERVER}");
    let common = [&server, "+tries=1", "+time=2", "+nocookie"];
    let mut command = namespace.command("dig");
    process::finish(command.args(common).args(arguments), PATIENCE).unwrap().stdout
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn name(label: &str) -> String {
    format!("{label}.shop.{SUFFIX}")
}

/// NG-17, NG-16, NG-20, NG-18
#[test]
fn dig_gets_members_peers_chosen_names_and_what_is_not_there() {
    let lab = Lab::new().unwrap();
    let host = Host::with_groups(&lab, &settings(), vec![shop()]);
    let web = name("app_web.m");
    for transport in ["+notcp", "+tcp"] {
        let short = |what: &str, kind| host.dig(&[transport, "+short", what, kind]);
        assert_eq!(lines(&short(&web, "a")), ["10.105.0.5", "10.105.0.6", "10.105.0.7"]);
        assert_eq!(lines(&short(&web, "aaaa")), ["fd00:105::5"]);
        assert_eq!(lines(&short(&format!("app_web.m.{ID}.{SUFFIX}"), "a")).len(), 3);
        assert_eq!(lines(&short(&name("p2.p"), "a")), ["10.105.0.6"]);
        assert_eq!(lines(&short(&format!("shop.{SUFFIX}"), "a")), ["10.105.0.8"]);
        let stopped = host.dig(&[transport, &name("postgresql_db.m"), "a"]);
        assert!(
            stopped.contains("status: NOERROR") && stopped.contains("ANSWER: 0") && stopped.contains("SOA"),
            "{stopped}"
        );
        let unknown = host.dig(&[transport, &name("app_none.m"), "a"]);
        assert!(unknown.contains("status: NXDOMAIN") && unknown.contains("SOA"), "{unknown}");
        let refused = host.dig(&[transport, "example.org", "a"]);
        assert!(refused.contains("status: REFUSED"), "{refused}");
    }
    let firsts: Vec<_> = (0..3).map(|_| host.dig(&["+short", &web, "a"]).lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines(&firsts.join("\n")), ["10.105.0.5", "10.105.0.6", "10.105.0.7"], "each is the first in turn");
    let chaos = host.dig(&["version.bind", "txt", "ch"]);
    assert!(chaos.contains("status: REFUSED"), "{chaos}");
    let transfer = host.dig(&[SUFFIX, "axfr"]);
    assert!(transfer.contains("Transfer failed"), "{transfer}");
}

#[test]
fn dig_falls_back_to_tcp_where_an_answer_is_long() {
    let lab = Lab::new().unwrap();
    let addresses: Vec<_> = (0..300).map(|n| format!("10.105.{}.{}", n / 250, 1 + n % 250)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let host = Host::with_groups(&lab, &settings(), vec![group("shop", &[("app_web", &addresses)])]);
    let web = name("app_web.m");
    let whole = host.dig(&[&web, "a"]);
    assert!(whole.contains("ANSWER: 300") && whole.contains("(TCP)"), "{whole}");
    for (edns, limit) in [("+noedns", 512), ("+bufsize=900", 900), ("+bufsize=4096", 1_232)] {
        let cut = host.dig(&["+ignore", edns, &web, "a"]);
        let size: usize =
            cut.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: ")).unwrap().parse().unwrap();
        assert!(cut.contains(" tc ") && size <= limit && size > limit - 16, "{cut}");
    }
    let version = host.dig(&["+edns=1", "+noednsneg", SUFFIX, "soa"]);
    assert!(version.contains("status: BADVERS"), "{version}");
}

/// NG-17: through glibc's resolver, as programs ask.
#[test]
fn the_system_resolver_finds_members() {
    let lab = Lab::new().unwrap();
    let host = Host::with_groups(&lab, &settings(), vec![shop()]);
    let resolv = lab.directory().join("resolv.conf");
    fs::write(&resolv, format!("nameserver {SERVER}\noptions timeout:2 attempts:1\n")).unwrap();
    let nsswitch = lab.directory().join("nsswitch.conf");
    fs::write(&nsswitch, "hosts: files dns\n").unwrap();
    let lookup = |database: &str, name: &str| {
        let script = format!(
            "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && getent {database} {name}",
            resolv.display(),
            nsswitch.display()
        );
        let mut command = host.namespace.command("unshare");
        process::finish(command.args(["--mount", "--propagation", "private", "sh", "-c", &script]), PATIENCE).unwrap()
    };
    let found = lookup("ahosts", &name("app_web.m"));
    let streams = found.stdout.lines().filter(|line| line.contains("STREAM"));
    let addresses = streams.map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&addresses), ["10.105.0.5", "10.105.0.6", "10.105.0.7", "fd00:105::5"], "{found:?}");
    assert_eq!(lookup("ahosts", &name("postgresql_db.m")).status.code(), Some(2));
}

/// NG-16: names follow what runs.
#[test]
fn a_peer_that_starts_or_stops_is_there_or_gone_with_the_next_question() {
    let lab = Lab::new().unwrap();
    let host = Host::with_groups(&lab, &settings(), vec![shop()]);
    for addresses in [&["10.105.1.1"][..], &[], &["10.105.1.2", "10.105.1.3"]] {
        host.publish([(None, vec![group("shop", &[("app_web", addresses)])])]);
        eventually("the change is seen", || lines(&host.dig(&["+short", &name("app_web.m"), "a"])) == addresses);
    }
    host.publish([(None, Vec::new())]);
    eventually("the group is gone", || host.dig(&[&name("app_web.m"), "a"]).contains("NXDOMAIN"));
}

#[test]
fn each_namespace_with_an_instance_has_a_server_that_knows_its_groups_alone() {
    let lab = Lab::new().unwrap();
    let host = Host::with_groups(&lab, &settings(), vec![shop()]);
    let other = group("other", &[("app_in", &["10.9.0.5"])]);
    let inside_name = format!("app_in.m.other.{SUFFIX}");
    for round in 0..2 {
        let inside = lab.namespace("inside").unwrap();
        let path = inside.path();
        host.publish([(None, vec![shop()]), (Some(path.clone()), vec![Arc::clone(&other)])]);
        eventually("it is answered inside", || dig(&inside, &["+short", &inside_name, "a"]) == "10.9.0.5\n");
        assert_eq!(dig(&inside, &["+tcp", "+short", &inside_name, "a"]), "10.9.0.5\n");
        assert!(dig(&inside, &[&name("app_web.m"), "a"]).contains("NXDOMAIN"), "round {round}");
        assert!(host.dig(&[&inside_name, "a"]).contains("NXDOMAIN"));
        // Gone and made again under the same path, with the same groups: the server follows.
        drop(inside);
        eventually("its name is gone", || !path.exists());
    }
    assert_eq!(host.notices(), Vec::<String>::new());
    assert_eq!(lines(&host.dig(&["+short", &name("app_web.m"), "a"])).len(), 3);
}

#[test]
fn other_names_are_asked_of_the_servers_that_are_named() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("host").unwrap();
    let listen = |address: &str| DnsSettings { listen: vec![address.parse().unwrap()], ..settings() };
    let upstream = Host::start(&namespace, &listen("127.0.0.1:5301"), "example.org", nobody());
    let addresses: Vec<_> = (0..200).map(|n| format!("10.7.0.{n}")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    upstream.publish([(None, vec![group("web", &[("app_web", &["10.7.0.5"]), ("app_crowd", &addresses)])])]);
    // Nobody listens at the first one.
    let forward = ["127.0.0.1:5302", "127.0.0.1:5301"].map(|server| server.parse().unwrap()).to_vec();
    let host = Host::start(&namespace, &DnsSettings { forward, ..settings() }, SUFFIX, nobody());
    host.publish([(None, vec![shop()])]);
    eventually("it answers for others", || host.dig(&["+short", "app_web.m.web.example.org", "a"]) == "10.7.0.5\n");
    let crowd = host.dig(&["app_crowd.m.web.example.org", "a"]);
    assert!(crowd.contains("ANSWER: 200") && crowd.contains("(TCP)"), "{crowd}");
    assert!(host.dig(&["app_none.m.web.example.org", "a"]).contains("NXDOMAIN"));
    assert_eq!(lines(&host.dig(&["+short", &name("app_web.m"), "a"])).len(), 3);
    drop(upstream);
    eventually("nobody answers", || host.dig(&["app_web.m.web.example.org", "a"]).contains("SERVFAIL"));
}

#[test]
fn rubbish_is_no_reason_to_stop() {
    let lab = Lab::new().unwrap();
    let host = Host::with_groups(&lab, &settings(), vec![shop()]);
    host.namespace
        .enter(|| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            for length in 0..600usize {
                let rubbish: Vec<u8> = (0..length).map(|at| (at * 31 + length * 17) as u8).collect();
                socket.send_to(&rubbish, (SERVER, 53))?;
            }
            for rubbish in
                [&[0, 0][..], &[0, 3, 1, 2, 3], &[0xff, 0xff, 1], &[0, 12, 0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
            {
                let mut stream = TcpStream::connect((SERVER, 53))?;
                stream.write_all(rubbish)?;
            }
            Ok(())
        })
        .unwrap();
    for transport in ["+tcp", "+notcp"] {
        assert_eq!(lines(&host.dig(&[transport, "+short", &name("app_web.m"), "a"])).len(), 3);
    }
}

#[test]
fn connections_are_limited_and_idle_ones_end() {
    let lab = Lab::new().unwrap();
    let host = Host::with_groups(&lab, &settings(), vec![shop()]);
    let held = host.namespace.enter(|| {
        let connect = |_| Ok(TcpStream::connect((SERVER, 53))?);
        (0..streams::CONNECTIONS).map(connect).collect::<anyhow::Result<Vec<_>>>()
    });
    let mut held = held.unwrap();
    let asked = || host.dig(&["+tcp", "+short", &name("app_web.m"), "a"]);
    assert!(asked().contains("timed out"), "no place is left");
    assert_eq!(lines(&host.dig(&["+short", &name("app_web.m"), "a"])).len(), 3, "datagrams do not wait for streams");
    held.pop();
    eventually("one place is free", || asked().contains("10.105.0.5"));
    held[0].set_read_timeout(Some(streams::PATIENCE * 2)).unwrap();
    assert_eq!(held[0].read(&mut [0; 1]).unwrap(), 0, "who asks nothing is let go");
}

#[test]
fn a_port_that_is_taken_is_named_and_used_when_it_is_free() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("host").unwrap();
    let other = namespace.enter(|| Ok(UdpSocket::bind((SERVER, 53))?)).unwrap();
    let host = Host::start(&namespace, &settings(), SUFFIX, nobody());
    eventually("it says what is wrong", || {
        host.notices().iter().any(|notice| notice.contains("127.0.0.153:53") && notice.contains("in use"))
    });
    drop(other);
    eventually("it answers", || host.dig(&[SUFFIX, "soa", "+short"]).contains("hostmaster"));
    eventually("nothing is wrong", || host.notices().is_empty());
}

/// A `resolvectl` that writes down what it is asked, as systemd-resolved does not run in a test's namespace.
fn fake_resolvectl(directory: &Path, exit: u32) -> (Resolver, PathBuf) {
    let (program, log) = (directory.join("resolvectl"), directory.join("calls"));
    let script = format!("#!/bin/sh\necho \"$*\" >> {}\necho no such bus >&2\nexit {exit}\n", log.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (Resolver { directory: directory.to_owned(), program, reachable: true }, log)
}

fn with_group_device(lab: &Lab) -> Namespace {
    let namespace = lab.namespace("host").unwrap();
    namespace.ip(&["link", "add", "mesh-g123456789", "type", "veth", "peer", "name", "other0"]).unwrap();
    namespace
}

#[test]
fn systemd_resolved_is_told_and_told_again_at_the_end() {
    let lab = Lab::new().unwrap();
    let namespace = with_group_device(&lab);
    let (resolver, log) = fake_resolvectl(lab.directory(), 0);
    let settings = DnsSettings { register: true, ..settings() };
    let host = Host::start(&namespace, &settings, SUFFIX, resolver);
    let calls = || fs::read_to_string(&log).unwrap_or_default();
    let registered = "dns mesh-g123456789 127.0.0.153\n\
                      domain mesh-g123456789 ~cc-ng.cloud\n\
                      default-route mesh-g123456789 false\n";
    eventually("it was told", || calls() == registered);
    assert_eq!(host.notices(), Vec::<String>::new());
    drop(host);
    assert_eq!(calls(), format!("{registered}revert mesh-g123456789\n"));
}

#[test]
fn without_systemd_resolved_the_operator_is_told_what_to_do() {
    let lab = Lab::new().unwrap();
    let namespace = with_group_device(&lab);
    let wanted = DnsSettings { register: true, ..settings() };
    let (refusing, _) = fake_resolvectl(lab.directory(), 1);
    for (resolver, reason) in [(nobody(), ""), (refusing, "no such bus")] {
        let host = Host::start(&namespace, &wanted, SUFFIX, resolver);
        eventually("an instruction", || {
            let notices = host.notices();
            notices.len() == 1 && notices[0].contains("`nameserver 127.0.0.153`") && notices[0].contains(reason)
        });
    }
    let silent = Host::start(&namespace, &settings(), SUFFIX, nobody());
    eventually("it answers", || silent.dig(&[SUFFIX, "soa", "+short"]).contains("hostmaster"));
    assert_eq!(silent.notices(), Vec::<String>::new());
}
