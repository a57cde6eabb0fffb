//! HTTP/3 frames (RFC 9114), sans I/O: chunks of a QUIC stream to frames, and frames to bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::Code;

/// Types of frames.
pub mod kind {
    /// A piece of a body.
    pub const DATA: u64 = 0x0;
    /// A head, or trailers.
    pub const HEADERS: u64 = 0x1;
    /// What the sender is ready for; the first on a control stream.
    pub const SETTINGS: u64 = 0x4;
    /// No further stream is served.
    pub const GOAWAY: u64 = 0x7;
    pub(super) const CANCEL_PUSH: u64 = 0x3;
    pub(super) const PUSH_PROMISE: u64 = 0x5;
    pub(super) const MAX_PUSH_ID: u64 = 0xd;
    /// Types of HTTP/2, which HTTP/3 has not.
    pub(super) const RESERVED: [u64; 4] = [0x2, 0x6, 0x8, 0x9];
}

/// What came of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A piece of a body, as long as it came; never empty.
    Data(Bytes),
    /// A field section; `None` where it is longer than the reader allows.
    Headers(Option<Bytes>),
    /// The payload of SETTINGS.
    Settings(Bytes),
    /// The payload of GOAWAY.
    Goaway(Bytes),
}

/// Which frames a stream may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A request and its answer.
    Request,
    /// The control stream of a peer.
    Control,
}

/// Reads the frames of one stream.
pub struct Frames {
    place: Place,
    /// The longest payload that is kept, in bytes.
    limit: usize,
    /// Bytes of a frame that is not whole yet.
    kept: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between frames, or within the head of one.
    Head,
    /// Within a payload that goes on as it comes.
    Data(u64),
    /// Within one that is kept until it is whole.
    Whole(u64, usize),
    /// Within one that means nothing, or is too long.
    Skipped(u64),
}

impl Frames {
    /// A reader that keeps field sections and settings of up to `limit` bytes.
    pub fn new(place: Place, limit: usize) -> Frames {
        Frames { place, limit, kept: BytesMut::new(), state: State::Head }
    }

