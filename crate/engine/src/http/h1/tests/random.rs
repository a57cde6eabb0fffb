//! Property tests: splits, damage and garbage; what is written is read again.

use bytes::Bytes;

use super::{written::list, *};
use crate::http::header::Known;

/// A small generator of pseudo-random numbers, so that failures repeat.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

const SAMPLES: &[&str] = &[
    "POST /a HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    "PUT http://h:1/a?b HTTP/1.1\r\nConnection: close, x\r\nX: 1\r\nContent-Length: 5\r\n\r\nhello",
    "\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\nraw bytes",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nA: 1\r\n\r\nuntil the end",
];

#[test]
fn any_split_gives_the_same_message() {
    let mut numbers = Numbers(7);
    for round in 0..4000 {
        let mut text = SAMPLES[round % SAMPLES.len()].as_bytes().to_vec();
        // Most rounds break the message somewhere, to see that errors do not depend on the split either.
        if round % 3 > 0 {
            let at = numbers.below(text.len());
            text[at] = b"\r\n\0 :;,\t0fHx\x7f\xff"[numbers.below(14)];
        }
        let mut pieces = Vec::new();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + numbers.below(rest.len().min(20)));
            pieces.push(piece);
            rest = after;
        }
        let options = Options { http1: Http1 { enable_trailers: true, ..Http1::default() }, ..Options::default() };
        for (whole, split) in [
            (read_request(&options, &[&text]), read_request(&options, &pieces)),
            (
                read_response(Asked { upgrade: true, ..Asked::default() }, &[&text]),
                read_response(Asked { upgrade: true, ..Asked::default() }, &pieces),
            ),
        ] {
            // A tunnel takes what is there; in what pieces is of no matter.
            assert_eq!(
                (&whole.head, &whole.headers, &whole.body, &whole.end),
                (&split.head, &split.headers, &split.body, &split.end),
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn no_bytes_make_the_codec_panic() {
    let mut numbers = Numbers(99);
    let words: Vec<&[u8]> = "GET |POST |HTTP/1.1|HTTP/1.0|\r\n|\r\n\r\n|Host: x|Content-Length: |Transfer-Encoding: chunked|Connection: |upgrade|Upgrade: h2c|te|, |:|/|*|a|0|f|ffffffff|;|\n|\r| |\t|http://|[|]|@|é|200 OK|HTTP/1.1 200"
        .split('|').map(str::as_bytes).collect();
    for _ in 0..20_000 {
        let mut text = Vec::new();
        if numbers.below(2) == 0 {
            text.extend_from_slice(SAMPLES[numbers.below(SAMPLES.len())].as_bytes());
            text.truncate(numbers.below(text.len()));
        }
        for _ in 0..numbers.below(30) {
            match numbers.below(8) {
                0 => text.push(numbers.below(256) as u8),
                _ => text.extend_from_slice(words[numbers.below(words.len())]),
            }
        }
        read_request(&Options::default(), &[&text]);
        read_response(Asked::default(), &[&text]);
        let mut buf = BytesMut::from(&text[..]);
        let mut chunks = BodyDecoder::new(Framing::Chunked, true, 100, false);
        while let Ok(BodyEvent::Data(_) | BodyEvent::Trailers(_)) = chunks.decode(&mut buf) {}
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut numbers = Numbers(3);
    for _ in 0..500 {
        let mut headers = list(&[(":method", "POST"), (":path", "/p"), (":authority", "x")]);
        for n in 0..numbers.below(10) {
            headers.append(format!("h{n}").as_bytes(), "v".repeat(numbers.below(40)).as_bytes());
        }
        let pieces: Vec<Bytes> = (0..numbers.below(5)).map(|_| Bytes::from(vec![b'z'; 1 + numbers.below(70_000)])).collect();
        let whole: Vec<u8> = pieces.concat();
        let fixed = numbers.below(2) == 0;
        if fixed {
            headers.append_known(Known::ContentLength, whole.len().to_string().as_bytes());
        }
        let mut out = BytesMut::new();
        let mut body = encode_request_head(&headers, RequestEncoding::default(), &mut out);
        for piece in &pieces {
            body.begin(piece.len(), &mut out).unwrap();
            out.extend_from_slice(piece);
        }
        body.finish(None, &mut out).unwrap();
        let read = read_request(&Options::default(), &[&out]);
        assert_eq!((read.end.as_str(), read.rest), ("end", 0));
        assert_eq!(read.body, whole);
        let written: Vec<String> = shown(&headers);
        assert!(written.iter().all(|header| read.headers.contains(header)));
    }
}
