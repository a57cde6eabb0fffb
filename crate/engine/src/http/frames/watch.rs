//! Counts the frames of one HTTP/2 connection, and says when its peer floods it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Instant,
};

use super::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HAS_PRIORITY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    hpack::{Block, Table},
};
use crate::{
    error::Flags,
    http::{
        settings::FloodLimits,
        streams::{Running, Streams},
    },
    stats::Http2Stats,
};

/// What a DATA frame holds where the peer did not ask for larger ones.
const FRAME_SIZE: usize = 16_384;
/// How many streams are remembered for their pseudo-headers: more than a peer may have open.
const PSEUDO: usize = 4096;

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
    /// RST_STREAM
    Reset,
    /// What we send it and it does not read.
    Outbound,
    /// A name or value of a header that is too long.
    Field,
}

impl Flood {
    /// Envoy's detail of the streams that end with the connection; their flag is `DPE`.
    pub fn detail(self) -> &'static str {
        match self {
            Flood::Control => "codec_error:Too_many_control_frames_in_the_outbound_queue.",
            Flood::Empty => "http2.inbound_empty_frames_flood",
            Flood::Priority => "codec_error:Too_many_PRIORITY_frames",
            Flood::WindowUpdate => "codec_error:Too_many_WINDOW_UPDATE_frames",
            Flood::Reset | Flood::Field => "codec_error:The_user_callback_function_failed",
            Flood::Outbound => "codec_error:Too_many_frames_in_the_outbound_queue.",
        }
    }

    /// Whether a client is told why its connection ends.
    pub(super) fn says_goodbye(self) -> bool {
        matches!(self, Flood::Reset | Flood::Field)
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
    /// Those under way, and those that are over.
    pub streams: Rc<Streams>,
    /// PING and SETTINGS of the peer that are not acknowledged yet.
    owed: Cell<u32>,
    /// What streams gave the library since the transport took no more.
    waiting: RefCell<Waiting>,
    /// The transport takes no more.
    blocked: Cell<bool>,
    /// What is left of the resets that the peer may send, and in which second of the connection that was reckoned.
    resets_left: Cell<(u64, u64)>,
    began: Instant,
    /// Frames without payload, one behind the other.
    empty: Cell<u32>,
    priorities: Cell<u64>,
    window_updates: Cell<u64>,
    data_sent: Cell<u64>,
    blocks: RefCell<Blocks>,
    /// Streams that ended with a header block in which a pseudo-header stands and which is, or may be, trailers; and, true, those whose answer
    /// has a pseudo-header of requests.
    pseudo: RefCell<Vec<(u32, bool)>>,
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
            streams: Rc::default(),
            owed: Cell::default(),
            waiting: RefCell::default(),
            blocked: Cell::default(),
            resets_left: Cell::new((limits.reset_burst, 0)),
            began: Instant::now(),
            empty: Cell::default(),
            priorities: Cell::default(),
            window_updates: Cell::default(),
            data_sent: Cell::default(),
            blocks: RefCell::default(),
            pseudo: RefCell::default(),
        })
    }

    /// Why the connection ends, where its peer flooded it.
    pub fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Counts a stream until the guard is dropped.
    pub fn stream(self: &Rc<Watch>, id: u32) -> WatchedStream {
        self.stats.streams_active().inc();
        WatchedStream { watch: self.clone(), id, running: self.streams.begin() }
    }

    /// Whether the peer ended a stream with a header block that holds a pseudo-header, which trailers must not.
    pub fn ended_with_pseudo(&self, stream: u32) -> bool {
        self.pseudo.borrow().iter().any(|(id, _)| *id == stream)
    }

    /// Whether the transport takes no more for now.
    pub(super) fn block(&self, blocked: bool) {
        self.blocked.set(blocked);
    }

    /// Notes frames that wait for the transport. While it takes what it is given they are not worth the counting.
    fn queue(&self, stream: u32, frames: u32, reset: bool) {
        if !self.blocked.get() || self.flood.get().is_some() {
            return;
        }
        if reset {
            // The library forgets what else it had of the stream.
            self.unqueue(stream, true, false);
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.frames += frames;
        *waiting.by_stream.entry(stream).or_default() += frames;
        self.stats.outbound_frames_active().add(frames.into());
        if reset {
            waiting.resets += 1;
            self.stats.outbound_control_frames_active().inc();
        }
        if waiting.frames + self.owed.get() > self.limits.outbound_frames {
            self.stats.outbound_flood().inc();
            self.flood.set(Some(Flood::Outbound));
        } else if waiting.resets + self.owed.get() > self.limits.control_frames {
            self.stats.outbound_control_flood().inc();
            self.flood.set(Some(Flood::Control));
        } else {
            return;
        }
        self.streams.wake();
    }

    /// Frames of a stream wait no more: `all` of them, or one.
    fn unqueue(&self, stream: u32, all: bool, reset: bool) {
        let mut waiting = self.waiting.borrow_mut();
        if reset && waiting.resets > 0 {
            waiting.resets -= 1;
            self.stats.outbound_control_frames_active().dec();
        }
        let Some(frames) = waiting.by_stream.get_mut(&stream) else { return };
        let gone = if all { *frames } else { 1 };
        *frames -= gone;
        if *frames == 0 {
            waiting.by_stream.remove(&stream);
        }
        waiting.frames -= gone;
        self.stats.outbound_frames_active().sub(gone.into());
    }

    /// Takes one of the resets that the peer may send: a burst, and so many more in each second.
    fn allows_reset(&self) -> bool {
        let (left, then) = self.resets_left.get();
        let now = self.began.elapsed().as_secs();
        let gained = (now - then).saturating_mul(self.limits.reset_rate);
        let left = left.saturating_add(gained).min(self.limits.reset_burst);
        self.resets_left.set((left.saturating_sub(1), now));
        left > 0
    }

    fn open(&self) -> u64 {
        self.opened.get().saturating_sub(self.streams.ended())
    }

    fn sees_new_stream(&self, frame: &Frame) {
        if frame.stream > self.last_stream.get() {
            self.last_stream.set(frame.stream);
            self.opened.set(self.opened.get() + 1);
        }
    }

    /// Which end of the connection we are.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// A frame of the peer; false where it is one too many. The last of too many resets passes: the library has to say goodbye.
    pub(super) fn inbound(&self, frame: &Frame) -> bool {
        if self.flood.get().is_some() {
            return false;
        }
        let last_stream = self.last_stream.get();
        self.flood.set(self.floods_with(frame));
        if self.flood.get().is_none() && matches!(frame.kind, HEADERS | CONTINUATION) {
            // The head of a request is known to be one; that of an answer is told from trailers by who reads it.
            let may_be_trailers = self.role == Role::Client || frame.stream <= last_stream;
            let block = self.blocks.borrow_mut().begin(frame, may_be_trailers);
            self.sees_block(block);
        }
        matches!(self.flood.get(), None | Some(Flood::Reset))
    }

    /// Bytes of a header block of the peer; false where it holds a field that is too long.
    pub(super) fn inbound_block(&self, bytes: &[u8]) -> bool {
        let block = self.blocks.borrow_mut().take(bytes);
        self.sees_block(block);
        self.flood.get() != Some(Flood::Field)
    }

    fn sees_block(&self, block: Option<Block>) {
        let Some(block) = block else { return };
        if block.longest > self.limits.field_size {
            self.flood.set(Some(Flood::Field));
        }
        let (stream, may_be_last) = self.blocks.borrow().of;
        let foreign = self.role == Role::Client && block.request;
        if foreign || may_be_last && block.pseudo() {
            let mut streams = self.pseudo.borrow_mut();
            if streams.len() == PSEUDO {
                streams.remove(0);
            }
            streams.push((stream, foreign));
        }
    }

    fn floods_with(&self, frame: &Frame) -> Option<Flood> {
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
                self.stats.outbound_control_frames_active().inc();
                self.stats.outbound_frames_active().inc();
                if self.owed.get() > self.limits.control_frames {
                    self.stats.outbound_control_flood().inc();
                    return Some(Flood::Control);
                }
            }
            RST_STREAM => {
                self.stats.rx_reset().inc();
                if self.has_waiting() {
                    self.unqueue(frame.stream, true, false);
                }
                if self.role == Role::Server && !self.allows_reset() {
                    return Some(Flood::Reset);
                }
            }
            _ => {}
        }
        None
    }

    /// A frame that the transport took.
    pub(super) fn outbound(&self, frame: &Frame) {
        match frame.kind {
            DATA => self.data_sent.set(self.data_sent.get() + 1),
            HEADERS if self.role == Role::Client => self.sees_new_stream(frame),
            PING | SETTINGS if frame.flags & ACK != 0 && self.owed.get() > 0 => {
                self.owed.set(self.owed.get() - 1);
                self.stats.outbound_control_frames_active().dec();
                self.stats.outbound_frames_active().dec();
            }
            RST_STREAM => self.stats.tx_reset().inc(),
            _ => {}
        }
        if self.has_waiting() {
            let reset = frame.kind == RST_STREAM;
            match frame.kind {
                DATA | HEADERS | RST_STREAM => self.unqueue(frame.stream, reset || frame.flags & END_STREAM != 0, reset),
                _ => {}
            }
        }
    }

    fn has_waiting(&self) -> bool {
        self.waiting.borrow().frames > 0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (waiting, owed) = (self.waiting.get_mut(), u64::from(self.owed.get()));
        self.stats.outbound_frames_active().sub(u64::from(waiting.frames) + owed);
        self.stats.outbound_control_frames_active().sub(u64::from(waiting.resets) + owed);
    }
}

