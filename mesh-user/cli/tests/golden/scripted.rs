//! A daemon that gives the answers of a script, and a `meshctl` before it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use mesh_core::api::{Error, ErrorReply};
use serde::Serialize;

/// What the daemon says to one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    content: &'static str,
    body: String,
}

impl Answer {
    pub(crate) fn ok(body: &impl Serialize) -> Answer {
        Answer { status: 200, content: "application/json", body: serde_json::to_string(body).unwrap() }
    }

    pub(crate) fn refused(status: u16, code: &str, message: &str, hint: &str) -> Answer {
        let [code, message, hint] = [code, message, hint].map(str::to_owned);
        Answer { status, ..Answer::ok(&ErrorReply { error: Error { code, message, hint } }) }
    }

    pub(crate) fn events(body: String) -> Answer {
        Answer { status: 200, content: "text/event-stream", body }
    }
}

/// What was asked, what was printed, how it ended.
pub(crate) fn transcript(line: &str, answers: &[Answer]) -> String {
    transcript_in(tempfile::tempdir().unwrap().path(), line, answers)
}

/// `folder` is the home of the user and the place of the socket; `[DIR]` stands for it, on the line too.
pub(crate) fn transcript_in(folder: &Path, line: &str, answers: &[Answer]) -> String {
    let socket = folder.join("meshd.sock");
    // A line may follow another.
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let script = answers.to_vec();
    let daemon =
        thread::spawn(move || script.iter().map_while(|answer| serve(&listener, answer)).collect::<Vec<String>>());
    let words = split(line).into_iter().map(|word| word.replace("[DIR]", folder.to_str().unwrap()));
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("MESHD_SOCKET", &socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // Wakes a daemon that waits for what was not asked.
    while !daemon.is_finished() {
        if let Ok(stream) = UnixStream::connect(&socket) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        thread::yield_now();
    }
    let requests = daemon.join().unwrap().concat();
    let mut text = format!("$ meshctl {line}\n{requests}exit {}\n", output.status.code().unwrap());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            text += &format!("--- {name}\n{}", String::from_utf8_lossy(bytes));
        }
    }
    text.replace(folder.to_str().unwrap(), "[DIR]")
}

/// `> METHOD PATH` and the body of one request; `None`: there was none.
fn serve(listener: &UnixListener, answer: &Answer) -> Option<String> {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length =
        head.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let Answer { status, content, body: answer } = answer;
    let (length, head_line) = (answer.len(), head[0].trim_end_matches(" HTTP/1.1"));
    let reply = format!("HTTP/1.1 {status} X\r\ncontent-type: {content}\r\ncontent-length: {length}\r\n\r\n{answer}");
    stream.write_all(reply.as_bytes()).unwrap();
    let resumed = head.iter().find(|line| line.starts_with("last-event-id")).map(|line| format!("> {line}\n"));
    let mut request = format!("> {head_line}\n{}", resumed.unwrap_or_default());
    for line in String::from_utf8(body).unwrap().lines() {
        request += &format!("> {line}\n");
    }
    Some(request)
}

/// Words as a shell has them, as far as these tests quote.
fn split(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(str::to_owned).collect(),
    });
    words.collect()
}
