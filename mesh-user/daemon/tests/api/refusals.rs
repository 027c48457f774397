//! Whatever is malformed is refused with 4xx and a reason in the one form of errors.

use anyhow::{Result, ensure};

use crate::site::Site;

const GROUPS: &str = "/v1/orgs/default/networkgroups";

/// Method, path, arguments for curl, status and code.
type Case = (&'static str, String, Vec<String>, u16, &'static str);

fn case(method: &'static str, path: &str, arguments: &[&str], status: u16, code: &'static str) -> Case {
    (method, path.to_owned(), arguments.iter().map(ToString::to_string).collect(), status, code)
}

fn malformed() -> Vec<Case> {
    const JSON: &str = "Content-Type: application/json";
    let post =
        |body: &str, status, code| case("POST", GROUPS, &["--header", JSON, "--data-binary", body], status, code);
    let join = |fields: &str, status, code| {
        let body = format!("{{\"org\":\"default\",\"group\":\"myNG\",\"patience\":1,{fields}}}");
        case("POST", "/v1/node/joins", &["--header", JSON, "--data-binary", &body], status, code)
    };
    vec![
        case("GET", "/", &[], 404, "not_found"),
        case("GET", "/v1/nothing", &[], 404, "not_found"),
        case("GET", "/v1/orgs/default/networkgroups/", &[], 404, "not_found"),
        case("GET", "/v1/orgs/a%20b/networkgroups", &[], 400, "invalid"),
        case("GET", "/v1/orgs/%ff/networkgroups", &[], 400, "invalid"),
        case("GET", "/v1/orgs/default/networkgroups/%00", &[], 404, "not_found"),
        case("GET", "/v1/orgs/default/networkgroups/..", &[], 404, "not_found"),
        case("DELETE", "/v1/orgs/default/networkgroups/myNG/members/a%2Fb", &[], 400, "invalid"),
        case("GET", "/v1/orgs/default/search", &[], 400, "invalid"),
        case("GET", "/v1/orgs/default/search?q=%ff", &[], 200, ""),
        case("GET", "/v1/explain?source=nowhere&destination=10.0.0.1", &[], 400, "invalid"),
        case("GET", "/v1/health/nonsense", &[], 404, "not_found"),
        case("GET", "/v1/watch?colour=red", &[], 400, "invalid"),
        case("GET", "/v1/watch?member=a%20b", &[], 400, "invalid"),
        case("GET", "/v1/watch?version=last", &[], 400, "invalid"),
        case("GET", "/v1/watch", &["--header", "Last-Event-ID: last"], 400, "invalid"),
        case("DELETE", "/v1/orgs/default/networkgroups/x", &["--header", "If-Match: \"1\""], 400, "invalid"),
        case("PUT", GROUPS, &[], 405, "method_not_allowed"),
        case("BREW", GROUPS, &[], 405, "method_not_allowed"),
        case("TRACE", "/v1/status", &[], 405, "method_not_allowed"),
        case("POST", GROUPS, &[], 415, "unsupported_media_type"),
        case("POST", GROUPS, &["--data-binary", "{\"label\":\"a\"}"], 415, "unsupported_media_type"),
        post("", 400, "invalid"),
        post("{", 400, "invalid"),
        post("[]", 400, "invalid"),
        post("{}", 400, "invalid"),
        post("{\"label\":7}", 400, "invalid"),
        post("{\"label\":\"\"}", 400, "invalid"),
        post("{\"label\":\"a\",\"colour\":\"red\"}", 400, "invalid"),
        post("{\"label\":\"a\",\"cidr\":\"10.0.0.0/99\"}", 400, "invalid"),
        post("{\"label\":\"a\",\"prefixLength\":-1}", 400, "invalid"),
        post("{\"label\":\"a\",\"tags\":[\"a b\"]}", 400, "invalid"),
        post("{\"label\":\"a\",\"members\":[{\"id\":\"nobody\"}]}", 400, "invalid"),
        post("{\"label\":\"\\ud800\"}", 400, "invalid"),
        join("\"netns\":\"run/netns/x\"", 400, "invalid"),
        join("\"netns\":\"/nonexistent\"", 404, "not_found"),
        join("\"netns\":\"/dev/zero\"", 404, "not_found"),
        join("\"hub\":{\"server\":\"https://hub\",\"key\":\"hub.key\"}", 400, "invalid"),
    ]
}

#[test]
fn malformed_requests() -> Result<()> {
    let site = Site::start()?;
    for (method, path, arguments, status, code) in malformed() {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let reply = site.curl(&path, &[&["--request", method], &arguments[..]].concat())?;
        if status == 200 {
            ensure!(reply.status == 200, "{method} {path}: {reply:?}");
            continue;
        }
        let refusal = reply.refusal()?;
        ensure!(refusal == (status, code.to_owned()), "{method} {path} {arguments:?}: {reply:?}");
    }
    Ok(())
}

#[test]
fn a_body_that_is_too_long() -> Result<()> {
    let site = Site::start()?;
    let file = site.file("long.json");
    std::fs::write(&file, format!("{{\"label\":\"{}\"}}", "a".repeat(2 << 20)))?;
    let body = format!("@{}", file.display());
    let arguments = ["--header", "Content-Type: application/json", "--header", "Expect:", "--data-binary", &body];
    ensure!(site.curl(GROUPS, &arguments)?.refusal()? == (413, "too_large".to_owned()), "it is taken");
    Ok(())
}
