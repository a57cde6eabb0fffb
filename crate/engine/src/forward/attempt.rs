//! One attempt at sending a request to one host: it gets a connection, sends, and waits for the head of the answer.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::tally::Tally;
use crate::{
    cluster::{ActiveRequest, Cluster, Host, Outcome, Permit, Priority},
    error::Failure,
    http::{
        body::{BodyError, Frame},
        header::{HeaderList, Known},
        stream::Stream,
    },
    route::HostRewrite,
    stream_info::StreamInfo,
    upstream::{
        Connecting, Connection, Exchange,
        pool::HostPool,
        request::{Cursor, Source},
    },
    worker::timer::Deadline,
};

/// One attempt.
pub struct Attempt {
    state: State,
    host: Arc<Host>,
    tally: Tally,
    priority: Priority,
    source: Source,
    limits: Limits,
    /// The limits do not wait for the end of the request.
    at_once: bool,
    /// The limits run: since both the connection and the end of the request are there, as in Envoy.
    limited: bool,
    per_try: Deadline,
    idle: Deadline,
    /// When it must be over, whatever comes.
    end: Deadline,
    /// Another attempt was begun beside it, because it is slow: its own end begins none.
    pub hedged: bool,
    begun: Instant,
}

enum State {
    /// A connection is made or waited for.
    Connecting(Connecting, Rc<HostPool>, Cursor),
    Sent(Sent),
    /// It failed before it had a connection.
    Failed(Failure),
}

struct Sent {
    exchange: Exchange,
    since: Instant,
    _request: ActiveRequest,
    _active: Active,
    _permit: Permit,
}

/// How long one attempt may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `per_try_timeout`: until the head of the answer.
    pub per_try: Option<Duration>,
    /// `per_try_idle_timeout`: between two pieces of the answer.
    pub idle: Option<Duration>,
    /// `max_stream_duration` of the cluster: from the connection to the end of the answer.
    pub duration: Option<Duration>,
    /// `hedge_on_per_try_timeout`: an attempt that takes longer goes on, and another joins it.
    pub hedge: bool,
}

impl Limits {
    fn any(&self) -> bool {
        self.per_try.is_some() || self.idle.is_some()
    }
}

/// What became of an attempt.
pub enum Progress {
    /// An interim answer (1xx) came.
    Interim(HeaderList),
    /// The head of the final answer came.
    Answer(HeaderList),
    /// It failed; nothing more will come of it.
    Failed(Failure),
    /// It took longer than its limits allow, and could go on.
    Late(Failure),
}

impl Attempt {
    /// Begins a request at the host: on a connection that is ready, or on one that comes.
    pub fn begin(stream: &mut Stream, tally: &Tally, host: Arc<Host>, priority: Priority, source: &Source, limits: Limits) -> Attempt {
        let cluster = tally.cluster();
        cluster.circuit.request_begins(priority);
        let pool = stream.worker.pools.of(cluster, &host, stream);
        let mut attempt = Attempt {
            state: State::Failed(Failure::Overflow),
            host,
            tally: tally.clone(),
            priority,
            source: source.clone(),
            limits,
            // An upgrade to a websocket has no end to wait for.
            at_once: limits.any() && is_websocket(&stream.headers),
            limited: false,
            per_try: Deadline::default(),
            idle: Deadline::default(),
            end: Deadline::default(),
            hedged: false,
            begun: Instant::now(),
        };
        attempt.note(&mut stream.info);
        let spoken = cluster.settings.protocol.spoken(stream.info.protocol);
        let bytes = stream.info.route.as_ref().and_then(|r| r.forward()).is_some_and(|f| f.terminates(&stream.headers));
        match if bytes { None } else { pool.ready(spoken) } {
            Some(connection) => attempt.send(stream, connection, &pool, source.cursor()),
            None if bytes => attempt.state = State::Connecting(Box::pin(pool.clone().bytes(priority)), pool, source.cursor()),
            None => attempt.state = State::Connecting(Box::pin(pool.clone().connection(priority, spoken)), pool, source.cursor()),
        }
        attempt
    }

    fn send(&mut self, stream: &mut Stream, connection: Connection, pool: &Rc<HostPool>, cursor: Cursor) {
        let cluster = self.tally.cluster();
        let Some(permit) = cluster.circuit.try_request(self.priority) else {
            cluster.stats.upstream_rq_active_overflow().inc();
            pool.give_back(connection);
            self.state = State::Failed(Failure::Overflow);
            return;
        };
        if let Some(action) = stream.info.route.as_ref().and_then(|r| r.forward())
            && matches!(action.host_rewrite, HostRewrite::Auto)
            && !self.host.hostname.is_empty()
        {
            action.set_host(&mut stream.headers, self.host.hostname.as_bytes(), true);
        }
        match Exchange::begin(connection, pool, &stream.headers, cursor) {
            Ok(exchange) => {
                cluster.stats.upstream_rq_total().inc();
                cluster.stats.upstream_rq_active().inc();
                self.tally.groups(|group| group.upstream_rq_total().inc());
                self.end.set(self.limits.duration);
                let active = Active(cluster.clone());
                let request = self.host.request();
                self.state = State::Sent(Sent { exchange, since: Instant::now(), _request: request, _active: active, _permit: permit });
                self.note(&mut stream.info);
            }
            Err(failure) => self.state = State::Failed(failure),
        }
    }

