//! `meshctl top` in a real pseudo-terminal, read as a terminal would show it, against a socket that answers as a daemon.
#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZeroU16,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every request until the process ends; what it counts grows with each look.
fn daemon(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let looks = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let looks = Arc::clone(&looks);
            thread::spawn(move || serve(stream.unwrap(), &looks));
        }
    });
}

fn serve(mut stream: UnixStream, looks: &AtomicU64) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            return;
        }
        request.extend_from_slice(&buffer[..count]);
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        request.drain(..end + 4);
        let body = answer(&head, looks);
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(head: &str, looks: &AtomicU64) -> String {
    if head.starts_with("GET /v1/status ") {
        let look = looks.fetch_add(1, Ordering::Relaxed);
        return format!(
            r#"{{"schema":1,"version":"0.1.0","cluster":"cl01","public_key":"","interfaces":[],"connections":[],"remaps":[],
            "drops":{{"not-allowed":{}}},"problems":[],"notices":[],"groups":[]}}"#,
            100 + look
        );
    }
    let peer = |number: u8, member: &str| {
        format!(
            r#"{{"peer":"peer-{number}","member":"{member}","address":"10.101.0.{number}","endpoint":"192.0.2.{number}:51820",
            "handshakeAgeS":5,"rxBytes":0,"txBytes":0}}"#
        )
    };
    format!(
        r#"{{"schema":1,"peers":[{{"org":"default","ngId":"ng_12345678-1234-4123-8123-123456789abc","ngLabel":"shop",
        "member":"app_web","peer":"peer-5","hv":"hv-a","address":"10.101.0.5",
        "publicKey":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","device":"mesh-g123456789","netns":null,"names":[],
        "listenPort":51820,"up":true,"detail":"","hubReachable":true,"peers":[{},{}]}}]}}"#,
        peer(6, "postgresql_db"),
        peer(7, "redis_cache")
    )
}

/// A terminal with `meshctl top` in it.
struct Terminal {
    master: OwnedFd,
    slave: File,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn start(socket: &Path) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        let slave = File::options().read(true).write(true).open(path).unwrap();
        let (rows, columns) = (20, 100);
        tcsetwinsize(&slave, size(rows, columns)).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        command.arg("--socket").arg(socket).arg("top").env("TERM", "xterm-256color");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let (shown, mut reader) = (Arc::clone(&screen), File::from(master.try_clone().unwrap()));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                shown.lock().unwrap().process(&buffer[..count]);
            }
        });
        Terminal { master, slave, child, screen }
    }

    fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted(&self.contents()) {
            assert!(Instant::now() < end, "{what}:\n{}", self.contents());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(self.slave.as_fd()).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the end: the terminal is as it was.
    fn ended(mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.contents());
            thread::sleep(Duration::from_millis(20));
        };
        assert!(!self.is_raw(), "the terminal is left raw");
        let is_restored = |terminal: &Terminal| {
            let parser = terminal.screen.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        while !is_restored(&self) {
            assert!(Instant::now() < end, "the other screen is left on");
            thread::sleep(Duration::from_millis(20));
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn start() -> (tempfile::TempDir, Terminal) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("meshd.sock");
    daemon(&socket);
    let terminal = Terminal::start(&socket);
    terminal.until("the first answer", |shown| shown.contains("mesh-g123456789"));
    (directory, terminal)
}

#[test]
fn tabs_filter_and_quit() {
    let (_directory, terminal) = start();
    assert!(terminal.is_raw() && terminal.screen.lock().unwrap().screen().alternate_screen());
    assert!(terminal.contents().starts_with("hv-a  meshd 0.1.0"), "{}", terminal.contents());
    terminal.press("\t");
    terminal.until("the peers", |shown| shown.contains("postgresql_db") && shown.contains("192.0.2.7:51820"));
    terminal.press("/redis\r");
    terminal.until("the filter", |shown| shown.contains("redis_cache") && !shown.contains("postgresql_db"));
    terminal.press("\x1b[C\x1b[C");
    terminal.until("the filter is for drops too", |shown| shown.contains("nothing matches"));
    terminal.press("/\x7f\x7f\x7f\x7f\x7f\r");
    terminal.until("drops with their rate", |shown| {
        let is_counted = |line: &str| line.ends_with("/s") && !line.ends_with(" 0/s");
        shown.lines().any(|line| line.starts_with("not-allowed") && is_counted(line.trim_end()))
    });
    terminal.press("q");
    assert!(terminal.ended().success());
}

#[test]
fn another_size_is_another_picture() {
    let (_directory, terminal) = start();
    let last_line = |shown: &str| shown.trim_end().lines().count();
    terminal.until("20 lines", |shown| last_line(shown) == 20);
    terminal.screen.lock().unwrap().screen_mut().set_size(cells(12), cells(60));
    tcsetwinsize(&terminal.slave, size(12, 60)).unwrap();
    terminal.signal(Signal::WINCH);
    terminal.until("12 lines", |shown| last_line(shown) == 12 && shown.contains("q quit"));
    terminal.press("\x03");
    assert!(terminal.ended().success());
}

#[test]
fn the_terminal_is_given_back_to_who_ends_it() {
    for signal in [Signal::TERM, Signal::HUP] {
        let (_directory, terminal) = start();
        terminal.signal(signal);
        assert!(terminal.ended().success());
    }
}

#[test]
fn without_a_daemon_it_says_so_and_without_a_terminal_it_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(&directory.path().join("none.sock"));
    terminal.until("the trouble", |shown| shown.contains("cannot reach"));
    terminal.press("q");
    assert!(terminal.ended().success());
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl")).arg("top").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
