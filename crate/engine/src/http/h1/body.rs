//! Bodies from bytes to pieces: by length, chunked, until the end of the connection, or a tunnel.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::{CODEC_ERROR, Framing, Reject, decode};
use crate::http::header::HeaderList;

/// Longest line of a chunk's size and extensions, in bytes.
const MAX_CHUNK_LINE: usize = 4096;
/// Most bytes of chunk extensions in one body; they are read and dropped.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Pieces are gathered up to about this size.
const GATHER_MAX: usize = 16 * 1024;

/// What came next of a body.
#[derive(Debug, Clone)]
pub enum BodyEvent {
    /// More bytes of the connection are needed.
    NeedMore,
    /// A piece; never empty.
    Data(Bytes),
    /// Trailers; `End` follows.
    Trailers(HeaderList),
    /// The body is whole.
    End,
}

/// Reads one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Trailers are given, not dropped.
    trailers: bool,
    /// Spaces behind a chunk's size are let pass; some servers fill it up with them.
    lenient: bool,
    max_trailers: usize,
    extensions: usize,
    scan: decode::Scan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    End,
}

impl BodyDecoder {
    /// A decoder of a body with this framing. `trailers` says whether they are given (`enable_trailers`) or dropped; `max_trailers`
    /// bounds their bytes; `of_request` says which side sent the body.
    pub fn new(framing: Framing, trailers: bool, max_trailers: usize, of_request: bool) -> BodyDecoder {
        let state = match framing {
            Framing::None => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose | Framing::Tunnel => State::UntilClose,
        };
        BodyDecoder { state, trailers, lenient: !of_request, max_trailers, extensions: 0, scan: decode::Scan::default() }
    }

    /// A body of no bytes.
    pub fn empty() -> BodyDecoder {
        BodyDecoder::new(Framing::None, false, 0, true)
    }

    /// Whether nothing more belongs to the body.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Whether the peer may end the body by closing.
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Takes what comes next off the front of `buf`; data is split off, not copied.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<BodyEvent, Reject> {
        loop {
            match self.state {
                State::End => return Ok(BodyEvent::End),
                _ if buf.is_empty() => return Ok(BodyEvent::NeedMore),
                State::UntilClose => return Ok(BodyEvent::Data(buf.split().freeze())),
                State::Length(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::End } else { State::Length(left) };
                    return Ok(BodyEvent::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(BodyEvent::Data(self.gather(data, buf)));
                }
                State::ChunkEnd => match buf[..] {
                    [b'\r', b'\n', ..] => {
                        buf.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [b'\r'] => return Ok(BodyEvent::NeedMore),
                    _ => return Err(CODEC_ERROR),
                },
                State::ChunkSize => match self.chunk_size(buf)? {
                    None => return Ok(BodyEvent::NeedMore),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::Chunk(size),
                },
                State::Trailers => {
                    let Some(end) = self.scan.find_end(buf, self.max_trailers.max(2) + 1)? else { return Ok(BodyEvent::NeedMore) };
                    let trailers = decode::parse_trailers(&buf[..end - 2], self.trailers)?;
                    buf.advance(end);
                    self.state = State::End;
                    if !trailers.is_empty() {
                        return Ok(BodyEvent::Trailers(trailers));
                    }
                }
            }
        }
    }

    /// Puts what is here of further chunks behind a small piece, as Envoy makes one of all chunks that it reads at once. Errors are left for the next call.
    fn gather(&mut self, first: Bytes, buf: &mut BytesMut) -> Bytes {
        let mut all = BytesMut::new();
        loop {
            let length = first.len().max(all.len());
            if length >= GATHER_MAX || buf.is_empty() {
                break;
            }
            match self.state {
                State::ChunkEnd if buf.starts_with(b"\r\n") => {
                    buf.advance(2);
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => match self.chunk_size(buf) {
                    Ok(Some(0)) => self.state = State::Trailers,
                    Ok(Some(size)) => self.state = State::Chunk(size),
                    Ok(None) | Err(_) => break,
                },
                State::Chunk(left) => {
                    if all.is_empty() {
                        all.reserve(first.len() + buf.len());
                        all.extend_from_slice(&first);
                    }
                    let here = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
                    all.extend_from_slice(&buf[..here]);
                    buf.advance(here);
                    let left = left - here as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                }
                _ => break,
            }
        }
        if all.is_empty() { first } else { all.freeze() }
    }

    fn chunk_size(&mut self, buf: &mut BytesMut) -> Result<Option<u64>, Reject> {
        let Some(end) = memchr(b'\n', &buf[..buf.len().min(MAX_CHUNK_LINE)]) else {
            // The first byte tells of garbage before its line is whole.
            return if buf.len() >= MAX_CHUNK_LINE || !buf[0].is_ascii_hexdigit() { Err(CODEC_ERROR) } else { Ok(None) };
        };
        let Some((b'\r', line)) = buf[..end].split_last() else { return Err(CODEC_ERROR) };
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits == 0 {
            return Err(CODEC_ERROR);
        }
        let mut size = 0u64;
        for digit in &line[..digits] {
            // One digit less than fits, so that no sum of lengths later overflows.
            if size >> 56 != 0 {
                return Err(CODEC_ERROR);
            }
            size = size << 4 | u64::from(hex(*digit));
        }
        let rest = &line[digits..];
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        match rest.get(blanks) {
            None if blanks == 0 || self.lenient => {}
            Some(b';') if super::chars::is_value(rest) => {}
            _ => return Err(CODEC_ERROR),
        }
        self.extensions += rest.len();
        if self.extensions > MAX_EXTENSIONS {
            return Err(CODEC_ERROR);
        }
        buf.advance(end + 1);
        Ok(Some(size))
    }
}

fn take(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    let data = if here == buf.len() { buf.split() } else { buf.split_to(here) };
    (data.freeze(), left - here as u64)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
