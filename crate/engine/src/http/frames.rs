//! Sees the frame headers of an HTTP/2 connection as its bytes pass, counts them, and ends a connection whose peer floods it.
//!
//! The HTTP/2 library above bounds what it keeps, but not how much work a peer may make it do with frames that cost the peer
//! nothing. Here nothing is copied but nine bytes a frame, and nothing is done for each byte.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{io::Meter, settings::FloodLimits};
use crate::{error::Flags, stats::Http2Stats};

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// A connection that resets streams before they are answered is closed once half of so many were (`overload.premature_reset_total_stream_count`).
const PREMATURE_RESETS: u64 = 500;

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
const PADDED: u8 = 8;

/// What a peer did too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// More PING and SETTINGS than were answered.
    Control,
    /// Frames without a payload that end nothing.
    Empty,
    /// PRIORITY
    Priority,
    /// WINDOW_UPDATE
    WindowUpdate,
}

impl Flood {
    /// Envoy's detail of the streams that end with the connection; their flag is `DPE`.
    pub fn detail(self) -> &'static str {
        match self {
            Flood::Control => "codec_error:Too_many_control_frames_in_the_outbound_queue.",
            Flood::Empty => "http2.inbound_empty_frames_flood",
            Flood::Priority => "codec_error:Too_many_PRIORITY_frames",
            Flood::WindowUpdate => "codec_error:Too_many_WINDOW_UPDATE_frames",
        }
    }

    /// The flag of those streams.
    pub const FLAG: Flags = Flags::DOWNSTREAM_PROTOCOL_ERROR;
}

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer opens streams.
    Server,
    /// We do.
    Client,
}

/// What is known of a connection's frames; shared by its transport, its loop and its streams.
pub struct Watch {
    role: Role,
    limits: FloodLimits,
    /// `http2.` of a client's connection, `cluster.<name>.http2.` of an upstream one.
    pub stats: Http2Stats,
    flood: Cell<Option<Flood>>,
    last_stream: Cell<u32>,
    opened: Cell<u64>,
    begun: Cell<u64>,
    ended: Cell<u64>,
    premature: Cell<u64>,
    /// A stream ended because the connection did.
    lost: Cell<bool>,
    /// PING and SETTINGS of the peer that are not acknowledged yet.
    owed: Cell<u32>,
    /// Frames without payload, one behind the other.
    empty: Cell<u32>,
    priorities: Cell<u64>,
    window_updates: Cell<u64>,
    data_sent: Cell<u64>,
    /// The connection's loop, woken where streams were reset too early too often.
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    /// Of a new connection.
    pub fn new(role: Role, limits: FloodLimits, stats: Http2Stats) -> Rc<Watch> {
        Rc::new(Watch {
            role,
            limits,
            stats,
            flood: Cell::default(),
            last_stream: Cell::default(),
            opened: Cell::default(),
            begun: Cell::default(),
            ended: Cell::default(),
            premature: Cell::default(),
            lost: Cell::default(),
            owed: Cell::default(),
            empty: Cell::default(),
            priorities: Cell::default(),
            window_updates: Cell::default(),
            data_sent: Cell::default(),
            waker: RefCell::default(),
        })
    }

    /// Why the connection ends, where its peer flooded it.
    pub fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Counts a stream until the guard is dropped.
    pub fn stream(self: &Rc<Watch>) -> WatchedStream {
        self.begun.set(self.begun.get() + 1);
        self.stats.streams_active().inc();
        WatchedStream { watch: self.clone(), premature: false }
    }

    /// Streams under way.
    pub fn active(&self) -> u64 {
        self.begun.get() - self.ended.get()
    }

    /// Whether the peer resets so many streams unanswered that nothing else can be its aim.
    pub fn resets_prematurely(&self) -> bool {
        let (ended, premature) = (self.ended.get(), self.premature.get());
        premature > 0 && premature * 2 >= ended.max(PREMATURE_RESETS)
    }

    /// Notes that a stream ended because the connection did.
    pub fn lose(&self) {
        self.lost.set(true);
    }

    /// Whether a stream did.
    pub fn has_lost(&self) -> bool {
        self.lost.get()
    }

    /// Leaves the waker of the connection's loop; does its work in the first poll.
    pub fn register(&self, cx: &Context<'_>) {
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
    }

