//! The connections of one worker to one host, and the pools of all hosts.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{HashMap, VecDeque, hash_map::Entry},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    task::Poll,
    time::Instant,
};

use tokio::sync::oneshot;

use super::{Connection, Demand, HostKey, connect, h1, h2, tcp};
use crate::{
    cluster::{Cluster, Host, Permit, Priority, Settings, Spoken},
    error::Failure,
    http::{
        connection::send_buffer,
        frames::{Flood, Role, Watch, Watched},
        h1::ResponseLimits,
        io::{Io, Meter},
        keepalive::{self, PingNow},
        settings::Http1,
        stream::Stream,
    },
    snapshot::Snapshot,
    stream_info::StreamInfo,
    tls::TlsNames,
    transport::{Transport, proxy_protocol::Preface},
    worker::ConnectionIds,
};

/// `max_response_headers_kb` where it is not set: Envoy's default differs by protocol.
const MAX_HTTP1_HEAD: usize = 80 * 1024;
const MAX_HTTP2_HEAD: usize = 60 * 1024;

/// The pools of one worker.
pub struct Pools {
    ids: ConnectionIds,
    pools: RefCell<HashMap<HostKey, Rc<HostPool>>>,
}

impl Pools {
    /// No pools yet; their connections get these numbers.
    pub fn new(ids: ConnectionIds) -> Pools {
        Pools { ids, pools: RefCell::default() }
    }

    /// The pool of a host, of the connections that fit what the stream's request asks for; made at its first use.
    pub fn of(&self, cluster: &Arc<Cluster>, host: &Arc<Host>, stream: &Stream) -> Rc<HostPool> {
        let demand = Demand::of(&cluster.settings, stream);
        match self.pools.borrow_mut().entry((Arc::as_ptr(cluster) as usize, host.id, demand)) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let special = entry.key().2.as_deref().map(|demand| Special::new(&cluster.settings, demand, &stream.info));
                entry.insert(Rc::new(HostPool::new(cluster, host, special, self.ids.clone()))).clone()
            }
        }
    }

    /// Closes the pools of clusters that the snapshot does not have and of hosts that have left. Requests under way keep
    /// their connections.
    pub fn prune(&self, snapshot: &Snapshot) {
        self.pools.borrow_mut().retain(|_, pool| {
            let current = snapshot.cluster(&pool.cluster.name).is_some_and(|c| Arc::ptr_eq(c, &pool.cluster));
            let stays = current && pool.cluster.hosts().contains(&pool.host);
            if !stays {
                pool.close();
            }
            stays
        });
    }

    /// Drops idle connections that the peer has closed or that were idle for too long.
    pub fn sweep(&self) {
        self.pools.borrow_mut().retain(|_, pool| {
            pool.sweep();
            // Clients choose what they ask for: no pool of one is kept without a connection.
            pool.special.is_none() || Rc::strong_count(pool) > 1 || pool.live.get() > 0 || !pool.h2.borrow().is_empty()
        });
    }
}

/// What the connections of a pool have that others of the host do not.
struct Special {
    /// What requests ask of its TLS.
    names: TlsNames<Box<str>>,
    /// The first bytes, before TLS: a PROXY protocol header.
    preface: Option<Preface>,
}

impl Special {
    /// For the demand of a stream.
    fn new(settings: &Settings, demand: &Demand, info: &StreamInfo) -> Special {
        let header = settings.proxy_header.as_ref().zip(demand.spoken_for);
        Special {
            names: TlsNames { sent: demand.server_name.clone(), checked: demand.certificate_name.clone() },
            preface: header.map(|(header, (source, destination))| header.write(source, destination, &info.connection.tlvs)),
        }
    }
}

/// The connections of one worker to one host.
pub struct HostPool {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    special: Option<Special>,
    ids: ConnectionIds,
    #[allow(clippy::vec_box, reason = "a connection moves in and out with every request; the box keeps that a pointer")]
    idle: RefCell<Vec<Box<h1::Connection>>>,
    /// HTTP/1 connections, idle and at work.
    live: Cell<usize>,
    /// Requests that wait for a connection, because no more may be made.
    waiting: RefCell<VecDeque<oneshot::Sender<Box<h1::Connection>>>>,
    h2: RefCell<Vec<Rc<h2::Connection>>>,
    /// Requests that wait for the HTTP/2 connection that is being made.
    connecting: RefCell<Option<Vec<oneshot::Sender<()>>>>,
    /// The last connection whose protocol was negotiated speaks HTTP/2.
    chose_h2: Cell<bool>,
    closed: Cell<bool>,
    /// Counts it as a pool of each priority that has asked for a connection.
    counted: [OnceCell<Permit>; 2],
}