    /// Writes down which upstream this attempt is at.
    pub fn note(&self, info: &mut StreamInfo) {
        info.upstream_host = Some(self.host.address());
        info.host = Some(self.host.clone());
        if let State::Sent(sent) = &self.state {
            info.upstream_first_tx = Some(sent.since);
            info.upstream = sent.exchange.facts().cloned();
            info.pool_wait = Some(sent.since.saturating_duration_since(self.begun));
            info.upstream_protocol = Some(sent.exchange.protocol());
        }
    }

    /// Goes on until there is something to tell.
    pub fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Progress> {
        if let State::Connecting(connecting, ..) = &mut self.state {
            let connected = ready!(connecting.as_mut().poll(cx));
            let before = std::mem::replace(&mut self.state, State::Failed(Failure::ConnectionTermination));
            match (connected, before) {
                (Ok(connection), State::Connecting(_, pool, cursor)) => self.send(stream, connection, &pool, cursor),
                (Ok(_), before) => self.state = before,
                (Err(failure), _) => {
                    stream.info.pool_wait = Some(self.begun.elapsed());
                    self.state = State::Failed(failure);
                }
            }
        }
        let sent = match &mut self.state {
            State::Failed(failure) => return Poll::Ready(Progress::Failed(failure.clone())),
            State::Connecting(..) => return Poll::Pending,
            State::Sent(sent) => sent,
        };
        if let Poll::Ready(head) = sent.exchange.poll_head(cx) {
            if let Ok(head) = &head
                && !head.informational
            {
                if self.at_once && head.headers.status() == 101 {
                    // From here on it is a tunnel, which may be silent.
                    (self.limits, self.limited) = (Limits::default(), true);
                }
                self.moved();
            }
            return Poll::Ready(match head {
                Ok(head) if head.informational => Progress::Interim(head.headers),
                Ok(head) => Progress::Answer(head.headers),
                Err(failure) => Progress::Failed(failure),
            });
        }
        if self.end.poll(cx).is_ready() {
            return Poll::Ready(Progress::Failed(Failure::StreamDuration));
        }
        self.limit();
        if self.per_try.poll(cx).is_ready() {
            self.idle.set(None);
            self.limits.idle = None;
            return Poll::Ready(Progress::Late(Failure::PerTryTimeout));
        }
        if self.idle.poll(cx).is_ready() {
            self.per_try.set(None);
            return Poll::Ready(Progress::Late(Failure::PerTryIdleTimeout));
        }
        Poll::Pending
    }

    /// Starts the limits once the request is over.
    fn limit(&mut self) {
        if !self.limited && (self.at_once || self.source.is_over()) {
            self.limited = true;
            self.per_try.set(self.limits.per_try);
            self.idle.set(self.limits.idle);
        }
    }

    /// A piece of the answer came.
    fn moved(&mut self) {
        if self.limited {
            self.idle.set(self.limits.idle);
        }
    }

    /// Counts how the attempt failed.
    pub fn failed(&self, failure: &Failure) {
        // Before there was a connection, its making was counted.
        if !self.is_sent() {
            return;
        }
        let stats = &self.tally.cluster().stats;
        match failure {
            Failure::Timeout => {
                stats.upstream_rq_timeout().inc();
                self.tally.groups(|group| group.upstream_rq_timeout().inc());
            }
            Failure::PerTryTimeout => stats.upstream_rq_per_try_timeout().inc(),
            Failure::PerTryIdleTimeout => stats.upstream_rq_per_try_idle_timeout().inc(),
            Failure::StreamDuration => stats.upstream_rq_max_duration_reached().inc(),
            Failure::Protocol(_) => stats.upstream_cx_protocol_error().inc(),
            Failure::RemoteReset | Failure::RefusedStream => stats.upstream_rq_rx_reset().inc(),
            _ => {}
        }
        if failure.is_timeout() {
            self.host.finished(Outcome::Timeout);
        }
    }

    /// Whether the request has a connection.
    pub fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent(_))
    }

    /// Whether the connection was a reused one that gave no byte of an answer.
    pub fn is_stale(&self) -> bool {
        matches!(&self.state, State::Sent(sent) if sent.exchange.reused() && !sent.exchange.answered())
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The next frame of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let State::Sent(sent) = &mut self.state else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = sent.exchange.poll_body(cx) {
            self.moved();
            return Poll::Ready(frame);
        }
        if self.end.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Upstream(Failure::StreamDuration))));
        }
        self.limit();
        match self.idle.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Upstream(Failure::PerTryIdleTimeout)))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Goes on sending the request.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) {
        if let State::Sent(sent) = &mut self.state {
            // A failure comes back from the next poll of the body.
            let _ = sent.exchange.poll_send(cx);
        }
    }

    /// Whether the answer's body is known to be over; its connection is then free.
    pub fn end_if_over(&mut self) -> bool {
        match &mut self.state {
            State::Sent(sent) => sent.exchange.sent() && sent.exchange.end_if_over(),
            _ => true,
        }
    }
}

fn is_websocket(headers: &HeaderList) -> bool {
    headers.get(Known::Upgrade).is_some_and(|kind| kind.eq_ignore_ascii_case(b"websocket"))
}

/// Counts an attempt that has a connection.
struct Active(Arc<Cluster>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.stats.upstream_rq_active().dec();
    }
}