    fn open(&self) -> u64 {
        self.opened.get().saturating_sub(self.ended.get())
    }

    fn sees_new_stream(&self, frame: &Frame) {
        if frame.stream > self.last_stream.get() {
            self.last_stream.set(frame.stream);
            self.opened.set(self.opened.get() + 1);
        }
    }

    /// A frame of the peer; what it floods us with, if it does.
    fn inbound(&self, frame: &Frame) -> Option<Flood> {
        match frame.kind {
            DATA | HEADERS | CONTINUATION => {
                if frame.kind == HEADERS && self.role == Role::Server {
                    self.sees_new_stream(frame);
                }
                let ends = frame.kind != CONTINUATION && frame.flags & END_STREAM != 0;
                let empty = if frame.payload == 0 && !ends { self.empty.get() + 1 } else { 0 };
                self.empty.set(empty);
                if empty > self.limits.empty_frames {
                    self.stats.inbound_empty_frames_flood().inc();
                    return Some(Flood::Empty);
                }
            }
            PRIORITY => {
                self.priorities.set(self.priorities.get() + 1);
                if self.priorities.get() > u64::from(self.limits.priority_frames) * (1 + self.open()) {
                    self.stats.inbound_priority_frames_flood().inc();
                    return Some(Flood::Priority);
                }
            }
            WINDOW_UPDATE => {
                self.window_updates.set(self.window_updates.get() + 1);
                let allowed = 5 + 2 * (self.open() + u64::from(self.limits.window_updates) * self.data_sent.get());
                if self.window_updates.get() > allowed {
                    self.stats.inbound_window_update_frames_flood().inc();
                    return Some(Flood::WindowUpdate);
                }
            }
            PING | SETTINGS if frame.flags & ACK == 0 => {
                self.owed.set(self.owed.get() + 1);
                if self.owed.get() > self.limits.control_frames {
                    self.stats.outbound_control_flood().inc();
                    return Some(Flood::Control);
                }
            }
            RST_STREAM => self.stats.rx_reset().inc(),
            _ => {}
        }
        None
    }

    fn outbound(&self, frame: &Frame) {
        match frame.kind {
            DATA => self.data_sent.set(self.data_sent.get() + 1),
            HEADERS if self.role == Role::Client => self.sees_new_stream(frame),
            PING | SETTINGS if frame.flags & ACK != 0 => self.owed.set(self.owed.get().saturating_sub(1)),
            RST_STREAM => self.stats.tx_reset().inc(),
            _ => {}
        }
    }
}

/// A stream under way on a watched connection.
pub struct WatchedStream {
    watch: Rc<Watch>,
    premature: bool,
}

impl WatchedStream {
    /// The connection's.
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    /// Notes that the peer reset the stream right after it began, before an answer.
    pub fn premature_reset(&mut self) {
        self.premature = true;
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        let watch = &self.watch;
        watch.stats.streams_active().dec();
        watch.ended.set(watch.ended.get() + 1);
        if self.premature {
            watch.premature.set(watch.premature.get() + 1);
            if watch.resets_prematurely()
                && let Some(waker) = &*watch.waker.borrow()
            {
                waker.wake_by_ref();
            }
        }
    }
}

/// A transport whose frames are seen.
pub struct Watched<T> {
    transport: T,
    meter: Meter,
    inbound: Parser,
    outbound: Parser,
    watch: Rc<Watch>,
    /// What came before the frame that was one too many has been taken by the reader.
    told: bool,
}

impl<T> Watched<T> {
    /// Watches a connection on which nothing was read or written yet.
    pub fn new(transport: T, meter: Meter, watch: Rc<Watch>) -> Watched<T> {
        let preface = |here| Parser { skip: if here { PREFACE } else { 0 }, ..Parser::default() };
        let (inbound, outbound) = (preface(watch.role == Role::Server), preface(watch.role == Role::Client));
        Watched { transport, meter, inbound, outbound, watch, told: false }
    }

