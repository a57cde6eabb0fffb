//! One request and its answer, and what they carry through filters, routing and forwarding.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    body::Body,
    header::{HeaderList, Known},
    local_reply::LocalReply,
    manager::{Manager, UnderWay},
};
use crate::{
    cluster::Cluster,
    route::{Lookup, Redirected, RouteMatch},
    snapshot::Snapshot,
    stream_info::StreamInfo,
    worker::{Worker, timer::Deadline},
};

/// An answer on its way to the client.
#[derive(Debug, Default)]
pub struct Response {
    /// `:status` and the headers.
    pub headers: HeaderList,
    /// The body with its trailers.
    pub body: Body,
}

/// One stream: the request as the filters leave it, and all that was decided about it.
pub struct Stream {
    /// The request's headers, pseudo-headers included.
    pub headers: HeaderList,
    /// The request came as gRPC, whatever filters have made of it: its local replies are gRPC too.
    pub grpc: bool,
    /// The request's body.
    pub body: Body,
    /// What access log, stats and tracing will read.
    pub info: StreamInfo,
    /// The route must be chosen anew before it is read; see [`Stream::route`].
    pub route_cleared: bool,
    /// The configuration that the stream sees from beginning to end.
    pub snapshot: Arc<Snapshot>,
    /// The connection manager that the stream came through.
    pub manager: Arc<Manager>,
    /// Its place in the count of requests under way; taken when it is finished.
    pub under_way: Option<UnderWay>,
    /// The worker that runs it.
    pub worker: Rc<Worker>,
    /// What the client's random choices (weighted clusters) are made of; one number a stream, as in Envoy.
    pub random: u64,
    /// How many bytes of the request's body may be kept for replay (`per_connection_buffer_limit_bytes`).
    pub buffer_limit: usize,
    /// The route's timeout; belongs to the connection, so that its timer is made once.
    pub timer: Rc<RefCell<Deadline>>,
    /// The client's connection must close behind the answer (HTTP/1).
    pub close: bool,
    /// What internal redirects have led it to.
    pub redirected: Option<Box<Redirected>>,
    /// Interim answers (1xx) that go to the client before the final one.
    pub interim: Interim,
}

impl Stream {
    /// The route; chosen anew where a filter has cleared it. The same one stands in `info`.
    pub fn route(&mut self) -> Option<&RouteMatch> {
        if std::mem::take(&mut self.route_cleared) {
            self.find_route();
        }
        self.info.route.as_ref()
    }

    /// Has the route chosen anew where it is read next: a filter has changed what it was chosen by (`clear_route_cache`).
    pub fn clear_route(&mut self) {
        self.route_cleared = true;
    }

    /// Chooses the route by the request as it is now.
    pub fn find_route(&mut self) {
        let begun = self.manager.route_resolution.is_some().then(Instant::now);
        let request = Lookup { headers: &self.headers, info: &self.info, random: self.random };
        self.info.route = self.snapshot.table(&self.manager.routes).and_then(|table| table.find(request));
        self.info.cluster = self.info.route.as_ref().and_then(|route| self.snapshot.cluster(route.cluster(&self.headers))).cloned();
        self.info.route_resolutions += 1;
        self.info.route_resolution_time += begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let Some(action) = self.info.route.as_ref().and_then(RouteMatch::forward) else { return };
        if let Some(waits) = &action.waits {
            if waits.idle.is_some() {
                self.interim.set_idle_timeout(waits.idle);
            }
            if waits.flush.is_some() {
                self.interim.set_flush_timeout(waits.flush);
            }
        }
        if let Some(duration) = &action.stream_duration {
            let limit = duration.limit(&mut self.headers, self.manager.settings.max_stream_duration);
            self.interim.set_end(limit.and_then(|limit| self.info.started.checked_add(limit)));
        }
    }

    /// The cluster that the request goes to, as far as the route tells now.
    pub fn cluster(&mut self) -> Option<Arc<Cluster>> {
        self.route()?;
        let name = self.info.route.as_ref()?.cluster(&self.headers);
        self.snapshot.cluster(name).cloned()
    }

    /// Whether the request came from inside (`x-envoy-internal`), which stats tell apart.
    pub fn is_internal(&self) -> bool {
        self.headers.get(Known::EnvoyInternal) == Some(b"true")
    }

    /// The answer that a local reply makes; flags and detail are noted.
    pub fn reply(&mut self, reply: LocalReply) -> Response {
        self.info.flags.insert(reply.flags);
        // As in Envoy, whatever the proxy itself calls a bad request ends its connection.
        self.close |= reply.close || reply.status == 400 && !self.manager.settings.http1.stream_errors;
        self.info.detail = Some(reply.detail.clone());
        let (headers, body) = reply.render(Some(&self.headers), self.grpc, self.manager.local_replies.as_ref(), &mut self.info);
        Response { headers, body: Body::full(body) }
    }
}

/// What a stream leaves for its connection while that waits for the answer: interim answers, how long it may be idle, when it must be over, and
/// how long the client may take for the end of the answer.
#[derive(Clone, Default)]
pub struct Interim(Rc<Left>);

#[derive(Default)]
struct Left {
    answers: RefCell<Vec<HeaderList>>,
    idle: Cell<Option<Duration>>,
    end: Cell<Option<Instant>>,
    flush: Cell<Option<Duration>>,
}

impl Interim {
    /// Leaves an interim answer for the connection.
    pub fn push(&self, headers: HeaderList) {
        self.0.answers.borrow_mut().push(headers);
    }

    /// Takes what was left.
    pub fn take(&self) -> Vec<HeaderList> {
        std::mem::take(&mut self.0.answers.borrow_mut())
    }

    /// How long the stream may be without progress; the route's word counts more than the connection manager's.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.0.idle.get()
    }

    /// When the stream must be over: `max_stream_duration` of the connection manager or the route, or `grpc-timeout`.
    pub fn end(&self) -> Option<Instant> {
        self.0.end.get()
    }

    /// How long the client may take for what is left of an answer once all of it is here: the route's `flush_timeout`, else
    /// `stream_flush_timeout`.
    pub fn flush_timeout(&self) -> Option<Duration> {
        self.0.flush.get()
    }

    /// Sets when; nothing is no limit.
    pub fn set_end(&self, end: Option<Instant>) {
        self.0.end.set(end);
    }

    /// Sets how long; zero or nothing is no limit.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.0.idle.set(timeout.filter(|t| !t.is_zero()));
    }

    /// Sets how long; zero or nothing is no limit.
    pub fn set_flush_timeout(&self, timeout: Option<Duration>) {
        self.0.flush.set(timeout.filter(|t| !t.is_zero()));
    }
}
