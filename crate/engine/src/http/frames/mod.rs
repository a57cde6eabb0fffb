//! Sees the frame headers of an HTTP/2 connection as its bytes pass, and hands them to the [`Watch`] that ends the connection of a peer
//! that floods it.
//!
//! The HTTP/2 library above bounds what it keeps, but not how much work a peer may make it do with frames that cost the peer
//! nothing. Here nothing is copied but nine bytes a frame, and nothing is done for each byte but of header blocks.

mod greeting;
mod hpack;
mod watch;

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use greeting::Greeting;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
pub use watch::{Flood, Role, Watch, WatchedStream};

use super::io::Meter;

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// Of HEADERS: five bytes of priority stand before the block.
const HAS_PRIORITY: u8 = 32;

/// A transport whose frames are seen.
pub struct Watched<T> {
    transport: T,
    meter: Meter,
    inbound: Parser,
    outbound: Parser,
    watch: Rc<Watch>,
    /// Our first frame, until it is written; absent where it is the library's as it is.
    greeting: Option<Box<Greeting>>,
    /// What came before the frame that was one too many has been taken by the reader.
    told: bool,
}

impl<T> Watched<T> {
    /// Watches a connection on which nothing was read or written yet. What stands in `settings` is sent with the library's own.
    pub fn new(transport: T, meter: Meter, watch: Rc<Watch>, settings: &[u8]) -> Watched<T> {
        let preface = |here| Parser { skip: if here { PREFACE } else { 0 }, ..Parser::default() };
        let (inbound, outbound) = (preface(watch.role() == Role::Server), preface(watch.role() == Role::Client));
        let greeting = (!settings.is_empty()).then(|| Box::new(Greeting::new(outbound.skip, settings)));
        Watched { transport, meter, inbound, outbound, watch, greeting, told: false }
    }

    fn wrote(&mut self, bufs: &[io::IoSlice<'_>], mut n: usize) {
        self.meter.wrote(n);
        for buf in bufs {
            let here = n.min(buf.len());
            self.outbound.walk(&buf[..here], |seen| {
                if let Seen::Frame(frame) = seen {
                    self.watch.outbound(frame);
                }
                true
            });
            n -= here;
        }
    }
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    /// Ready when the first frame is written, where it is ours.
    fn poll_greet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut greeting) = self.greeting.take() {
            let left = greeting.left();
            if left.is_empty() {
                // A greeting that is not whole yet stays.
                self.greeting = (!greeting.is_over()).then_some(greeting);
                break;
            }
            let written = Pin::new(&mut self.transport).poll_write(cx, left);
            self.watch.block(written.is_pending());
            if let Poll::Ready(Ok(n)) = written {
                self.wrote(&[io::IoSlice::new(&left[..n])], n);
                greeting.wrote(n);
            }
            self.greeting = Some(greeting);
            std::task::ready!(written)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(flood) = this.watch.flood() {
            if flood.says_goodbye() && this.watch.role() == Role::Server {
                // Nothing more is read; the connection's loop says goodbye.
                return Poll::Pending;
            }
            if std::mem::replace(&mut this.told, true) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "flood")));
            }
            // One turn, in which the streams that came before the flood are handed out, and then end with it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.transport).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        this.meter.read(read.len());
        let one_too_many = this.inbound.walk(read, |seen| match seen {
            Seen::Frame(frame) => this.watch.inbound(frame),
            Seen::Block(bytes) => this.watch.inbound_block(bytes),
        });
        match one_too_many {
            None => Poll::Ready(Ok(())),
            Some(0) => {
                this.told = true;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "flood")))
            }
            Some(at) => {
                buf.set_filled(before + at);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.greeting.is_some() {
            std::task::ready!(this.poll_greet(cx))?;
            if let Some(greeting) = &mut this.greeting {
                return Poll::Ready(Ok(bufs.iter().find(|buf| !buf.is_empty()).map_or(0, |buf| greeting.take(buf))));
            }
        }
        let written = Pin::new(&mut this.transport).poll_write_vectored(cx, bufs);
        this.watch.block(written.is_pending());
        let n = std::task::ready!(written)?;
        this.wrote(bufs, n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_greet(cx))?;
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        this.watch.block(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}

/// What a frame's header says.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Bytes of the payload without padding.
    payload: usize,
}