/// The header block under way.
#[derive(Default)]
struct Blocks {
    table: Table,
    /// Its stream, and whether it may be trailers.
    of: (u32, bool),
    /// What came of it in other pieces; the library bounds how many there can be.
    buffer: Vec<u8>,
    /// Bytes of the frame before the block, and of the block.
    before: usize,
    left: usize,
    /// No frame follows.
    last: bool,
    /// A block was malformed: the library ends the connection.
    lost: bool,
}

impl Blocks {
    /// A frame of a block begins; gives the block where that ends it.
    fn begin(&mut self, frame: &Frame, may_be_trailers: bool) -> Option<Block> {
        if frame.kind == HEADERS {
            self.of = (frame.stream, may_be_trailers && frame.flags & END_STREAM != 0);
            self.buffer.clear();
        }
        self.before = if frame.kind == HEADERS && frame.flags & HAS_PRIORITY != 0 { 5 } else { 0 };
        self.left = frame.payload.saturating_sub(self.before);
        self.last = frame.flags & END_HEADERS != 0;
        self.end_if_whole()
    }

    /// Bytes of the frame's payload; gives the block where they end it.
    fn take(&mut self, bytes: &[u8]) -> Option<Block> {
        let before = self.before.min(bytes.len());
        self.before -= before;
        let block = &bytes[before..];
        let block = &block[..self.left.min(block.len())];
        self.left -= block.len();
        if self.left == 0 && self.last && self.buffer.is_empty() {
            return if block.is_empty() { None } else { self.read(block) };
        }
        self.buffer.extend_from_slice(block);
        if block.is_empty() { None } else { self.end_if_whole() }
    }

