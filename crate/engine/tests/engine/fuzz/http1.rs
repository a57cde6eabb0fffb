//! The HTTP/1 codec: messages in pieces and whole, written and read again, and compared with httparse where that agrees.

use bytes::BytesMut;
use plenipo_engine::http::{
    h1::{
        Asked, BodyDecoder, BodyEncoder, BodyEvent, Framing, Reject, RequestDecoder, RequestEncoding, RequestHead, RequestLimits,
        ResponseDecoder, ResponseEncoding, ResponseHead, ResponseLimits, encode_request_head, encode_response_head,
    },
    header::{HeaderList, Known},
    settings::{HeaderCase, Http1, Underscores},
};
use plenipo_engine::stream_info::Protocol;
use plenipo_testkit::fuzz::{Numbers, fuzz};

use super::shown;

pub const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close, x\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: upgrade, http2-settings\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "x_y: 1\r\n",
    "GET ",
    "CONNECT a:1",
    "HEAD ",
    " HTTP/1.1",
    " HTTP/1.0",
    "http://a:80",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff",
    ";x=y",
    " \t",
];

/// Options that the input decides.
struct Options {
    http1: Http1,
    underscores: Underscores,
    max_bytes: usize,
    max_headers: usize,
}

impl Options {
    fn of(numbers: &mut Numbers) -> Options {
        let mut flag = || numbers.below(3) == 0;
        let http1 = Http1 {
            accept_http_10: flag(),
            enable_trailers: flag(),
            allow_chunked_length: flag(),
            allow_custom_methods: flag(),
            default_host_for_http_10: if flag() { "default.test" } else { "" }.into(),
            ..Http1::default()
        };
        let underscores = *numbers.of(&[Underscores::Allow, Underscores::Allow, Underscores::DropHeader, Underscores::RejectRequest]);
        Options { http1, underscores, max_bytes: *numbers.of(&[60 * 1024, 100]), max_headers: 20 }
    }

    fn plain() -> Options {
        let http1 = Http1 { allow_custom_methods: true, ..Http1::default() };
        Options { http1, underscores: Underscores::Allow, max_bytes: 1 << 20, max_headers: 1000 }
    }

    fn request(&self) -> RequestLimits<'_> {
        RequestLimits { max_bytes: self.max_bytes, max_headers: self.max_headers, underscores: self.underscores, http1: &self.http1 }
    }

    fn response(&self) -> ResponseLimits<'_> {
        ResponseLimits { max_bytes: self.max_bytes, max_headers: self.max_headers, http1: &self.http1 }
    }
}

/// What was read of one message.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Message {
    head: String,
    headers: Vec<String>,
    body: Vec<u8>,
    trailers: Vec<String>,
    whole: bool,
}

