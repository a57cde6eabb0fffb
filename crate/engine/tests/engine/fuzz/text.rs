//! Texts of the configuration and of headers: formats of access logs, lists of retry conditions.

use std::rc::Rc;

use plenipo_engine::{
    format::{Context, Formatters, JsonProgram, Program},
    http::header::HeaderList,
    route::RetryOn,
    stream_info::{ConnectionInfo, Protocol, StreamInfo},
};
use plenipo_testkit::fuzz::fuzz;

const WORDS: &[&str] = &[
    "%",
    "%%",
    "%REQ(",
    "%RESP(X?Y)",
    "%TRAILER(A):3%",
    ":10%",
    ")%",
    "%START_TIME(%s.%3f)%",
    "%START_TIME(%Y%%)%",
    "%DURATION%",
    "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)%",
    "%DYNAMIC_METADATA(a:b)%",
    "%FILTER_STATE(a:PLAIN)%",
    "%ENVIRONMENT(HOME)%",
    "%PATH(WQ)%",
    "%QUERY_PARAM(a)%",
    "%PROTOCOL%",
    "%RESPONSE_FLAGS%",
    "%HOSTNAME%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
];

fn info() -> StreamInfo {
    let address = "127.0.0.1:1".parse().unwrap();
    StreamInfo::new(Rc::new(ConnectionInfo::plain(4, address, address)), Protocol::Http11, 1)
}

fn headers() -> HeaderList {
    let mut headers = HeaderList::new();
    for (name, value) in
        [(":method", &b"GET"[..]), (":path", b"/a?a=5&b=%ff"), (":authority", b"a"), ("a", b"\xff\xc3(b\"\\"), ("x", "\u{20ac}".as_bytes())]
    {
        headers.append(name.as_bytes(), value);
    }
    headers
}

#[test]
fn formats() {
    let (info, headers) = (info(), headers());
    fuzz(include_str!("../../corpus/format.txt"), WORDS, |input, numbers| {
        let format = String::from_utf8_lossy(input);
        let omit_empty = numbers.below(2) == 0;
        let context = Context::new(&info, Some(&headers), Some(&headers)).with_trailers(Some(&headers));
        let json =
            JsonProgram::compile(&serde_json::json!({ "a": format, "b": [format, { "c": format }] }), omit_empty, Formatters::default());
        let text = match Program::compile(&format, omit_empty) {
            Ok(text) => text,
            Err(error) => {
                assert!(error.position <= format.len() && json.is_err(), "{error}");
                return (0, error.message.split(' ').take(4).map(str::to_owned).collect::<Vec<_>>().join(" "));
            }
        };
        let mut out = Vec::new();
        text.write(&context, &mut out);
        if !format.contains('%') {
            assert_eq!((text.as_literal(), &out[..]), (Some(format.as_bytes()), format.as_bytes()));
        }
        let mut object = Vec::new();
        json.expect("what is a format of text is one of JSON").write(&context, &mut object);
        serde_json::from_slice::<serde_json::Value>(&object).unwrap_or_else(|e| panic!("{e}: {}", object.escape_ascii()));
        (out.len(), String::new())
    });
}

#[test]
fn retry_conditions() {
    fuzz(
        "5xx,gateway-error\nretriable-4xx, reset ,,x\ncancelled,deadline-exceeded,internal",
        &[",", " ", "5xx", "connect-failure", "unavailable"],
        |input, _| {
            let text = String::from_utf8_lossy(input);
            let (known, unknown) = RetryOn::parse(&text);
            assert!(unknown.iter().all(|name| text.contains(name)));
            // Said in another order it is the same.
            let mut names: Vec<&str> = text.split(',').collect();
            names.reverse();
            assert_eq!(RetryOn::parse(&names.join(",")).0, known);
            (known.is_empty(), unknown.len())
        },
    );
}
