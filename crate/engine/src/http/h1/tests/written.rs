//! Tests of writing HTTP/1; the bytes are those that Envoy 1.40 writes.

use super::*;
use crate::http::settings::HeaderCase;

pub(super) fn list(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::new();
    pairs.iter().for_each(|(name, value)| list.append(name.as_bytes(), value.as_bytes()));
    list
}

#[test]
fn request_heads_are_written_as_envoy_does() {
    let write = |pairs: &[(&str, &str)], end_stream| {
        let mut out = BytesMut::new();
        let body = encode_request_head(&list(pairs), RequestEncoding { end_stream, ..RequestEncoding::default() }, &mut out);
        (String::from_utf8(out.to_vec()).unwrap(), body)
    };
    let get = [(":method", "GET"), (":path", "/a"), ("a", "1"), (":authority", "x"), ("b", "2"), (":scheme", "http")];
    assert_eq!(write(&get, true), ("GET /a HTTP/1.1\r\nhost: x\r\na: 1\r\nb: 2\r\n\r\n".into(), BodyEncoder::None));
    assert_eq!(
        write(&get, false),
        ("GET /a HTTP/1.1\r\nhost: x\r\na: 1\r\nb: 2\r\ntransfer-encoding: chunked\r\n\r\n".into(), BodyEncoder::Chunked(false))
    );
    for (method, length) in [
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
        ("OPTIONS", true),
        ("FOO", true),
        ("DELETE", false),
        ("HEAD", false),
        ("TRACE", false),
    ] {
        let (text, _) = write(&[(":method", method), (":path", "/"), (":authority", "x")], true);
        assert_eq!(text.contains("content-length: 0\r\n"), length, "{method}");
    }
    let framed =
        [(":method", "GET"), (":path", "/"), (":authority", "x"), ("host", "y"), ("transfer-encoding", "chunked"), (":protocol", "p")];
    assert_eq!(write(&framed, true).0, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    let post = [(":method", "POST"), (":path", "/"), (":authority", "x"), ("content-length", "5")];
    assert_eq!(write(&post, false), ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n".into(), BodyEncoder::Length(5)));
    let connect = [(":method", "CONNECT"), (":authority", "x:80")];
    assert_eq!(write(&connect, false), ("CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n".into(), BodyEncoder::Raw));
    let upgrade = [(":method", "GET"), (":path", "/"), (":authority", "x"), ("connection", "Upgrade"), ("upgrade", "websocket")];
    assert_eq!(
        write(&upgrade, false),
        ("GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n".into(), BodyEncoder::Raw)
    );
}

#[test]
fn answer_heads_are_written_as_envoy_does() {
    let plain =
        ResponseEncoding { version: Protocol::Http11, end_stream: false, to_head: false, to_connect: false, case: HeaderCase::Lower };
    let write = |status: &str, more: &[(&str, &str)], encoding| {
        let mut headers = list(&[(":status", status)]);
        more.iter().for_each(|(name, value)| headers.append(name.as_bytes(), value.as_bytes()));
        let mut out = BytesMut::new();
        let body = encode_response_head(&headers, encoding, &mut out);
        (String::from_utf8(out.to_vec()).unwrap(), body)
    };
    let ended = ResponseEncoding { end_stream: true, ..plain };
    let to_head = ResponseEncoding { to_head: true, ..ended };
    let old = ResponseEncoding { version: Protocol::Http10, ..plain };
    let tunnel = ResponseEncoding { to_connect: true, ..plain };
    let chunked = "transfer-encoding: chunked\r\n";
    let cases = [
        ("200", &[("a", "1")][..], plain, format!("HTTP/1.1 200 OK\r\na: 1\r\n{chunked}\r\n"), BodyEncoder::Chunked(false)),
        (
            "200",
            &[("content-length", "2"), ("a", "1")],
            plain,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\na: 1\r\n\r\n".into(),
            BodyEncoder::Length(2),
        ),
        ("404", &[("a", "1")], ended, "HTTP/1.1 404 Not Found\r\na: 1\r\ncontent-length: 0\r\n\r\n".into(), BodyEncoder::None),
        (
            "301",
            &[("location", "/")],
            to_head,
            format!("HTTP/1.1 301 Moved Permanently\r\nlocation: /\r\n{chunked}\r\n"),
            BodyEncoder::None,
        ),
        ("200", &[("content-length", "2")], to_head, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".into(), BodyEncoder::None),
        ("204", &[], ended, "HTTP/1.1 204 No Content\r\n\r\n".into(), BodyEncoder::None),
        ("304", &[("content-length", "20")], ended, "HTTP/1.1 304 Not Modified\r\ncontent-length: 20\r\n\r\n".into(), BodyEncoder::None),
        ("299", &[("content-length", "0")], plain, "HTTP/1.1 299 Unknown\r\ncontent-length: 0\r\n\r\n".into(), BodyEncoder::Length(0)),
        ("200", &[("a", "1")], old, "HTTP/1.0 200 OK\r\na: 1\r\n\r\n".into(), BodyEncoder::Raw),
        (
            "200",
            &[],
            ResponseEncoding { end_stream: true, ..old },
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
            BodyEncoder::None,
        ),
        ("101", &[("upgrade", "a")], plain, "HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\n\r\n".into(), BodyEncoder::Raw),
        ("200", &[("a", "1")], tunnel, "HTTP/1.1 200 OK\r\na: 1\r\n\r\n".into(), BodyEncoder::Raw),
        ("403", &[("a", "1")], tunnel, format!("HTTP/1.1 403 Forbidden\r\na: 1\r\n{chunked}\r\n"), BodyEncoder::Chunked(false)),
        (
            "200",
            &[("Foo_bar-BAZ!qux", "9"), ("content-length", "0")],
            ResponseEncoding { case: HeaderCase::ProperWords, ..plain },
            "HTTP/1.1 200 OK\r\nFoo_Bar-Baz!Qux: 9\r\nContent-Length: 0\r\n\r\n".into(),
            BodyEncoder::Length(0),
        ),
    ];
    for (status, headers, encoding, text, body) in cases {
        assert_eq!(write(status, headers, encoding), (text, body));
    }
    let mut out = BytesMut::new();
    encode_informational(&list(&[(":status", "103"), ("link", "a")]), Protocol::Http11, HeaderCase::Lower, &mut out);
    assert_eq!(out, "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n");
}

#[test]
fn bodies_are_framed() {
    let mut out = BytesMut::new();
    let mut chunked = BodyEncoder::Chunked(false);
    for piece in [&b"abc"[..], &[b'x'; 0x1a2]] {
        chunked.begin(piece.len(), &mut out).unwrap();
        out.extend_from_slice(piece);
    }
    chunked.end(&mut out);
    chunked.end(&mut out);
    chunked.finish(Some(&list(&[("x-t", "1")])), &mut out).unwrap();
    let expected = format!("3\r\nabc\r\n1a2\r\n{}\r\n0\r\nx-t: 1\r\n\r\n", "x".repeat(0x1a2));
    assert_eq!(out, expected.as_bytes());
    let mut length = BodyEncoder::Length(5);
    out.clear();
    length.begin(3, &mut out).unwrap();
    assert_eq!(length.finish(None, &mut out), Err(LengthMismatch));
    assert_eq!(length.begin(3, &mut out), Err(LengthMismatch));
    length.begin(2, &mut out).unwrap();
    assert_eq!(length.finish(Some(&list(&[("x", "1")])), &mut out), Ok(()));
    assert!(out.is_empty());
    assert!(!BodyEncoder::None.writes() && BodyEncoder::Raw.ends_with_connection());
}