    fn wrote(&mut self, bufs: &[io::IoSlice<'_>], mut n: usize) {
        self.meter.wrote(n);
        for buf in bufs {
            let here = n.min(buf.len());
            self.outbound.walk(&buf[..here], |frame| {
                self.watch.outbound(frame);
                true
            });
            n -= here;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.flood.get().is_some() {
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
        let watch = &this.watch;
        let one_too_many = this.inbound.walk(read, |frame| {
            watch.flood.set(watch.inbound(frame));
            watch.flood.get().is_none()
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
        let this = self.get_mut();
        let n = std::task::ready!(Pin::new(&mut this.transport).poll_write(cx, buf))?;
        this.wrote(&[io::IoSlice::new(buf)], n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = std::task::ready!(Pin::new(&mut this.transport).poll_write_vectored(cx, bufs))?;
        this.wrote(bufs, n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
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
    /// Calls `see` for each frame that begins here, until it says no; gives where that frame's header starts in `bytes`, or 0 where it started earlier.
    fn walk(&mut self, bytes: &[u8], mut see: impl FnMut(&Frame) -> bool) -> Option<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
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
            if !see(&Frame { kind, flags, stream, payload: length.saturating_sub(padding) }) {
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
    use crate::stats::Store;

    fn watch(role: Role, limits: FloodLimits) -> Rc<Watch> {
        Watch::new(role, limits, Http2Stats::new(&Store::with_workers(1), "http2"))
    }

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
            let stopped = parser.walk(piece, |f| {
                frames.push((f.kind, f.flags, f.stream, f.payload));
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
        assert_eq!(parser.walk(&bytes, |f| f.kind == PING), Some(17));
        let mut parser = Parser::default();
        assert_eq!(parser.walk(&bytes[..20], |_| true), None);
        assert_eq!(parser.walk(&bytes[20..], |_| false), Some(0));
    }

    fn floods(watch: &Rc<Watch>, kind: u8, flags: u8, payload: usize) -> Option<Flood> {
        watch.inbound(&Frame { kind, flags, stream: 1, payload })
    }

    #[test]
    fn each_kind_has_its_limit() {
        let limits = FloodLimits { control_frames: 2, empty_frames: 1, priority_frames: 1, window_updates: 1 };
        let w = watch(Role::Server, limits);
        assert_eq!([1, 2, 3].map(|_| floods(&w, PING, 0, 8)), [None, None, Some(Flood::Control)]);
        w.outbound(&Frame { kind: PING, flags: ACK, stream: 0, payload: 8 });
        w.outbound(&Frame { kind: SETTINGS, flags: ACK, stream: 0, payload: 0 });
        assert_eq!(floods(&w, SETTINGS, 0, 0), None);
        assert_eq!(floods(&w, SETTINGS, ACK, 0), None);

        let w = watch(Role::Server, limits);
        assert_eq!([0, 5, 0, 0].map(|n| floods(&w, DATA, 0, n)), [None, None, None, Some(Flood::Empty)]);
        let w = watch(Role::Server, limits);
        assert_eq!([1, 2, 3].map(|_| floods(&w, DATA, END_STREAM, 0)), [None; 3]);

        let w = watch(Role::Server, limits);
        let stream = w.stream();
        assert_eq!(floods(&w, HEADERS, END_STREAM, 9), None);
        assert_eq!([1, 2, 3].map(|_| floods(&w, PRIORITY, 0, 5)), [None, None, Some(Flood::Priority)]);
        drop(stream);
        assert_eq!((w.open(), w.active()), (0, 0));

        let w = watch(Role::Client, limits);
        w.outbound(&Frame { kind: HEADERS, flags: 0, stream: 1, payload: 9 });
        w.outbound(&Frame { kind: DATA, flags: 0, stream: 1, payload: 9 });
        assert_eq!((1..=9).find(|_| floods(&w, WINDOW_UPDATE, 0, 4).is_some()), None);
        assert_eq!(floods(&w, WINDOW_UPDATE, 0, 4), Some(Flood::WindowUpdate));
    }

    #[test]
    fn half_of_the_streams_may_be_reset_before_their_answer_but_never_250() {
        let w = watch(Role::Server, FloodLimits::default());
        let end = |premature: bool| {
            let mut stream = w.stream();
            if premature {
                stream.premature_reset();
            }
        };
        (0..249).for_each(|_| end(true));
        assert!(!w.resets_prematurely());
        end(true);
        assert!(w.resets_prematurely());
        (0..300).for_each(|_| end(false));
        assert!(!w.resets_prematurely());
    }
}
