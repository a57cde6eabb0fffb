//! How long a connection that carries many streams lives: its age, its idleness, and the drain that ends it.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    http::manager::Manager,
    worker::{Worker, signal::Signal, timer::Deadline},
};

/// What decides when a connection takes no further streams, and when it ends.
pub struct Lifetime {
    manager: Arc<Manager>,
    idle: Deadline,
    age: Deadline,
    drain: Duration,
    streams: u32,
    draining: bool,
}

/// What a connection without streams does next.
pub enum Idle {
    /// It was idle for too long: its client must be told to open no further stream.
    Drain,
    /// Its client was told, and had its time.
    End,
}

impl Lifetime {
    /// Of a new connection; `idle` runs already where its handshake could be waited for in vain.
    pub fn new(manager: Arc<Manager>, worker: &Worker, idle: Deadline) -> Lifetime {
        let settings = &manager.settings;
        let mut age = Deadline::default();
        age.set(settings.lifetime(&worker.random));
        let drain = settings.drain_time(&worker.random).max(Duration::from_millis(1));
        Lifetime { manager, idle, age, drain, streams: 0, draining: false }
    }

    /// Whether the client was told to open no further stream.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the client must be told now that the connection is too old, or that its listener drains.
    pub fn poll_drain(&mut self, signal: &Signal, cx: &mut Context<'_>) -> bool {
        let stats = &self.manager.stats;
        if self.draining {
            return false;
        }
        if self.age.poll(cx).is_ready() {
            stats.downstream_cx_max_duration_reached().inc();
        } else if signal.draining().is_some() {
            stats.downstream_cx_drain_close().inc();
        } else {
            return false;
        }
        self.draining = true;
        self.idle.set(None);
        true
    }

    /// Waits while the connection has no streams. Who was told to go and does not is waited for no longer than the drain may take.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        if !self.idle.is_set() {
            self.idle.set(if self.draining { Some(self.drain) } else { self.manager.settings.idle_timeout });
        }
        ready!(self.idle.poll(cx));
        if self.draining {
            return Poll::Ready(Idle::End);
        }
        self.manager.stats.downstream_cx_idle_timeout().inc();
        self.draining = true;
        self.idle.set(Some(self.drain));
        // Leaves the waker with it.
        let _ = self.idle.poll(cx);
        Poll::Ready(Idle::Drain)
    }

    /// Counts a stream; true where the client must be told now that no further one is taken.
    pub fn take_stream(&mut self, worker: &Worker) -> bool {
        self.idle.set(None);
        self.streams += 1;
        let (stats, max) = (&self.manager.stats, self.manager.settings.max_requests_per_connection);
        if self.draining {
            return false;
        }
        if max != 0 && self.streams >= max {
            stats.downstream_cx_max_requests_reached().inc();
        } else if worker.closing() {
            stats.downstream_cx_drain_close().inc();
        } else {
            return false;
        }
        self.draining = true;
        true
    }
}
