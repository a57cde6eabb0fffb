//! Formats: what a running Envoy 1.40 printed for the same requests.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::{
    cluster::{Cluster, Settings},
    error::Flags,
    stats::Store,
    stream_info::{ConnectionInfo, Protocol, UpstreamConnection},
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn info() -> StreamInfo {
    let connection = ConnectionInfo::plain(4, address("127.0.0.1:59428"), address("127.0.0.1:19090"));
    let mut info = StreamInfo::new(Rc::new(connection), Protocol::Http11, 1);
    info.start = UNIX_EPOCH + Duration::from_millis(1_795_510_909_778);
    info.status = 200;
    info.detail = Some("via_upstream".into());
    info.bytes_sent = 5;
    let after = |ms: u64| Some(info.started + Duration::from_micros(ms * 1_000 + 999));
    (info.request_end, info.upstream_first_rx, info.end) = (after(0), after(1), after(1));
    info.upstream_host = Some(address("127.0.0.1:19081"));
    info.upstream = Some(Rc::new(UpstreamConnection {
        id: 9,
        local: address("[::1]:50348"),
        begun: info.started,
        connected: None,
        secured: None,
        tls: None,
    }));
    info.cluster = Some(Arc::new(Cluster::new("app", Settings::default(), &Store::new(), None)));
    info.attempts = 1;
    info
}

fn request() -> HeaderList {
    let mut headers = HeaderList::new();
    for (name, value) in [
        (":method", &b"GET"[..]),
        (":path", b"/app/abcdef?a=5&b"),
        (":authority", b"ex.am:80"),
        (":scheme", b"http"),
        ("x-dup", b"one"),
        ("x-dup", b"two"),
        ("x-q", b"a\"b\\c<&>/"),
        ("x-bin", b"a\xff\xc3(b"),
        ("x-utf", "\u{20ac}".as_bytes()),
        ("x-tab", b"a\tb"),
        ("x-empty", b""),
        ("x-request-id", b"7bc3e9e0-4838-460b-a09b-4e19104e9c8e"),
    ] {
        headers.append(name.as_bytes(), value);
    }
    headers
}

fn response() -> HeaderList {
    let mut headers = HeaderList::new();
    headers.append(b":status", b"200");
    headers.append(b"x-envoy-upstream-service-time", b"1");
    headers
}