/// What was read of a connection: its messages, and why it ended, if it did.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
struct Read {
    messages: Vec<Message>,
    end: Option<(u16, &'static str)>,
}

impl Read {
    /// What tells inputs apart.
    fn outcome(&self) -> impl std::hash::Hash + use<> {
        let messages: Vec<_> = self.messages.iter().map(|m| (m.head.clone(), m.headers.len(), m.body.is_empty(), m.whole)).collect();
        (self.end, messages)
    }
}

/// Reads messages one behind the other from pieces; `head` decodes one head.
fn read<H: std::fmt::Debug>(
    pieces: &[&[u8]],
    of_request: bool,
    trailers: bool,
    mut head: impl FnMut(&mut BytesMut, &mut HeaderList) -> Result<Option<H>, Reject>,
    framing: impl Fn(&H) -> Framing,
) -> Read {
    let mut read = Read::default();
    let mut buf = BytesMut::new();
    let mut headers = HeaderList::new();
    let mut body: Option<BodyDecoder> = None;
    for piece in pieces {
        buf.extend_from_slice(piece);
        let ended = loop {
            let Some(decoder) = &mut body else {
                match head(&mut buf, &mut headers) {
                    Ok(Some(head)) => {
                        body = Some(BodyDecoder::new(framing(&head), trailers, 1000, of_request));
                        let (head, headers) = (format!("{head:?}"), shown(&headers));
                        read.messages.push(Message { head, headers, body: Vec::new(), trailers: Vec::new(), whole: false });
                        continue;
                    }
                    Ok(None) => break None,
                    Err(reject) => break Some(reject),
                }
            };
            let message = read.messages.last_mut().expect("a body belongs to a message");
            match decoder.decode(&mut buf) {
                Ok(BodyEvent::Data(data)) => {
                    assert!(!data.is_empty());
                    message.body.extend_from_slice(&data);
                }
                Ok(BodyEvent::Trailers(trailers)) => message.trailers = shown(&trailers),
                Ok(BodyEvent::End) => {
                    message.whole = true;
                    body = None;
                }
                Ok(BodyEvent::NeedMore) => break None,
                Err(reject) => break Some(reject),
            }
        };
        if let Some(reject) = ended {
            read.end = Some((reject.status, reject.detail));
            break;
        }
    }
    read
}

fn read_requests(options: &Options, pieces: &[&[u8]]) -> Read {
    let mut decoder = RequestDecoder::new();
    let head = |buf: &mut BytesMut, out: &mut HeaderList| decoder.decode_head(options.request(), buf, out);
    read(pieces, true, options.http1.enable_trailers, head, |head: &RequestHead| head.framing)
}

fn read_responses(options: &Options, asked: Asked, pieces: &[&[u8]]) -> Read {
    let mut decoder = ResponseDecoder::new();
    let head = |buf: &mut BytesMut, out: &mut HeaderList| decoder.decode_head(options.response(), asked, buf, out);
    read(pieces, false, options.http1.enable_trailers, head, |head: &ResponseHead| head.framing)
}

/// Whether httparse, which knows nothing of us, found a header that we say was there.
fn is_among(headers: &[httparse::Header<'_>], name: &[u8], value: &[u8]) -> bool {
    headers.iter().any(|header| header.name.as_bytes().eq_ignore_ascii_case(name) && header.value.trim_ascii() == value)
}

/// The entries that are the same at the next hop: all but framing, and the scheme that an absolute target told.
fn lasting(headers: &HeaderList) -> Vec<String> {
    let mut list = headers.clone();
    list.retain(|known, _, _| !matches!(known, Known::TransferEncoding | Known::ContentLength | Known::Scheme | Known::Host));
    let mut list = shown(&list);
    list.sort_unstable();
    list
}

/// Pieces give the same messages. Of several reasons for a refusal that which is seen first is told.
fn assert_same(whole: &Read, pieces: &Read) {
    assert_eq!((&whole.messages, whole.end.is_some()), (&pieces.messages, pieces.end.is_some()), "{:?} {:?}", whole.end, pieces.end);
}

#[test]
fn requests() {
    fuzz(include_str!("../../corpus/http1-request.txt"), WORDS, |input, numbers| {
        let options = Options::of(numbers);
        let whole = read_requests(&options, &[input]);
        assert_same(&whole, &read_requests(&options, &numbers.cut(input)));
        check_request_head(&options, input);
        whole.outcome()
    });
}

fn check_request_head(options: &Options, input: &[u8]) {
    let mut buf = BytesMut::from(input);
    let mut headers = HeaderList::new();
    let Ok(Some(head)) = RequestDecoder::new().decode_head(options.request(), &mut buf, &mut headers) else { return };

    let mut room = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Request::new(&mut room);
    let mut start = input;
    while let Some(rest) = start.strip_prefix(b"\r\n") {
        start = rest;
    }
    // httparse knows the versions 1.0 and 1.1 only; to us the others are what 1.0 is.
    let mut known = start.to_vec();
    if head.version == Protocol::Http10 {
        let end = start.windows(2).position(|two| two == b"\r\n").expect("a request line");
        known[end - 3..end].copy_from_slice(b"1.0");
    }
    let status = theirs.parse(&known).unwrap_or_else(|e| panic!("httparse refuses what we take: {e}"));
    assert_eq!(status, httparse::Status::Complete(start.len() - buf.len()), "where the head ends");
    assert_eq!(theirs.method.unwrap().as_bytes(), headers.method());
    assert!(theirs.path.unwrap().as_bytes().ends_with(if headers.path() == b"/" { b"" } else { headers.path() }));
    for (_, name, value) in headers.iter().filter(|(known, _, _)| *known == Known::Other) {
        assert!(is_among(theirs.headers, name, value), "{}", name.escape_ascii());
    }
    // An empty element of a list is none, as in Envoy.
    let count =
        |name: &str| theirs.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name) && !h.value.trim_ascii().is_empty()).count();
    match head.framing {
        Framing::Chunked => assert_eq!((count("transfer-encoding"), headers.contains(Known::ContentLength)), (1, false)),
        Framing::Length(length) => {
            assert_eq!(count("transfer-encoding"), 0);
            assert!(
                theirs
                    .headers
                    .iter()
                    .filter(|h| h.name.eq_ignore_ascii_case("content-length"))
                    .all(|h| { std::str::from_utf8(h.value).is_ok_and(|value| value.trim().parse() == Ok(length)) })
            );
        }
        Framing::None => assert_eq!(count("transfer-encoding"), 0),
        Framing::UntilClose => panic!("no request ends with its connection"),
        Framing::Tunnel => assert!(head.upgrade || head.connect),
    }

