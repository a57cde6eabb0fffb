//! Whole connections to a running proxy, HTTP/1 and HTTP/2: nothing panics, a connection that its client has ended ends, and the next one is served.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use plenipo_testkit::{
    client::get,
    config::{Cluster, Listener},
    fuzz::fuzz,
};
use serde_json::json;

use crate::support::start;

/// An upstream on threads of its own, as the target keeps this one busy: an answer for each head, as often as somebody connects.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let Ok(mut stream) = stream else { return };
                let mut seen = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(1..) = stream.read(&mut piece).inspect(|n| seen.extend_from_slice(&piece[..*n])) {
                    while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                        seen.drain(..end + 4);
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                    }
                }
            });
        }
    });
    address
}

/// Writes an input in pieces, ends, and gives what came back.
fn talk(to: SocketAddr, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    let written = pieces.iter().try_for_each(|piece| stream.write_all(piece)).and_then(|()| stream.shutdown(Shutdown::Write));
    match stream.read_to_end(&mut answer) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            panic!("the connection is still open after 10 s; written: {written:?}")
        }
        // It may be reset under bytes that nobody reads any more.
        _ => answer,
    }
}

/// The kinds of the first frames of HTTP/2.
fn kinds(mut answer: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = answer {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        answer = rest.get(length..).unwrap_or_default();
    }
    kinds.truncate(8);
    kinds
}

async fn run(corpus: &str, words: &[&str]) {
    let listener = Listener::new("l").direct("/direct", "hi").to("/", "up", json!({ "timeout": "1s" }));
    let proxy = start(1, &[&listener], &[&Cluster::new("up", &[upstream()])]).await;
    let at = proxy.at("l");
    fuzz(corpus, words, |input, numbers| {
        let answer = talk(at, &numbers.cut(input)[..]);
        assert_eq!(proxy.0.panics(), 0);
        if answer.starts_with(b"HTTP/1.1 ") { answer[..12].to_vec() } else { kinds(&answer) }
    });
    assert_eq!(get(at, "/direct").await.text(), "hi");
    assert_eq!(get(at, "/x").await.text(), "ok");
}

#[tokio::test]
async fn http1_connections() {
    run(include_str!("../../corpus/http1-request.txt"), super::http1::WORDS).await;
}

#[tokio::test]
async fn http2_connections() {
    let words = ["\0\0\0\x04\0\0\0\0\0", "\0\0\x05\0\x01\0\0\0\x03hello", "\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08", "\x40\x01a\x01b"];
    run(include_str!("../../corpus/h2-frames.txt"), &words).await;
}