    fn end_if_whole(&mut self) -> Option<Block> {
        if self.left > 0 || !self.last || self.buffer.is_empty() {
            return None;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let block = self.read(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        block
    }

    fn read(&mut self, block: &[u8]) -> Option<Block> {
        if self.lost {
            return None;
        }
        let read = self.table.read(block);
        self.lost = read.is_none();
        read
    }
}

/// Frames that the library holds for a transport that takes no more.
#[derive(Default)]
struct Waiting {
    frames: u32,
    /// RST_STREAM among them.
    resets: u32,
    by_stream: HashMap<u32, u32>,
}

/// A stream under way on a watched connection.
pub struct WatchedStream {
    watch: Rc<Watch>,
    id: u32,
    /// Its place among the connection's streams.
    pub running: Running,
}

impl WatchedStream {
    /// The connection's.
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    /// Whether its answer holds a pseudo-header of requests.
    pub fn has_malformed_head(&self) -> bool {
        self.watch.pseudo.borrow().contains(&(self.id, true))
    }

    /// Whether its trailers hold a pseudo-header.
    pub fn has_malformed_trailers(&self) -> bool {
        self.watch.ended_with_pseudo(self.id)
    }

    /// Notes headers or trailers that the library has to write.
    pub fn queues_headers(&self) {
        self.watch.queue(self.id, 1, false);
    }

    /// Notes a piece of a body, or its end, that the library has to write.
    pub fn queues_data(&self, bytes: usize) {
        let frames = bytes.div_ceil(FRAME_SIZE).max(1);
        self.watch.queue(self.id, u32::try_from(frames).unwrap_or(u32::MAX), false);
    }

    /// Notes a reset that the library has to write.
    pub fn queues_reset(&self) {
        self.watch.queue(self.id, 1, true);
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        self.watch.pseudo.borrow_mut().retain(|(stream, _)| *stream != self.id);
        self.watch.stats.streams_active().dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Store;

    fn watch(role: Role, limits: FloodLimits) -> Rc<Watch> {
        Watch::new(role, limits, Http2Stats::new(&Store::with_workers(1), "http2"))
    }

    fn floods(watch: &Rc<Watch>, kind: u8, flags: u8, payload: usize) -> Option<Flood> {
        watch.floods_with(&Frame { kind, flags, stream: 1, payload })
    }

    #[test]
    fn each_kind_has_its_limit() {
        let limits = FloodLimits { control_frames: 2, empty_frames: 1, priority_frames: 1, window_updates: 1, ..FloodLimits::default() };
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
        let stream = w.stream(1);
        assert_eq!(floods(&w, HEADERS, END_STREAM, 9), None);
        assert_eq!([1, 2, 3].map(|_| floods(&w, PRIORITY, 0, 5)), [None, None, Some(Flood::Priority)]);
        drop(stream);
        assert_eq!((w.open(), w.streams.active()), (0, 0));

        let w = watch(Role::Client, limits);
        w.outbound(&Frame { kind: HEADERS, flags: 0, stream: 1, payload: 9 });
        w.outbound(&Frame { kind: DATA, flags: 0, stream: 1, payload: 9 });
        assert_eq!((1..=9).find(|_| floods(&w, WINDOW_UPDATE, 0, 4).is_some()), None);
        assert_eq!(floods(&w, WINDOW_UPDATE, 0, 4), Some(Flood::WindowUpdate));
    }

    #[test]
    fn frames_that_wait_are_counted_while_the_transport_is_blocked() {
        let limits = FloodLimits { outbound_frames: 5, control_frames: 2, ..FloodLimits::default() };
        let gauges = |w: &Watch| (w.stats.outbound_frames_active().value(), w.stats.outbound_control_frames_active().value());
        let written = |kind, flags, stream| Frame { kind, flags, stream, payload: 1 };

        let w = watch(Role::Server, limits);
        let (one, two) = (w.stream(1), w.stream(3));
        (0..100).for_each(|_| one.queues_data(1));
        assert_eq!((w.flood(), gauges(&w)), (None, (0, 0)), "it goes out at once");

        w.block(true);
        one.queues_headers();
        one.queues_data(40_000);
        two.queues_headers();
        assert_eq!((w.flood(), gauges(&w)), (None, (5, 0)));
        w.outbound(&written(HEADERS, 0, 1));
        w.outbound(&written(DATA, 0, 1));
        assert_eq!(gauges(&w), (3, 0));
        w.outbound(&written(DATA, END_STREAM, 1));
        assert_eq!(gauges(&w), (1, 0), "larger frames than were reckoned with");
        two.queues_data(0);
        w.inbound(&written(RST_STREAM, 0, 3));
        assert_eq!(gauges(&w), (0, 0), "what a reset stream had is not sent any more");

        one.queues_data(80_000);
        assert_eq!(w.flood(), None);
        two.queues_headers();
        assert_eq!((w.flood(), w.stats.outbound_flood().value()), (Some(Flood::Outbound), 1));
        let stats = w.stats.clone();
        drop((one, two, w));
        assert_eq!(stats.outbound_frames_active().value(), 0);

        let w = watch(Role::Server, limits);
        let streams = [1, 3, 5].map(|id| w.stream(id));
        w.block(true);
        streams[0].queues_headers();
        streams[0].queues_reset();
        streams[1].queues_reset();
        assert_eq!((w.flood(), gauges(&w)), (None, (2, 2)), "the reset takes the place of the headers");
        w.outbound(&written(RST_STREAM, 0, 1));
        assert_eq!(gauges(&w), (1, 1));
        streams[0].queues_reset();
        streams[2].queues_reset();
        assert_eq!((w.flood(), w.stats.outbound_control_flood().value()), (Some(Flood::Control), 1));
    }

    #[test]
    fn a_client_may_reset_a_burst_of_streams() {
        let limits = FloodLimits { reset_burst: 2, reset_rate: 1, ..FloodLimits::default() };
        let w = watch(Role::Server, limits);
        assert_eq!([1, 2, 3].map(|_| floods(&w, RST_STREAM, 0, 4)), [None, None, Some(Flood::Reset)]);
        let w = watch(Role::Client, limits);
        assert_eq!([1, 2, 3].map(|_| floods(&w, RST_STREAM, 0, 4)), [None; 3], "an upstream resets what it was asked for");
    }

    #[test]
    fn half_of_the_streams_may_be_reset_before_their_answer_but_never_250() {
        let w = watch(Role::Server, FloodLimits::default());
        let end = |premature: bool| {
            let mut stream = w.stream(1);
            if premature {
                stream.running.premature_reset();
            }
        };
        (0..249).for_each(|_| end(true));
        assert!(!w.streams.resets_prematurely());
        end(true);
        assert!(w.streams.resets_prematurely());
        (0..300).for_each(|_| end(false));
        assert!(!w.streams.resets_prematurely());
    }
}