    // Written for an upstream it is read in the same way. The connection manager answers what has no host or no path itself.
    if !headers.contains(Known::Authority) || !head.connect && headers.path()[0] != b'/' {
        return;
    }
    let mut out = BytesMut::new();
    let end_stream = head.framing == Framing::None;
    encode_request_head(&headers, RequestEncoding { end_stream, case: HeaderCase::Lower, full_url: false }, &mut out);
    let mut again = HeaderList::new();
    let reread = RequestDecoder::new().decode_head(Options::plain().request(), &mut out, &mut again);
    let reread = reread.unwrap_or_else(|e| panic!("we refuse what we wrote: {e:?}")).expect("the head is whole");
    assert_eq!((reread.framing, reread.upgrade, out.len()), (head.framing, head.upgrade, 0));
    assert_eq!(lasting(&headers), lasting(&again));
}

#[test]
fn answers() {
    fuzz(include_str!("../../corpus/http1-response.txt"), WORDS, |input, numbers| {
        let options = Options::of(numbers);
        let asked = Asked { head: numbers.below(4) == 0, connect: numbers.below(4) == 0, upgrade: numbers.below(4) == 0 };
        let whole = read_responses(&options, asked, &[input]);
        assert_same(&whole, &read_responses(&options, asked, &numbers.cut(input)));
        check_response_head(&options, asked, input);
        whole.outcome()
    });
}

fn check_response_head(options: &Options, asked: Asked, input: &[u8]) {
    let mut buf = BytesMut::from(input);
    let mut headers = HeaderList::new();
    let Ok(Some(head)) = ResponseDecoder::new().decode_head(options.response(), asked, &mut buf, &mut headers) else { return };
    assert_eq!(headers.status(), head.status);

    let mut room = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Response::new(&mut room);
    // httparse knows the minor versions 0 and 1 only; to us the others are what 0 is.
    let mut known = input.to_vec();
    known[7] = if known[7] == b'1' { b'1' } else { b'0' };
    let status = theirs.parse(&known).unwrap_or_else(|e| panic!("httparse refuses what we take: {e}"));
    assert_eq!(status, httparse::Status::Complete(input.len() - buf.len()), "where the head ends");
    assert_eq!(theirs.code, Some(head.status));
    for (_, name, value) in headers.iter().filter(|(known, _, _)| *known == Known::Other) {
        assert!(is_among(theirs.headers, name, value), "{}", name.escape_ascii());
    }

    if head.informational {
        return;
    }
    let encoding = ResponseEncoding {
        version: Protocol::Http11,
        end_stream: head.framing == Framing::None,
        to_head: asked.head,
        to_connect: asked.connect,
        case: HeaderCase::Lower,
    };
    let mut out = BytesMut::new();
    encode_response_head(&headers, encoding, &mut out);
    let mut again = HeaderList::new();
    let reread = ResponseDecoder::new().decode_head(Options::plain().response(), asked, &mut out, &mut again);
    let reread = reread.unwrap_or_else(|e| panic!("we refuse what we wrote: {e:?}")).expect("the head is whole");
    assert_eq!(reread.status, head.status);
    assert_eq!(lasting(&headers), lasting(&again));
}