impl HostPool {
    fn new(cluster: &Arc<Cluster>, host: &Arc<Host>, special: Option<Special>, ids: ConnectionIds) -> HostPool {
        HostPool {
            cluster: cluster.clone(),
            host: host.clone(),
            special,
            ids,
            idle: RefCell::default(),
            live: Cell::new(0),
            waiting: RefCell::default(),
            h2: RefCell::default(),
            connecting: RefCell::new(None),
            chose_h2: Cell::new(false),
            closed: Cell::new(false),
            counted: Default::default(),
        }
    }

    /// The cluster of the host.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// HTTP/1 options of the cluster.
    pub fn http1(&self) -> &Http1 {
        static DEFAULT: OnceLock<Http1> = OnceLock::new();
        self.cluster.settings.protocol.http1().unwrap_or_else(|| DEFAULT.get_or_init(Http1::default))
    }

    /// What is read of an HTTP/1 answer.
    pub fn response_limits(&self) -> ResponseLimits<'_> {
        let settings = &self.cluster.settings;
        ResponseLimits {
            max_bytes: settings.max_response_headers_bytes.unwrap_or(MAX_HTTP1_HEAD),
            max_headers: settings.max_headers_count,
            http1: self.http1(),
        }
    }

    /// A connection that can carry a request now, where there is one.
    pub fn ready(self: &Rc<Self>, spoken: Spoken) -> Option<Connection> {
        match spoken {
            Spoken::Http1 => self.ready_h1().map(Connection::H1),
            Spoken::Http2 => self.ready_h2().map(Connection::H2),
            Spoken::Negotiated => self.ready_h2().map(Connection::H2).or_else(|| self.ready_h1().map(Connection::H1)),
        }
    }

    /// A connection that can carry a request, made or waited for where none is ready.
    pub async fn connection(self: Rc<Self>, priority: Priority, spoken: Spoken) -> Result<Connection, Failure> {
        match spoken {
            Spoken::Http1 => self.h1(priority).await.map(Connection::H1),
            Spoken::Http2 => self.h2(priority).await.map(Connection::H2),
            Spoken::Negotiated => self.negotiated(priority).await,
        }
    }

    /// A connection of its own for the bytes of one request.
    pub async fn bytes(self: Rc<Self>, priority: Priority) -> Result<Connection, Failure> {
        let pending = self.pending(priority)?;
        let permit = self.connection_permit(priority, true).ok_or(Failure::Overflow)?;
        let (transport, meta) = self.connect(permit, Spoken::Http1).await?;
        drop(pending);
        let io = Io::new(transport, Meter::Upstream(self.cluster.clone()), self.cluster.settings.per_connection_buffer_limit);
        Ok(Connection::Tcp(Box::new(tcp::Connection::new(io, meta))))
    }

    async fn connect(&self, permit: Permit, spoken: Spoken) -> Result<(Transport, connect::Connected), Failure> {
        let special = self.special.as_ref();
        let greeting = connect::Greeting {
            id: self.ids.next(),
            preface: special.and_then(|s| s.preface.as_ref()),
            names: special.map(|s| s.names.as_deref()).unwrap_or_default(),
            spoken,
        };
        connect::connect(&self.cluster, &self.host, permit, greeting).await
    }

    fn ready_h1(&self) -> Option<Box<h1::Connection>> {
        while let Some(mut connection) = self.pop_idle() {
            if self.is_young(&connection.meta) && connection.is_usable() {
                return Some(connection);
            }
            self.discard(connection);
        }
        None
    }

    fn ready_h2(&self) -> Option<Rc<h2::Connection>> {
        self.retire(|_| false);
        self.h2.borrow().iter().find(|c| c.has_room()).cloned()
    }

    /// Lets go of HTTP/2 connections that take no further request; each closes behind its last one.
    fn retire(&self, is_idle: impl Fn(&h2::Connection) -> bool) {
        let max = self.cluster.settings.max_requests_per_connection;
        self.h2.borrow_mut().retain(|c| {
            let spent = max != 0 && c.requests.get() >= max;
            !c.closed.get() && !spent && self.is_young(&c.meta) && !is_idle(c)
        });
    }

    async fn h1(self: &Rc<Self>, priority: Priority) -> Result<Box<h1::Connection>, Failure> {
        loop {
            if let Some(connection) = self.ready_h1() {
                return Ok(connection);
            }
            let pending = self.pending(priority)?;
            let Some(permit) = self.connection_permit(priority, self.live.get() == 0) else {
                match self.returned().await {
                    Some(connection) => return Ok(connection),
                    None => continue,
                }
            };
            let counted = Counted::new(self);
            self.cluster.stats.upstream_cx_http1_total().inc();
            let (transport, meta) = self.connect(permit, Spoken::Http1).await?;
            drop(pending);
            return Ok(self.new_h1(transport, meta, counted));
        }
    }

    async fn h2(self: &Rc<Self>, priority: Priority) -> Result<Rc<h2::Connection>, Failure> {
        loop {
            if let Some(connection) = self.ready_h2() {
                return Ok(connection);
            }
            let pending = self.pending(priority)?;
            if self.joins_connecting().await {
                continue;
            }
            let done = Connecting::new(self);
            let Some(permit) = self.connection_permit(priority, self.h2.borrow().is_empty()) else { return Err(Failure::Overflow) };
            self.cluster.stats.upstream_cx_http2_total().inc();
            let (transport, meta) = self.connect(permit, Spoken::Http2).await?;
            let connection = self.new_h2(transport, meta).await?;
            drop((pending, done));
            return Ok(connection);
        }
    }

    /// A connection of the protocol that the host chooses by ALPN. While nothing is known of a host, each request that finds no connection
    /// makes one; where the last one chose HTTP/2, requests wait for the one that is being made.
    async fn negotiated(self: &Rc<Self>, priority: Priority) -> Result<Connection, Failure> {
        loop {
            if let Some(connection) = self.ready(Spoken::Negotiated) {
                return Ok(connection);
            }
            let pending = self.pending(priority)?;
            let expects_h2 = self.chose_h2.get();
            if expects_h2 && self.joins_connecting().await {
                continue;
            }
            let done = expects_h2.then(|| Connecting::new(self));
            let starving = self.live.get() == 0 && self.h2.borrow().is_empty();
            let Some(permit) = self.connection_permit(priority, starving) else {
                if self.live.get() == 0 {
                    return Err(Failure::Overflow);
                }
                match self.returned().await {
                    Some(connection) => return Ok(Connection::H1(connection)),
                    None => continue,
                }
            };
            let counted = Counted::new(self);
            let (transport, meta) = self.connect(permit, Spoken::Negotiated).await?;
            self.chose_h2.set(transport.alpn() == Some(b"h2"));
            let connection = if self.chose_h2.get() {
                self.cluster.stats.upstream_cx_http2_total().inc();
                drop(counted);
                self.new_h2(transport, meta).await.map(Connection::H2)?
            } else {
                self.cluster.stats.upstream_cx_http1_total().inc();
                Connection::H1(self.new_h1(transport, meta, counted))
            };
            drop((pending, done));
            return Ok(connection);
        }
    }

    /// Waits for a connection of HTTP/1 that comes back; `None` where one was lost instead.
    async fn returned(&self) -> Option<Box<h1::Connection>> {
        let (give, take) = oneshot::channel();
        self.waiting.borrow_mut().push_back(give);
        let mut waiting = Waiting { pool: self, take };
        (&mut waiting.take).await.ok()
    }

    /// Waits for the connection of HTTP/2 that another request is making, if one is.
    async fn joins_connecting(&self) -> bool {
        let wait = self.connecting.borrow_mut().as_mut().map(|waiting| {
            let (give, take) = oneshot::channel();
            waiting.push(give);
            take
        });
        match wait {
            // However the connection fared, look again.
            Some(wait) => drop(wait.await),
            None => return false,
        }
        true
    }

    fn new_h1(&self, transport: Transport, meta: connect::Connected, counted: Counted) -> Box<h1::Connection> {
        counted.keep();
        if let Some(stats) = &self.cluster.codec_stats.http1 {
            stats.block().touch();
        }
        let limit = self.cluster.settings.per_connection_buffer_limit;
        let io = Io::new(transport, Meter::Upstream(self.cluster.clone()), limit);
        Box::new(h1::Connection::new(io, meta))
    }

    async fn new_h2(&self, transport: Transport, meta: connect::Connected) -> Result<Rc<h2::Connection>, Failure> {
        if let Some(stats) = &self.cluster.codec_stats.http2 {
            stats.nghttp2_upstream_connections().inc();
        }
        let connection = Rc::new(self.handshake(transport, meta).await?);
        self.h2.borrow_mut().push(connection.clone());
        Ok(connection)
    }

    async fn handshake(&self, transport: Transport, meta: connect::Connected) -> Result<h2::Connection, Failure> {
        let (Some(options), Some(stats)) = (self.cluster.settings.protocol.http2(), &self.cluster.codec_stats.http2) else {
            return Err(Failure::Protocol("http2.not_configured"));
        };
        let settings = &self.cluster.settings;
        let head = u32::try_from(settings.max_response_headers_bytes.unwrap_or(MAX_HTTP2_HEAD)).unwrap_or(u32::MAX);
        let mut builder = ::h2::client::Builder::new();
        builder
            .initial_window_size(options.initial_stream_window_size)
            .initial_connection_window_size(options.initial_connection_window_size)
            .max_header_list_size(head)
            .max_send_buffer_size(send_buffer(settings.per_connection_buffer_limit))
            .header_table_size(options.hpack_table_size)
            .max_concurrent_streams(options.max_concurrent_streams)
            .enable_push(false);
        if let Some(size) = options.max_frame_size {
            builder.max_frame_size(size);
        }
        let watch = Watch::new(Role::Client, options.floods, stats.clone());
        let transport = Watched::new(transport, Meter::Upstream(self.cluster.clone()), watch.clone(), &options.custom_settings);
        let (sender, mut driver) = builder.handshake(transport).await.map_err(|e| h2::failure(&e))?;
        let closed = Rc::new(Cell::new(false));
        let meta = Rc::new(meta);
        let held = (Closing(closed.clone()), meta.clone());
        let ping_now = PingNow::default();
        let alive = options.keepalive.and_then(|keepalive| {
            let jitter = Arc::as_ptr(&self.host) as u64 ^ meta.facts.local.port() as u64;
            Some(keepalive::run(driver.ping_pong()?, keepalive, jitter, ping_now.clone(), watch.clone()))
        });
        let driven = watch.clone();
        let driver = poll_fn(move |cx| {
            driven.streams.register(cx);
            match driven.flood() {
                // What waits for such a peer is not sent any more.
                Some(Flood::Outbound | Flood::Control) => Poll::Ready(()),
                _ => Pin::new(&mut driver).poll(cx).map(|_| ()),
            }
        });
        tokio::task::spawn_local(async move {
            let _held = held;
            match alive {
                Some(alive) => {
                    tokio::select! { _ = driver => {}, () = alive => {} }
                }
                None => driver.await,
            }
        });
        Ok(h2::Connection::new(sender, closed, meta, options, ping_now, watch))
    }

    /// Takes back a connection that was not used.
    pub fn give_back(&self, connection: Connection) {
        match connection {
            Connection::H1(connection) => self.release(connection),
            // It is shared, and counts the requests that begin on it.
            Connection::H2(_) => {}
            // It was made for one request.
            Connection::Tcp(_) => {}
        }
    }

    /// Takes back a connection whose request is over.
    pub fn release(&self, mut connection: Box<h1::Connection>) {
        let max = self.cluster.settings.max_requests_per_connection;
        if max != 0 && connection.requests >= max {
            self.cluster.stats.upstream_cx_max_requests().inc();
            return self.discard(connection);
        }
        if self.closed.get() || !self.is_young(&connection.meta) {
            return self.discard(connection);
        }
        connection.idle_since = Instant::now();
        while let Some(waiting) = self.waiting.borrow_mut().pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
        self.idle.borrow_mut().push(connection);
    }

    /// A connection at work was lost.
    pub fn lost(&self) {
        self.live.set(self.live.get().saturating_sub(1));
        // Whoever waits may now make its own.
        self.waiting.borrow_mut().pop_front();
    }

    fn discard(&self, connection: Box<h1::Connection>) {
        drop(connection);
        self.lost();
    }

    fn pop_idle(&self) -> Option<Box<h1::Connection>> {
        self.idle.borrow_mut().pop()
    }

    /// Whether a connection may carry a further request; its end is counted where not.
    fn is_young(&self, connection: &connect::Connected) -> bool {
        let young = connection.is_young();
        if !young {
            self.cluster.stats.upstream_cx_max_duration_reached().inc();
        }
        young
    }

    fn pending(&self, priority: Priority) -> Result<Pending, Failure> {
        self.counted[priority as usize].get_or_init(|| self.cluster.circuit.pool(priority));
        let stats = &self.cluster.stats;
        let Some(permit) = self.cluster.circuit.try_pending(priority) else {
            stats.upstream_rq_pending_overflow().inc();
            return Err(Failure::Overflow);
        };
        stats.upstream_rq_pending_total().inc();
        stats.upstream_rq_pending_active().inc();
        Ok(Pending(self.cluster.clone(), permit))
    }

    fn connection_permit(&self, priority: Priority, starving: bool) -> Option<Permit> {
        let circuit = &self.cluster.circuit;
        let most = circuit.limits(priority).connections_per_host;
        // Those that are being made are known to their worker only.
        let there = || self.host.stats.cx_active.load(Relaxed).max(u32::try_from(self.live.get()).unwrap_or(u32::MAX));
        let full = most.is_some_and(|most| there() >= most);
        let permit = if full { None } else { circuit.try_connection(priority) };
        if permit.is_none() {
            self.cluster.stats.upstream_cx_overflow().inc();
        }
        permit.or_else(|| starving.then(|| circuit.force_connection(priority)))
    }

    fn sweep(&self) {
        let Ok(mut idle) = self.idle.try_borrow_mut() else { return };
        let timeout = self.cluster.settings.idle_timeout;
        let before = idle.len();
        idle.retain_mut(|c| {
            let expired = timeout.is_some_and(|t| c.idle_since.elapsed() >= t);
            if expired {
                self.cluster.stats.upstream_cx_idle_timeout().inc();
            }
            !expired && self.is_young(&c.meta) && c.is_usable()
        });
        self.live.set(self.live.get().saturating_sub(before - idle.len()));
        self.retire(|c| {
            let expired = timeout.is_some_and(|t| c.idle_for() >= Some(t));
            if expired {
                self.cluster.stats.upstream_cx_idle_timeout().inc();
            }
            expired
        });
    }

    fn close(&self) {
        self.closed.set(true);
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        self.live.set(self.live.get().saturating_sub(idle.len()));
        self.h2.borrow_mut().clear();
    }
}