/// What passes.
enum Seen<'a> {
    /// A frame begins.
    Frame(&'a Frame),
    /// Bytes of the payload of HEADERS or CONTINUATION, padding behind it and all.
    Block(&'a [u8]),
}

/// Finds the frame headers of one direction.
#[derive(Default)]
struct Parser {
    /// The header under way, with the length of its padding behind it where it has one.
    head: [u8; 10],
    have: usize,
    /// Bytes up to the next header.
    skip: usize,
}

impl Parser {
    /// Calls `see` for each frame that begins here, and for what is here of header blocks, until it says no; gives where in `bytes` the frame's header
    /// starts (0 where it started earlier), or the part of the block ends.
    fn walk(&mut self, bytes: &[u8], mut see: impl FnMut(Seen<'_>) -> bool) -> Option<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            if skipped > 0 && matches!(self.head[3], HEADERS | CONTINUATION) && !see(Seen::Block(&bytes[at - skipped..at])) {
                return Some(at);
            }
            if at == bytes.len() {
                return None;
            }
            let taken = (self.needed() - self.have).min(bytes.len() - at);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[at..at + taken]);
            self.have += taken;
            at += taken;
            if self.have < self.needed() {
                continue;
            }
            let [a, b, c, kind, flags, s, t, u, v, padding] = self.head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let read = self.have - 9;
            let padding = if read == 1 { 1 + usize::from(padding) } else { 0 };
            let stream = u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff;
            let began = at.saturating_sub(self.have);
            self.have = 0;
            self.skip = length - read;
            if !see(Seen::Frame(&Frame { kind, flags, stream, payload: length.saturating_sub(padding) })) {
                return Some(began);
            }
        }
    }

    /// How long the header under way is, as far as is known: padded frames have one byte more that matters.
    fn needed(&self) -> usize {
        let padded = self.have >= 9 && matches!(self.head[3], DATA | HEADERS) && self.head[4] & PADDED != 0 && self.head[..3] != [0; 3];
        if padded { 10 } else { 9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn seen(bytes: &[u8], piece: usize) -> Vec<(u8, u8, u32, usize)> {
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            let stopped = parser.walk(piece, |seen| {
                if let Seen::Frame(f) = seen {
                    frames.push((f.kind, f.flags, f.stream, f.payload));
                }
                true
            });
            assert_eq!(stopped, None);
        }
        frames
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let bytes = [
            frame(HEADERS, 5, 1, &[7; 300]),
            frame(DATA, PADDED, 1, &[3, 9, 9, 0, 0, 0]),
            frame(DATA, PADDED, 1, &[]),
            frame(PING, 0, 0, &[0; 8]),
            frame(SETTINGS, ACK, 0, &[]),
        ]
        .concat();
        let all = [(HEADERS, 5, 1, 300), (DATA, PADDED, 1, 2), (DATA, PADDED, 1, 0), (PING, 0, 0, 8), (SETTINGS, ACK, 0, 0)];
        for piece in 1..bytes.len() + 1 {
            assert_eq!(seen(&bytes, piece), all, "in pieces of {piece}");
        }
        assert_eq!(seen(&frame(DATA, PADDED, 1, &[200]), 4), [(DATA, PADDED, 1, 0)]);
    }

    #[test]
    fn the_frame_that_is_one_too_many_is_where_reading_stops() {
        let bytes = [frame(PING, 0, 0, &[0; 8]), frame(PRIORITY, 0, 1, &[0; 5]), frame(PING, 0, 0, &[0; 8])].concat();
        let mut parser = Parser::default();
        assert_eq!(parser.walk(&bytes, |seen| matches!(seen, Seen::Frame(f) if f.kind == PING)), Some(17));
        let mut parser = Parser::default();
        assert_eq!(parser.walk(&bytes[..20], |_| true), None);
        assert_eq!(parser.walk(&bytes[20..], |_| false), Some(0));
    }
}