#[test]
fn chunked_bodies() {
    let words = ["\r\n", "0\r\n\r\n", "5\r\nhello\r\n", ";a=b", " ", "ffffffffffffffff", "A: b\r\n", "\n"];
    fuzz(include_str!("../../corpus/http1-chunked.txt"), &words, |input, numbers| {
        if input.is_empty() {
            return (None, 0, false);
        }
        let (trailers, of_request) = (numbers.below(2) == 0, numbers.below(2) == 0);
        let decode = |pieces: &[&[u8]]| {
            let mut begun = false;
            let head = |_: &mut BytesMut, _: &mut HeaderList| Ok((!std::mem::replace(&mut begun, true)).then_some(()));
            read(pieces, of_request, trailers, head, |()| Framing::Chunked)
        };
        let whole = decode(&[input]);
        assert_same(&whole, &decode(&numbers.cut(input)));
        let Some(message) = whole.messages.first() else { return (whole.end, 0, false) };
        assert!(message.body.len() <= input.len());

        // The same body written by us is read again.
        let mut encoder = BodyEncoder::Chunked(false);
        let mut out = BytesMut::new();
        for piece in numbers.cut(&message.body) {
            encoder.begin(piece.len(), &mut out).unwrap();
            out.extend_from_slice(piece);
        }
        encoder.finish(None, &mut out).unwrap();
        let again = decode(&[&out]);
        assert_eq!((again.end, &again.messages[0].body, again.messages[0].whole), (None, &message.body, true));
        (whole.end, message.trailers.len(), message.whole)
    });
}

#[test]
fn targets() {
    let words = ["http://", "https://", "/", "//", "?", "#", "@", ":80", ":65536", "[::1]", "%", "*"];
    fuzz(include_str!("../../corpus/target.txt"), &words, |input, numbers| {
        let method = *numbers.of(&["GET", "OPTIONS", "CONNECT", "POST"]);
        let text = [method.as_bytes(), b" ", input, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let mut headers = HeaderList::new();
        let read = RequestDecoder::new().decode_head(Options::plain().request(), &mut BytesMut::from(&text[..]), &mut headers);
        let Ok(Some(head)) = read else { return (read.err().map(|e| e.detail), 0, 0) };
        let (path, authority) = (headers.path(), headers.authority());
        assert!(path.iter().chain(authority).all(u8::is_ascii_graphic), "only what can be seen");
        match (head.connect, headers.get(Known::Scheme)) {
            (true, _) => assert_eq!((authority, path), (input, &b""[..])),
            (false, None) => assert!(path == input && (path[0] == b'/' || path == b"*" && method == "OPTIONS")),
            (false, Some(scheme)) => {
                let bare = [scheme, b"://", authority].concat();
                let url = [&bare[..], path].concat();
                assert!(input.eq_ignore_ascii_case(&url) || path == b"/" && input.eq_ignore_ascii_case(&bare));
                assert!(!authority.contains(&b'@') && matches!(path[0], b'/' | b'?'));
            }
        }
        (None, path.len().min(3), authority.len().min(3))
    });
}