/// Marks an HTTP/2 connection as closed, however the task that moves it ends.
struct Closing(Rc<Cell<bool>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// A place among those that wait for a connection to come back.
struct Waiting<'p> {
    pool: &'p HostPool,
    take: oneshot::Receiver<Box<h1::Connection>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // What was given and not yet taken when the request was let go.
        if let Ok(connection) = self.take.try_recv() {
            self.pool.release(connection);
        }
    }
}

/// A request that waits for a connection.
struct Pending(Arc<Cluster>, #[allow(dead_code, reason = "held, not read")] Permit);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.stats.upstream_rq_pending_active().dec();
    }
}

/// Counts a connection that is being made, until it is lost or kept.
struct Counted(Rc<HostPool>, bool);

impl Counted {
    fn new(pool: &Rc<HostPool>) -> Counted {
        pool.live.set(pool.live.get() + 1);
        Counted(pool.clone(), true)
    }

    fn keep(mut self) {
        self.1 = false;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.1 {
            self.0.lost();
        }
    }
}

/// The making of an HTTP/2 connection; whoever waits for it looks again when this is dropped.
struct Connecting(Rc<HostPool>);

impl Connecting {
    fn new(pool: &Rc<HostPool>) -> Connecting {
        *pool.connecting.borrow_mut() = Some(Vec::new());
        Connecting(pool.clone())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.borrow_mut().take();
    }
}