    /// The next frame, or piece of one; takes from `chunk` what it has read. `None` where there is no more in it. An error ends the connection.
    pub fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Frame>, Code> {
        loop {
            match self.state {
                State::Head => {
                    let Some((kind, length)) = self.head(chunk) else { return Ok(None) };
                    if let Some(frame) = self.begin(kind, length)? {
                        return Ok(Some(frame));
                    }
                }
                State::Data(0) | State::Skipped(0) => self.state = State::Head,
                State::Whole(kind, length) => {
                    let missing = length - self.kept.len();
                    self.kept.extend_from_slice(&chunk.split_to(missing.min(chunk.len())));
                    if self.kept.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    let payload = std::mem::take(&mut self.kept).freeze();
                    return Ok(Some(match kind {
                        kind::HEADERS => Frame::Headers(Some(payload)),
                        kind::SETTINGS => Frame::Settings(payload),
                        _ => Frame::Goaway(payload),
                    }));
                }
                State::Data(_) | State::Skipped(_) if chunk.is_empty() => return Ok(None),
                State::Data(left) => {
                    let piece = chunk.split_to(chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                    self.state = State::Data(left - piece.len() as u64);
                    return Ok(Some(Frame::Data(piece)));
                }
                State::Skipped(left) => {
                    let n = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    chunk.advance(n);
                    self.state = State::Skipped(left - n as u64);
                }
            }
        }
    }

    /// Whether the stream may end here: not within a frame.
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Head | State::Data(0) | State::Skipped(0)) && self.kept.is_empty()
    }

    /// Type and length of the next frame, once both are there.
    fn head(&mut self, chunk: &mut Bytes) -> Option<(u64, u64)> {
        loop {
            let mut kept = &self.kept[..];
            if let Some(kind) = varint(&mut kept)
                && let Some(length) = varint(&mut kept)
            {
                self.kept.clear();
                return Some((kind, length));
            }
            if chunk.is_empty() {
                return None;
            }
            self.kept.extend_from_slice(&[chunk.get_u8()]);
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<Option<Frame>, Code> {
        let fits = usize::try_from(length).ok().filter(|length| *length <= self.limit);
        self.state = match (kind, self.place) {
            (kind::DATA, Place::Request) => State::Data(length),
            (kind::HEADERS, Place::Request) => match fits {
                Some(length) => State::Whole(kind, length),
                None => {
                    self.state = State::Skipped(length);
                    return Ok(Some(Frame::Headers(None)));
                }
            },
            (kind::SETTINGS | kind::GOAWAY, Place::Control) => State::Whole(kind, fits.ok_or(Code::EXCESSIVE_LOAD)?),
            // Nothing is ever pushed.
            (kind::CANCEL_PUSH | kind::MAX_PUSH_ID, Place::Control) => State::Skipped(length),
            (kind::DATA | kind::HEADERS | kind::SETTINGS | kind::GOAWAY, _) => return Err(Code::FRAME_UNEXPECTED),
            (kind::CANCEL_PUSH | kind::MAX_PUSH_ID | kind::PUSH_PROMISE, _) => return Err(Code::FRAME_UNEXPECTED),
            (kind, _) if kind::RESERVED.contains(&kind) => return Err(Code::FRAME_UNEXPECTED),
            _ => State::Skipped(length),
        };
        Ok(None)
    }
}

/// Takes a variable-length integer (RFC 9000) off `input`; `None` where it is not whole, and then nothing is taken.
pub fn varint(input: &mut &[u8]) -> Option<u64> {
    let length = 1usize << (input.first()? >> 6);
    let (bytes, rest) = input.split_at_checked(length)?;
    let value = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    *input = rest;
    Some(value & (u64::MAX >> (2 + 64 - 8 * length as u32)))
}

/// Writes a variable-length integer of less than 2^62.
pub fn put_varint(value: u64, out: &mut Vec<u8>) {
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Writes the head of a frame.
pub fn put_head(kind: u64, length: usize, out: &mut Vec<u8>) {
    put_varint(kind, out);
    put_varint(length as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames of `bytes`, which come in pieces of so many bytes.
    fn frames(place: Place, bytes: &[u8], step: usize) -> Result<(Vec<Frame>, bool), Code> {
        let mut reader = Frames::new(place, 64);
        let mut found: Vec<Frame> = Vec::new();
        for chunk in bytes.chunks(step) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(frame) = reader.next(&mut chunk)? {
                match (found.last_mut(), frame) {
                    (Some(Frame::Data(before)), Frame::Data(piece)) => *before = [&before[..], &piece[..]].concat().into(),
                    (_, frame) => found.push(frame),
                }
            }
            assert!(chunk.is_empty());
        }
        Ok((found, reader.may_end()))
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let bytes = b"\x01\x03abc\x00\x05hello\x21\x02zz\x00\x00\x01\x40\x01d";
        let wanted = vec![
            Frame::Headers(Some(Bytes::from_static(b"abc"))),
            Frame::Data(Bytes::from_static(b"hello")),
            Frame::Headers(Some(Bytes::from_static(b"d"))),
        ];
        for step in 1..=bytes.len() {
            assert_eq!(frames(Place::Request, bytes, step), Ok((wanted.clone(), true)), "{step}");
        }
        for cut in [1, 2, 4, 6, 9, 13] {
            assert!(!frames(Place::Request, &bytes[..cut], 3).unwrap().1, "{cut}");
        }
    }

    #[test]
    fn a_long_field_section_is_told_at_once_and_not_kept() {
        let mut bytes = vec![0x01, 0x40, 65];
        assert_eq!(frames(Place::Request, &bytes, 1), Ok((vec![Frame::Headers(None)], false)));
        bytes.extend([b'a'; 65]);
        bytes.extend(b"\x00\x01x");
        let wanted = vec![Frame::Headers(None), Frame::Data(Bytes::from_static(b"x"))];
        assert_eq!(frames(Place::Request, &bytes, 7), Ok((wanted, true)));
        assert_eq!(frames(Place::Control, b"\x04\xff\xff\xff\xff\xff\xff\xff\xff", 3), Err(Code::EXCESSIVE_LOAD));
    }

    #[test]
    fn a_frame_in_the_wrong_place_ends_the_connection() {
        for kind in [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xd] {
            assert_eq!(frames(Place::Request, &[kind, 0], 2), Err(Code::FRAME_UNEXPECTED), "{kind}");
        }
        for kind in [0x0, 0x1, 0x2, 0x5, 0x6, 0x8, 0x9] {
            assert_eq!(frames(Place::Control, &[kind, 0], 2), Err(Code::FRAME_UNEXPECTED), "{kind}");
        }
        let (found, whole) = frames(Place::Control, b"\x04\x02\x06\x01\x07\x01\x04\x0d\x01\x05\x40\x21\x00", 2).unwrap();
        assert_eq!((found.len(), whole), (2, true));
    }

    #[test]
    fn integers_of_every_length() {
        for value in [0, 63, 64, 16383, 16384, (1 << 30) - 1, 1 << 30, (1 << 62) - 1] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            for cut in 0..out.len() {
                assert_eq!(varint(&mut &out[..cut]), None);
            }
            let mut input = &out[..];
            assert_eq!((varint(&mut input), input.len()), (Some(value), 0));
        }
    }
}
