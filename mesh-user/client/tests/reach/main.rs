//! How does a client fare with daemons of every kind: real sockets, real TLS, servers that stay silent or talk nonsense.
#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

mod sockets;
mod tls;

use std::{
    io::{Read, Write},
    time::Duration,
};

use mesh_client::{Client, Error};

const DEADLINE: Duration = Duration::from_secs(5);

/// One request, whole; what of it came before the end of the stream, else.
fn request(stream: &mut impl Read) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        text.push(char::from(byte[0]));
    }
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn answer(stream: &mut impl Write, status: &str, content: &str, body: &str) {
    let length = body.len();
    let reply = format!("HTTP/1.1 {status}\r\ncontent-type: {content}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(reply.as_bytes()).unwrap();
    stream.flush().unwrap();
}

async fn ask(client: &Client) -> Result<u32, Error> {
    client.get("/v1/x", DEADLINE).await
}