fn text(format: &str) -> String {
    let (info, request, response) = (info(), request(), response());
    let mut out = Vec::new();
    Program::compile(format, false).unwrap().write(&Context::new(&info, Some(&request), Some(&response)), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn json_of(context: &Context<'_>, template: &str, omit: bool) -> String {
    let mut out = Vec::new();
    JsonProgram::compile(&serde_json::from_str(template).unwrap(), omit, Formatters::default()).unwrap().write(context, &mut out);
    String::from_utf8(out).unwrap()
}

fn json(template: &str, omit: bool) -> String {
    let (info, request, response) = (info(), request(), response());
    json_of(&Context::new(&info, Some(&request), Some(&response)), template, omit)
}

#[test]
fn default_line() {
    assert_eq!(
        text(DEFAULT),
        "[2026-11-24T09:01:49.778Z] \"GET /app/abcdef?a=5&b HTTP/1.1\" 200 - 0 5 1 1 \"-\" \"-\" \"7bc3e9e0-4838-460b-a09b-4e19104e9c8e\" \"ex.am:80\" \"127.0.0.1:19081\"\n"
    );
}

#[test]
fn default_line_of_a_request_that_could_not_be_read() {
    let mut info = info();
    (info.status, info.bytes_sent, info.upstream_host, info.end) = (400, 11, None, Some(info.started));
    info.flags.insert(Flags::DOWNSTREAM_PROTOCOL_ERROR);
    let mut out = Vec::new();
    Program::compile(DEFAULT, false).unwrap().write(&Context::new(&info, None, None), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "[2026-11-24T09:01:49.778Z] \"- - HTTP/1.1\" 400 DPE 0 11 0 - \"-\" \"-\" \"-\" \"-\" \"-\"\n"
    );
}

#[test]
fn operators_one_by_one() {
    for (format, expected) in [
        ("%REQ(X-DUP)%", "one"),
        ("%REQ(X-DUP):2%", "on"),
        ("%REQ(X-DUP):0%", ""),
        ("%REQ(X-EMPTY)%", ""),
        ("%REQ(NOPE)%", "-"),
        ("%REQ(NOPE?:PATH):4%", "/app"),
        ("%RESP(:STATUS)%", "200"),
        ("%TRAILER(x)%", "-"),
        ("%PROTOCOL%|%UPSTREAM_PROTOCOL%", "HTTP/1.1|-"),
        ("%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%", "200 via_upstream"),
        ("%RESPONSE_FLAGS%%RESPONSE_FLAGS_LONG%", "--"),
        ("%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_TX_DURATION%", "0 1 0 -"),
        ("%UPSTREAM_HOST% %UPSTREAM_REMOTE_PORT% %UPSTREAM_LOCAL_ADDRESS%", "127.0.0.1:19081 19081 [::1]:50348"),
        ("%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_CLUSTER% %ROUTE_NAME%", "::1 app -"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1:59428 127.0.0.1"),
        ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_PORT% %CONNECTION_ID%", "127.0.0.1:19090 19090 4"),
        ("%DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME% %GRPC_STATUS%", "- - -"),
        ("%PATH(NQ)% %PATH% %PATH:3% %QUERY_PARAM(a)% %QUERY_PARAM(b)% %QUERY_PARAM(c)%", "/app/abcdef /app/abcdef?a=5&b /ap 5  -"),
        ("%START_TIME(%s.%3f)% %START_TIME(%H:%M (x))%", "1795510909.778 09:01 (x)"),
        ("100%% %REQ(:METHOD)%%%", "100% GET%"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%%RESPONSE_TRAILERS_BYTES%", "10"),
        ("", ""),
    ] {
        assert_eq!(text(format), expected, "{format}");
    }
}

#[test]
fn refused_by_position_and_name() {
    for (format, position, part) in [
        ("a%", 1, "no valid command"),
        ("a %b c", 2, "no valid command"),
        ("%%%", 2, "no valid command"),
        ("%FOO(%", 0, "no valid command"),
        ("%REQ(A", 0, "no valid command"),
        ("%REQ(A)B%", 0, "no valid command"),
        ("%REQ(A):x%", 0, "no valid command"),
        ("%REQ(A):99999999999999999999%", 0, "no valid command"),
        ("xx%FOO%", 2, "no operator FOO"),
        ("%CEL(a:b)%", 0, "CEL is not implemented"),
        ("%REQ%", 0, "requires parameters"),
        ("%REQ()%", 0, "requires parameters"),
        ("%REQ(a?b?c)%", 0, "more than 1 alternative"),
        ("%REQ(a b)%", 0, "no header name"),
        ("%RESPONSE_CODE:1%", 0, "does not take any parameters or length"),
        ("%DURATION(x)%", 0, "does not take any parameters or length"),
        ("%START_TIME:4%", 0, "does not allow length"),
        ("%START_TIME(%n)%", 0, "line break"),
        ("%GRPC_STATUS(FOO)%", 0, "FOO"),
        ("%PATH(X)%", 0, "got X"),
    ] {
        let error = Program::compile(format, false).expect_err(format);
        assert_eq!(error.position, position, "{format}");
        assert!(error.message.contains(part), "{format}: {error}");
    }
}

#[test]
fn json_keeps_types_sorts_keys_and_escapes() {
    let template = r#"{"zz":"%PROTOCOL%","aa":{"y":"%REQ(NOPE)%","x":["%RESPONSE_CODE%","lit",1.5,true,null]},"mix":"a%RESPONSE_CODE%b%REQ(NOPE)%",
        "pct":"100%% x","num":3,"nul":null,"bool":false,"e":"","esc\"k":"q\"\\/\n€,","big":1e21,"neg":-0.5,"omit_obj":{"a":"%REQ(NOPE)%"},
        "flags":"%RESPONSE_FLAGS%","bin":"%REQ(X-BIN)%x","f32":0.1,"i":12345678901234}"#;
    assert_eq!(
        json(template, false),
        r#"{"aa":{"x":[200,"lit",1.5,true,null],"y":null},"big":1e+21,"bin":"a\u00ff\u00c3(bx","bool":false,"e":"","esc\"k":"q\"\\/\n€,","f32":0.1,"flags":"-","i":12345678901234,"mix":"a200b-","neg":-0.5,"nul":null,"num":3,"omit_obj":{"a":null},"pct":"100% x","zz":"HTTP/1.1"}"#
    );
    assert_eq!(
        json(template, true),
        r#"{"aa":{"x":[200,"lit",1.5,true]},"big":1e+21,"bin":"a\u00ff\u00c3(bx","bool":false,"e":"","esc\"k":"q\"\\/\n€,","f32":0.1,"flags":"-","i":12345678901234,"mix":"a200b","neg":-0.5,"num":3,"pct":"100% x","zz":"HTTP/1.1"}"#
    );
    assert_eq!(
        json(r#"{"a":"%REQ(X-Q)%","b":"%REQ(X-UTF)%","c":"%REQ(X-TAB)%","d":"%REQ(X-DUP):0%"}"#, false),
        r#"{"a":"a\"b\\c<&>/","b":"€","c":"a\tb","d":""}"#
    );
    assert_eq!(json(r#"{"a":"%REQ(NOPE)%"}"#, true), "{}");
    let template = r#"{"l":["%REQ(NOPE)%"],"e":{},"el":[],"o":{"a":{"b":"%REQ(NOPE)%"}},"s":"%REQ(NOPE)%%REQ(NOPE)%","n":1.0,"t":1e15,
        "u":123456789012345680,"v":0.000001,"w":1e-7,"y":1e16,"z":-3}"#;
    assert_eq!(
        json(template, false),
        r#"{"e":{},"el":[],"l":[null],"n":1,"o":{"a":{"b":null}},"s":"--","t":1e+15,"u":123456789012345680,"v":1e-06,"w":1e-07,"y":1e+16,"z":-3}"#
    );
    assert_eq!(
        json(template, true),
        r#"{"el":[],"l":[],"n":1,"s":"","t":1e+15,"u":123456789012345680,"v":1e-06,"w":1e-07,"y":1e+16,"z":-3}"#
    );
}

#[test]
fn json_is_json_whatever_a_header_holds() {
    let info = info();
    let mut seed = 1u32;
    for _ in 0..2_000 {
        let mut value = Vec::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            value.push((seed >> 24) as u8);
        }
        let mut request = HeaderList::new();
        request.append(b"x", &value);
        let line = json_of(&Context::new(&info, Some(&request), None), r#"{"x":"%REQ(X)%","y":"a%REQ(X):7%"}"#, false);
        let parsed: serde_json::Value = serde_json::from_str(&line).expect(&line);
        let expected: String = match std::str::from_utf8(&value) {
            Ok(text) => text.into(),
            Err(_) => value.iter().map(|b| char::from(*b)).collect(),
        };
        assert_eq!(parsed["x"], expected);
    }
}

#[test]
fn grpc_status_from_trailers_headers_or_the_code() {
    let mut info = info();
    info.status = 503;
    let mut request = HeaderList::new();
    request.append(b"content-type", b"application/grpc+proto");
    let mut trailers = HeaderList::new();
    trailers.append(b"grpc-status", b"4");
    let mut wrong = HeaderList::new();
    wrong.append(b"grpc-status", b"77");
    let format = Program::compile("%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%", false).unwrap();
    for (trailers, response, expected) in [
        (Some(&trailers), None, "DeadlineExceeded DEADLINE_EXCEEDED 4"),
        (None, Some(&trailers), "DeadlineExceeded DEADLINE_EXCEEDED 4"),
        (None, None, "Unavailable UNAVAILABLE 14"),
        (Some(&wrong), None, "77 77 77"),
    ] {
        let mut out = Vec::new();
        format.write(&Context::new(&info, Some(&request), response).with_trailers(trailers), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn any_format_compiles_or_is_refused_without_a_panic() {
    let alphabet: Vec<char> = "%%%((()):::?AREQSTART_TIME019-é\n ".chars().collect();
    let (info, request) = (info(), request());
    let mut seed = 7u32;
    for _ in 0..20_000 {
        let mut format = String::new();
        for _ in 0..14 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format.push(alphabet[(seed >> 16) as usize % alphabet.len()]);
        }
        match Program::compile(&format, false) {
            Ok(program) => program.write(&Context::new(&info, Some(&request), None), &mut Vec::new()),
            Err(error) => assert!(format[error.position..].starts_with('%'), "{format}: {error}"),
        }
    }
}
