//! Which exit code does `meshctl` end with? The real program against sockets that behave in each way.
#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener, process::CommandExt as _},
    path::Path,
    process::{Command, Output},
    thread,
};

/// An answer as a daemon would give it, for one request.
fn daemon(socket: &Path, status: &'static str, body: &'static str) -> thread::JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
    })
}

fn meshctl(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshctl")).env("MESHD_SOCKET", socket).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn healthy_is_0() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("meshd.sock");
    let request = daemon(&socket, "200 OK", "\"ok\"");
    let output = meshctl(&socket, &["status", "--check", "ready"]);
    assert_eq!((code(&output), output.stdout.as_slice()), (0, b"ok\n".as_slice()), "{}", stderr(&output));
    assert_eq!(request.join().unwrap(), "GET /v1/health/ready HTTP/1.1");
}

#[test]
fn unhealthy_is_8_and_says_why_in_json_too() {
    let body = r#"{"error":{"code":"unhealthy","message":"2 problems","hint":"look"}}"#;
    for (output_form, expected) in
        [("table", "error: 2 problems\n hint: look\n".to_owned()), ("json", format!("{body}\n"))]
    {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("meshd.sock");
        let request = daemon(&socket, "503 Service Unavailable", body);
        let output = meshctl(&socket, &["status", "--check", "live", "-o", output_form]);
        // Text is for people and goes to standard error; JSON stands where the answer would have been.
        let text =
            if output_form == "json" { String::from_utf8_lossy(&output.stdout).into_owned() } else { stderr(&output) };
        assert_eq!((code(&output), text), (8, expected));
        request.join().unwrap();
    }
}

#[test]
fn usage_is_2() {
    let nowhere = Path::new("/nonexistent/meshd.sock");
    for arguments in
        [&["status", "--check", "fine"][..], &["explain", "10.0.0.1"], &["explain", "here", "there"], &["stat"], &[]]
    {
        assert_eq!(code(&meshctl(nowhere, arguments)), 2, "{arguments:?}");
    }
}

#[test]
fn not_found_is_3() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("meshd.sock");
    let body = r#"{"error":{"code":"not_found","message":"no entry","hint":""}}"#;
    let request = daemon(&socket, "404 Not Found", body);
    let output = meshctl(&socket, &["explain", "10.243.0.1", "fd00::1"]);
    assert_eq!((code(&output), stderr(&output)), (3, "error: no entry\n".to_owned()));
    assert_eq!(request.join().unwrap(), "GET /v1/explain?source=10.243.0.1&destination=fd00::1 HTTP/1.1");
}

#[test]
fn unreachable_is_5() {
    let output = meshctl(Path::new("/nonexistent/meshd.sock"), &["status"]);
    assert_eq!(code(&output), 5);
    assert!(stderr(&output).contains("/nonexistent/meshd.sock"), "{}", stderr(&output));

    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("meshd.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert_eq!(code(&meshctl(&stale, &["status"])), 5, "a socket that nobody listens on");
}

#[test]
fn silence_is_6() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("meshd.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    assert_eq!(code(&meshctl(&socket, &["status", "--timeout", "1"])), 6);
}

#[test]
fn no_permission_is_7() {
    // Root may open every socket, so the program runs as nobody.
    const NOBODY: u32 = 65_534;
    if fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap() != 0 {
        eprintln!("SKIPPED: only root can run a program as another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("meshctl");
    fs::copy(env!("CARGO_BIN_EXE_meshctl"), &program).unwrap();
    let socket = directory.path().join("meshd.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let output = Command::new(&program).env("MESHD_SOCKET", &socket).arg("status").uid(NOBODY).gid(NOBODY).output();
    assert_eq!(code(&output.unwrap()), 7);
}

#[test]
fn nonsense_is_1() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("meshd.sock");
    let request = daemon(&socket, "200 OK", "{}");
    assert_eq!(code(&meshctl(&socket, &["status"])), 1);
    request.join().unwrap();
}
