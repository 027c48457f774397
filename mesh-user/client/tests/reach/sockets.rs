//! Unix sockets: what is sent, what is made of the answers, and event streams.

use std::{
    fs,
    io::Write as _,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    thread::{self, JoinHandle},
    time::Duration,
};

use mesh_client::{Client, Error, Url};
use tempfile::TempDir;

use crate::{DEADLINE, answer, ask, request};

/// A server for one connection.
fn serve<T: Send + 'static>(serve: impl FnOnce(UnixStream) -> T + Send + 'static) -> (TempDir, Client, JoinHandle<T>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("meshd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    (folder, Client::unix(&socket), server)
}

#[tokio::test]
async fn each_verb_sends_what_it_says() {
    let sent = |mut stream: UnixStream| {
        let text = request(&mut stream);
        answer(&mut stream, "200 OK", "application/json", "7");
        text
    };
    let url = || Url::new("/v1/orgs").segment("a b");
    let body = serde_json::json!({ "a": 1 });
    let (_folder, client, server) = serve(sent);
    assert_eq!(client.post::<_, u32>(url(), &body, DEADLINE).await, Ok(7));
    let text = server.join().unwrap();
    assert!(
        text.starts_with("POST /v1/orgs/a%20b HTTP/1.1\r\nhost: meshd\r\ncontent-type: application/json\r\n"),
        "{text}"
    );
    assert!(text.ends_with("\r\n\r\n{\"a\":1}"), "{text}");

    let (_folder, client, server) = serve(sent);
    assert_eq!(client.patch::<_, u32>(url(), &body, DEADLINE).await, Ok(7));
    assert!(server.join().unwrap().starts_with("PATCH /v1/orgs/a%20b "));

    let (_folder, client, server) = serve(sent);
    assert_eq!(client.delete::<u32>(url(), DEADLINE).await, Ok(7));
    assert!(server.join().unwrap().starts_with("DELETE /v1/orgs/a%20b "));

    let (_folder, client, server) = serve(sent);
    assert_eq!(client.put::<u32>(url(), DEADLINE).await, Ok(7));
    assert!(server.join().unwrap().starts_with("PUT /v1/orgs/a%20b "));

    let (_folder, client, server) = serve(sent);
    assert_eq!(client.post_text::<u32>(url(), "a: 1\n".to_owned(), DEADLINE).await, Ok(7));
    let text = server.join().unwrap();
    assert!(text.contains("content-type: application/yaml\r\n") && text.ends_with("\r\n\r\na: 1\n"), "{text}");
}

#[tokio::test]
async fn what_the_daemon_refuses_is_told_as_it_said_it() {
    let body = r#"{"error":{"code":"conflict","message":"there","hint":"look"}}"#;
    let (_folder, client, _server) = serve(|mut stream| {
        request(&mut stream);
        answer(&mut stream, "409 Conflict", "application/json", body);
    });
    let Err(Error::Refused { status: 409, error }) = ask(&client).await else { panic!("no refusal") };
    assert_eq!((error.code.as_str(), error.message.as_str(), error.hint.as_str()), ("conflict", "there", "look"));
}

#[tokio::test]
async fn answers_that_mean_nothing_are_told() {
    for (status, body) in [("404 Not Found", ""), ("500 No", "<html>"), ("200 OK", "\"seven\""), ("200 OK", "")] {
        let (_folder, client, _server) = serve(move |mut stream| {
            request(&mut stream);
            answer(&mut stream, status, "text/plain", body);
        });
        let refused = ask(&client).await;
        assert!(matches!(refused, Err(Error::NotUnderstood { .. })), "{status} {body}: {refused:?}");
    }
}

#[tokio::test]
async fn silence_and_hanging_up_are_told_apart() {
    let (_folder, client, server) = serve(|mut stream| request(&mut stream));
    let refused = ask(&client).await;
    assert!(matches!(refused, Err(Error::Broken { .. })), "{refused:?}");
    server.join().unwrap();

    let (_folder, client, server) = serve(|stream| stream);
    let deadline = Duration::from_millis(50);
    let refused = client.get::<u32>("/v1/x", deadline).await;
    assert!(matches!(refused, Err(Error::Timeout { after, .. }) if after == deadline), "{refused:?}");
    drop(server.join().unwrap());

    let refused = ask(&Client::unix(&PathBuf::from("/nonexistent/meshd.sock"))).await;
    assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
}

/// Root may open every socket: this is told where it can be tried.
#[tokio::test]
async fn a_socket_of_others_is_a_matter_of_permission() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("meshd.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    if UnixStream::connect(&socket).is_ok() {
        eprintln!("SKIPPED: this user may open every socket; tests/exit_codes.rs of meshctl tries it as nobody");
        return;
    }
    assert!(matches!(ask(&Client::unix(&socket)).await, Err(Error::Permission { .. })));
}

#[tokio::test]
async fn events_are_read_as_they_come_and_resumed_behind_the_last() {
    let (_folder, client, server) = serve(|mut stream| {
        let text = request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for part in [": hello\n\n", "id: 8\nevent: gro", "up\ndata: {\"a\":1}\n\n"] {
            let chunk = format!("{:x}\r\n{part}\r\n", part.len());
            stream.write_all(chunk.as_bytes()).unwrap();
            stream.flush().unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        text
    });
    let mut events = client.events("/v1/watch", Some("7"), DEADLINE).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert_eq!((event.id.as_deref(), event.event.as_str(), event.data.as_str()), (Some("8"), "group", "{\"a\":1}"));
    assert_eq!(events.next().await, Ok(None));
    let text = server.join().unwrap();
    assert!(text.contains("\r\nlast-event-id: 7\r\n") && text.contains("\r\naccept: text/event-stream\r\n"), "{text}");
}

#[tokio::test]
async fn what_is_no_event_stream_is_refused() {
    let (_folder, client, _server) = serve(|mut stream| {
        request(&mut stream);
        answer(&mut stream, "200 OK", "application/json", "{}");
    });
    let refused = client.events("/v1/watch", None, DEADLINE).await;
    assert!(matches!(refused, Err(Error::NotUnderstood { .. })), "{refused:?}");

    let (_folder, client, _server) = serve(|mut stream| {
        request(&mut stream);
        answer(&mut stream, "404 Not Found", "application/json", r#"{"error":{"code":"c","message":"m","hint":"h"}}"#);
    });
    let refused = client.events("/v1/watch", None, DEADLINE).await;
    assert!(matches!(refused, Err(Error::Refused { status: 404, .. })), "{refused:?}");
}
