//! The streams of one connection: how many are under way, and whether its peer resets them faster than they can be answered.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

/// So many streams must have ended before their resets tell anything (`overload.premature_reset_total_stream_count`).
const PREMATURE_RESETS: u64 = 500;

/// Counts the streams of one connection.
#[derive(Default)]
pub struct Streams {
    begun: Cell<u64>,
    ended: Cell<u64>,
    premature: Cell<u64>,
    lost: Cell<bool>,
    /// The connection's loop, woken where a stream's end changes what it does.
    waker: RefCell<Option<Waker>>,
}

impl Streams {
    /// Counts a stream until the guard is dropped.
    pub fn begin(self: &Rc<Streams>) -> Running {
        self.begun.set(self.begun.get() + 1);
        Running { streams: self.clone(), premature: false }
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

    /// Whether a stream ended because the connection did.
    pub fn has_lost(&self) -> bool {
        self.lost.get()
    }

    /// Streams that are over.
    pub fn ended(&self) -> u64 {
        self.ended.get()
    }

    /// Leaves the waker of the connection's loop; does its work in the first poll.
    pub fn register(&self, cx: &Context<'_>) {
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
    }

    /// Wakes the connection's loop.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// A stream under way.
pub struct Running {
    streams: Rc<Streams>,
    premature: bool,
}

impl Running {
    /// Notes that the peer reset the stream right after it began, before an answer.
    pub fn premature_reset(&mut self) {
        self.premature = true;
    }

    /// Notes that it ended because the connection did.
    pub fn lose(&self) {
        self.streams.lost.set(true);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.ended.set(streams.ended.get() + 1);
        if self.premature {
            streams.premature.set(streams.premature.get() + 1);
        }
        if streams.active() == 0 || streams.resets_prematurely() {
            streams.wake();
        }
    }
}
