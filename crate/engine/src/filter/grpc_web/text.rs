//! base64 around the bodies of `application/grpc-web-text`, piece by piece.

use std::task::{Context, Poll, ready};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;

use crate::http::{
    body::{Body, BodyError, Frame, PollBody},
    grpc::PREFIX,
};

const MALFORMED: &str = "Bad gRPC-web request, invalid base64 data.";

/// A request's body, decoded. Padding may stand at the end of any group of four.
pub struct FromText {
    body: Body,
    carry: BytesMut,
}

impl FromText {
    pub fn new(body: Body) -> FromText {
        FromText { body, carry: BytesMut::new() }
    }
}

impl PollBody for FromText {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let refused = |detail| Poll::Ready(Some(Err(BodyError::Refused { status: 400, body: MALFORMED, detail })));
        loop {
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => {
                    self.carry.extend_from_slice(&data);
                    let whole = self.carry.split_to(self.carry.len() / 4 * 4);
                    let Some(decoded) = decode(&whole) else { return refused("grpc_base_64_decode_failed") };
                    if !decoded.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(decoded.into()))));
                    }
                }
                None if !self.carry.is_empty() => {
                    self.carry.clear();
                    return refused("grpc_base_64_decode_failed_bad_size");
                }
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        self.body.poll_background(cx);
    }
}

/// Decodes groups of four, padded or not.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut rest = text;
    while !rest.is_empty() {
        // A run of groups without padding, or with it in its last.
        let end = memchr::memchr(b'=', rest).map_or(rest.len(), |at| at / 4 * 4 + 4);
        let (run, behind) = rest.split_at_checked(end)?;
        STANDARD.decode_vec(run, &mut out).ok()?;
        rest = behind;
    }
    Some(out)
}

/// An answer's body, each message encoded by itself.
pub struct ToText {
    body: Body,
    prefix: [u8; PREFIX],
    read: usize,
    /// What is left of the message behind the prefix.
    left: u32,
    /// Bytes of the message that wait for their group of three.
    carry: Vec<u8>,
}

impl ToText {
    pub fn new(body: Body) -> ToText {
        ToText { body, prefix: [0; PREFIX], read: 0, left: 0, carry: Vec::new() }
    }

    fn encode(&mut self, mut bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len() / 3 * 4 + 8);
        while !bytes.is_empty() {
            if self.read < PREFIX {
                let taken = bytes.len().min(PREFIX - self.read);
                self.prefix[self.read..self.read + taken].copy_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                self.read += taken;
                if self.read < PREFIX {
                    break;
                }
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length);
                self.carry.extend_from_slice(&self.prefix);
            } else {
                let (here, behind) = bytes.split_at(bytes.len().min(self.left as usize));
                self.carry.extend_from_slice(here);
                self.left -= here.len() as u32;
                bytes = behind;
            }
            let whole = if self.left == 0 { self.carry.len() } else { self.carry.len() / 3 * 3 };
            STANDARD.encode_string(&self.carry[..whole], &mut out);
            self.carry.drain(..whole);
            if self.left == 0 {
                self.read = 0;
            }
        }
        out
    }
}

impl PollBody for ToText {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => {
                    let text = self.encode(&data);
                    if !text.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(text.into()))));
                    }
                }
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        self.body.poll_background(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_may_stand_between_runs() {
        assert_eq!(decode(b"AAAAAAI=aGk=").unwrap(), b"\0\0\0\0\x02hi");
        assert_eq!(decode(b"").unwrap(), b"");
        for bad in [&b"A=AA"[..], b"====", b"AA*A", b"AAA=="] {
            assert_eq!(decode(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn every_message_is_encoded_by_itself_wherever_the_pieces_are_cut() {
        let messages = [&[0, 0, 0, 0, 2, b'h', b'i'][..], &[0, 0, 0, 0, 0], &[128, 0, 0, 0, 4, b'a', b':', b'b', 13]];
        let want: String = messages.iter().map(|m| STANDARD.encode(m)).collect();
        let body = messages.concat();
        for size in 1..body.len() {
            let mut writer = ToText::new(Body::Empty);
            let text: String = body.chunks(size).map(|piece| writer.encode(piece)).collect();
            assert_eq!(text, want, "pieces of {size}");
        }
    }

    #[test]
    fn text_in_pieces_is_text_as_a_whole() {
        let words = ["=", "==", "AAAA", "aGk=", "\n", "*", "\0"];
        plenipo_testkit::fuzz::fuzz(include_str!("../../../tests/corpus/grpc-web-text.txt"), &words, |input, numbers| {
            let whole = decode(&input[..input.len() / 4 * 4]);
            let (mut carry, mut decoded) = (BytesMut::new(), Some(Vec::new()));
            for piece in numbers.cut(input) {
                carry.extend_from_slice(piece);
                let groups = carry.split_to(carry.len() / 4 * 4);
                decoded = decoded.zip(decode(&groups)).map(|(mut all, more)| {
                    all.extend(more);
                    all
                });
            }
            assert_eq!(decoded, whole);
            // What was decoded is encoded and decoded to the same again, as messages or not.
            let bytes = whole?;
            let (mut once, mut pieces) = (ToText::new(Body::Empty), ToText::new(Body::Empty));
            let text = once.encode(&bytes);
            assert_eq!(numbers.cut(&bytes).into_iter().map(|piece| pieces.encode(piece)).collect::<String>(), text);
            let back = decode(text.as_bytes()).expect("what is written can be read");
            assert!(bytes.starts_with(&back));
            Some((bytes.len(), back.len() == bytes.len()))
        });
    }
}
