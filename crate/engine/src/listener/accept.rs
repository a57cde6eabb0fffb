//! The accept loop of one worker on one socket, and the way of a TCP connection to its filter chain.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::{
    FilterChain, Listener, ListenerFilter,
    balance::{Balance, Place},
    filter_chain::Traits,
    quic, socket,
};
use crate::{
    http::connection::{self, Connection},
    stats::ListenerWorkerStats,
    stream_info::{ConnectionInfo, TlsInfo},
    tls,
    transport::{Transport, proxy_protocol::Tlv},
    worker::{
        Worker,
        signal::{Listening, Signal},
        timer::Deadline,
    },
};

/// A worker that accepts on one socket.
pub struct Accepting {
    /// Only here, so that closing it takes effect at once; `None` when it is closed.
    socket: RefCell<Option<Socket>>,
    /// The listener that new connections get, and their generation.
    current: RefCell<(Arc<Listener>, Rc<Signal>)>,
    task: RefCell<Option<tokio::task::JoinHandle<()>>>,
}

/// Where new connections come from.
enum Socket {
    Stream(TcpListener),
    Quic(quinn::Endpoint),
}

impl Accepting {
    /// Begins to accept.
    pub fn start(worker: &Rc<Worker>, listener: Arc<Listener>, socket: socket::Handle) -> io::Result<Rc<Accepting>> {
        let socket = match (socket, &listener.quic) {
            (socket::Handle::Stream(socket), _) => {
                socket.set_nonblocking(true)?;
                Socket::Stream(TcpListener::from_std(socket)?)
            }
            (socket::Handle::Datagrams(socket), Some(quic)) => {
                Socket::Quic(quic::endpoint(socket, quic, worker.index, listener.worker_stats.len())?)
            }
            (socket::Handle::Datagrams(_), None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let endpoint = if let Socket::Quic(endpoint) = &socket { Some(endpoint.clone()) } else { None };
        let accepting = Rc::new(Accepting {
            socket: RefCell::new(Some(socket)),
            current: RefCell::new((listener, Signal::new())),
            task: RefCell::default(),
        });
        let task = match endpoint {
            Some(endpoint) => worker.spawn_vital(accept_quic(worker.clone(), Rc::downgrade(&accepting), endpoint)),
            None => worker.spawn_vital(accept_streams(worker.clone(), Rc::downgrade(&accepting))),
        };
        *accepting.task.borrow_mut() = Some(task);
        Ok(accepting)
    }

    /// New connections get another listener; those of the old one drain. Gives their signal.
    pub fn replace(&self, listener: Arc<Listener>) -> Rc<Signal> {
        let (_, old) = self.current.replace((listener, Signal::new()));
        old.drain();
        old
    }

    /// The next connection; `None` once the socket is closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<(TcpStream, SocketAddr)>>> {
        match &*self.socket.borrow() {
            Some(Socket::Stream(socket)) => socket.poll_accept(cx).map(Some),
            Some(Socket::Quic(_)) | None => Poll::Ready(None),
        }
    }

    /// Accepts no more. Who waits in the queue is still taken: closing the socket would reset them.
    pub fn close(&self, worker: &Rc<Worker>) -> Rc<Signal> {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        match &*self.socket.borrow_mut() {
            // Asks the kernel: the runtime only knows of those that came before it last looked.
            Some(Socket::Stream(socket)) => loop {
                match accept_now(socket) {
                    Ok((stream, remote)) => self.take(worker, stream, remote),
                    Err(e) if is_of_one_connection(&e) => {}
                    Err(_) => break,
                }
            },
            // Its connections keep the socket until they end.
            Some(Socket::Quic(endpoint)) => endpoint.set_server_config(None),
            None => {}
        }
        *self.socket.borrow_mut() = None;
        self.signal()
    }

    /// Whether it accepts for this listener, or for a newer one of its name.
    pub fn serves(&self, listener: &Listener) -> bool {
        self.current.borrow().0.name == listener.name
    }

    /// The signal of the newest connections.
    pub fn signal(&self) -> Rc<Signal> {
        self.current.borrow().1.clone()
    }

    /// Gives a connection to the worker whose turn it is: nearly always this one.
    fn deal(&self, worker: &Rc<Worker>, stream: TcpStream, remote: SocketAddr) {
        let listener = self.current.borrow().0.clone();
        let Some(place) = listener.balance.as_ref().map(Balance::deal) else { return self.take(worker, stream, remote) };
        if place.worker == worker.index {
            return self.begin(worker, stream, remote, Some(place));
        }
        // A socket that the runtime does not let go of is gone already.
        if let Ok(stream) = stream.into_std() {
            worker.hand_over(Dealt { listener, stream, remote, place });
        }
    }

    /// A connection that stays with the worker that accepted it.
    fn take(&self, worker: &Rc<Worker>, stream: TcpStream, remote: SocketAddr) {
        let place = self.current.borrow().0.balance.as_ref().map(|balance| balance.at(worker.index));
        self.begin(worker, stream, remote, place);
    }

    fn begin(&self, worker: &Rc<Worker>, stream: TcpStream, remote: SocketAddr, place: Option<Place>) {
        let (listener, signal) = self.current.borrow().clone();
        serve(worker, listener, &signal, stream, remote, place);
    }
}

/// Accepts the connections of a TCP socket until it is closed.
async fn accept_streams(worker: Rc<Worker>, accepting: Weak<Accepting>) {
    loop {
        let next = poll_fn(|cx| match accepting.upgrade() {
            Some(accepting) => accepting.poll_accept(cx).map(|accepted| accepted.map(|a| (accepting, a))),
            None => Poll::Ready(None),
        });
        let Some((accepting, accepted)) = next.await else { return };
        match accepted {
            Ok((stream, remote)) => accepting.deal(&worker, stream, remote),
            // Out of descriptors or memory: what is there must end first.
            Err(e) if !is_of_one_connection(&e) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(_) => {}
        }
    }
}

/// Accepts the connections of a QUIC endpoint until it is closed.
async fn accept_quic(worker: Rc<Worker>, accepting: Weak<Accepting>, endpoint: quinn::Endpoint) {
    let Ok(bound) = endpoint.local_addr() else { return };
    while let Some(incoming) = endpoint.accept().await {
        let Some(accepting) = accepting.upgrade() else { return };
        let (listener, signal) = accepting.current.borrow().clone();
        let listening = signal.listen();
        let of_worker = worker.clone();
        worker.spawn(async move {
            let Some(quic) = &listener.quic else { return };
            if let Some((connected, connection)) = Box::pin(quic::begin(of_worker, &listener, quic, incoming, bound, listening)).await {
                let _counted = Counted::new(listener.clone(), connection.worker.index, None);
                connection::serve_quic(connected, connection).await;
            }
        });
    }
}

/// A connection that another worker accepted.
pub struct Dealt {
    listener: Arc<Listener>,
    stream: std::net::TcpStream,
    remote: SocketAddr,
    place: Place,
}

impl Dealt {
    /// Serves it as `accepting` serves its own; without one the listener has gone meanwhile, and the connection drains. Gives the
    /// signal of such a connection.
    pub fn serve(self, worker: &Rc<Worker>, accepting: Option<&Accepting>) -> Option<Rc<Signal>> {
        let Dealt { listener, stream, remote, place } = self;
        let stream = TcpStream::from_std(stream).ok()?;
        match accepting {
            Some(accepting) => {
                accepting.begin(worker, stream, remote, Some(place));
                None
            }
            None => {
                let signal = Signal::new();
                signal.drain();
                serve(worker, listener, &signal, stream, remote, Some(place));
                Some(signal)
            }
        }
    }

    /// Of which listener it is.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Which worker it is for.
    pub fn worker(&self) -> usize {
        self.place.worker
    }
}

/// Begins to serve a connection.
fn serve(worker: &Rc<Worker>, listener: Arc<Listener>, signal: &Rc<Signal>, stream: TcpStream, remote: SocketAddr, place: Option<Place>) {
    let listening = signal.listen();
    let counted = Counted::new(listener.clone(), worker.index, place);
    // Answers are written whole: waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let task_worker = worker.clone();
    worker.spawn(async move {
        // Boxed: a task keeps the room of everything that it awaits for as long as it lives.
        if let Some((transport, connection)) = Box::pin(begin(task_worker, &listener, stream, remote, listening)).await {
            connection::serve(transport, connection).await;
        }
        drop(counted);
    });
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }
}

/// How a connection begins.
enum Greeting {
    /// In clear text, or with what nobody has looked at.
    Raw(TcpStream),
    /// With a ClientHello that is not whole yet.
    Partial(Box<LazyConfigAcceptor<TcpStream>>),
    /// With a ClientHello that was read.
    Tls(Box<StartHandshake<TcpStream>>),
}

/// A connection as its listener filters leave it, however far they come.
struct Opening {
    /// `None` only while a filter works on it.
    greeting: Option<Greeting>,
    /// What was read of a connection in clear text before it was clear what it is.
    ahead: BytesMut,
    remote: SocketAddr,
    local: SocketAddr,
    tlvs: Vec<Tlv>,
}

impl Opening {
    /// Runs the listener's filters. An error is `UnexpectedEof` where the client closed.
    async fn filter(&mut self, filters: &[ListenerFilter]) -> io::Result<()> {
        for filter in filters {
            match (filter, &self.greeting) {
                (ListenerFilter::TlsInspector, Some(Greeting::Raw(stream))) if self.ahead.is_empty() => {
                    if starts_handshake(stream).await? {
                        self.read_hello().await?;
                    }
                }
                (ListenerFilter::TlsInspector, _) => {}
                (ListenerFilter::ProxyProtocol(filter), Some(Greeting::Raw(stream))) => {
                    if let Some(told) = filter.read(stream, &mut self.ahead).await? {
                        (self.remote, self.local, self.tlvs) = (told.source, told.destination, told.tlvs);
                    }
                }
                // Behind the inspector of a TLS connection there is no header.
                (ListenerFilter::ProxyProtocol(filter), _) => filter.none()?,
            }
        }
        Ok(())
    }

    /// Reads a ClientHello; what came of it is kept where this is given up.
    async fn read_hello(&mut self) -> io::Result<()> {
        self.greeting = match self.greeting.take() {
            Some(Greeting::Raw(stream)) => Some(Greeting::Partial(Box::new(acceptor(stream)))),
            other => other,
        };
        if let Some(Greeting::Partial(acceptor)) = &mut self.greeting {
            let start = acceptor.await?;
            self.greeting = Some(Greeting::Tls(Box::new(start)));
        }
        Ok(())
    }
}

/// What comes before the first request: the listener filters, the filter chain, the handshake. `None` where one of them ends it.
async fn begin(
    worker: Rc<Worker>,
    listener: &Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
    mut listening: Listening,
) -> Option<(Transport, Connection)> {
    let accepted = Instant::now();
    let own = stream.local_addr().ok()?;
    let mut opening = Opening { greeting: Some(Greeting::Raw(stream)), ahead: BytesMut::new(), remote: peer, local: own, tlvs: Vec::new() };
    if !listener.filters.is_empty() {
        listener.stats.downstream_pre_cx_active().inc();
        let filtered = limited(&mut listening, listener.listener_filters_timeout, opening.filter(&listener.filters)).await;
        listener.stats.downstream_pre_cx_active().dec();
        match filtered {
            Limited::Done(Ok(())) => {}
            Limited::Done(Err(e)) => {
                // What a filter itself refuses, it has counted.
                if e.kind() != io::ErrorKind::InvalidData {
                    listener.stats.downstream_listener_filter_remote_close().inc();
                }
                return None;
            }
            Limited::TooLong => {
                listener.stats.downstream_pre_cx_timeout().inc();
                if !listener.continue_on_listener_filters_timeout {
                    return None;
                }
            }
            Limited::Ended => return None,
        }
    }
    let Opening { greeting, ahead, remote, local, tlvs } = opening;
    let greeting = greeting?;
    let hello = match &greeting {
        Greeting::Tls(start) => Some(Hello::of(&start.client_hello())),
        Greeting::Raw(_) | Greeting::Partial(_) => None,
    };
    let traits = Traits {
        local,
        remote,
        peer,
        server_name: hello.as_ref().map(|h| h.server_name.as_str()).unwrap_or_default(),
        tls: hello.is_some(),
        alpn: hello.as_ref().map(|h| h.alpn.as_slice()).unwrap_or_default(),
    };
    let Some(chain) = listener.chains.find(&traits).cloned() else {
        listener.stats.no_filter_chain_match().inc();
        return None;
    };
    let begun = Instant::now();
    let secured = limited(&mut listening, chain.handshake_timeout, secure(&chain, greeting, ahead)).await;
    let (transport, tls) = match secured {
        Limited::Done(Ok(secured)) => secured,
        Limited::TooLong => {
            listener.stats.downstream_cx_transport_socket_connect_timeout().inc();
            return None;
        }
        Limited::Done(Err(_)) | Limited::Ended => return None,
    };
    // As in Envoy the name that was asked for is told where the tls_inspector looked for it.
    let inspected = listener.filters.iter().any(|f| matches!(f, ListenerFilter::TlsInspector));
    let tls = tls.map(|tls| TlsInfo { sni: tls.sni.filter(|_| inspected), ..tls });
    let connection = Connection {
        manager: chain.manager.clone(),
        info: Rc::new(ConnectionInfo {
            peer,
            remote,
            local,
            local_restored: local != own,
            handshake: tls.as_ref().map(|_| (begun, Instant::now())),
            tls,
            tlvs,
            id: worker.connection_id(),
            accepted: Some(accepted),
            entrance: Some(chain.entrance.clone()),
        }),
        worker,
        listening,
        buffer_limit: listener.buffer_limit,
    };
    Some((transport, connection))
}

/// What a ClientHello says that filter chains match.
struct Hello {
    server_name: String,
    alpn: Vec<String>,
}

impl Hello {
    fn of(hello: &rustls::server::ClientHello<'_>) -> Hello {
        let alpn = hello.alpn().into_iter().flatten().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
        Hello { server_name: hello.server_name().unwrap_or_default().to_ascii_lowercase(), alpn }
    }
}

/// Tells TLS from clear text by the first byte.
async fn starts_handshake(stream: &TcpStream) -> io::Result<bool> {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == HANDSHAKE),
    }
}

fn acceptor(stream: TcpStream) -> LazyConfigAcceptor<TcpStream> {
    LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
}

/// Does what the chain's transport socket asks for.
async fn secure(chain: &FilterChain, greeting: Greeting, ahead: BytesMut) -> io::Result<(Transport, Option<TlsInfo>)> {
    let Some(context) = &chain.tls else {
        return match greeting {
            Greeting::Raw(stream) => {
                let mut transport = Transport::raw(stream);
                transport.unread(ahead);
                Ok((transport, None))
            }
            // Its first bytes are read already, and nothing here could make sense of them.
            Greeting::Partial(_) | Greeting::Tls(_) => Err(io::ErrorKind::InvalidData.into()),
        };
    };
    let start = match greeting {
        Greeting::Tls(start) => *start,
        Greeting::Partial(acceptor) => acceptor.await?,
        Greeting::Raw(stream) if ahead.is_empty() => acceptor(stream).await?,
        // What begins like the header of a balancer is no ClientHello.
        Greeting::Raw(_) => return Err(io::ErrorKind::InvalidData.into()),
    };
    let (stream, shown) = context.accept(start).await?;
    let server = stream.get_ref().1;
    let info = tls::info(server, server.server_name(), shown);
    Ok((Transport::tls(stream), Some(info)))
}

/// How a step with a time limit ended.
pub(super) enum Limited<T> {
    Done(T),
    TooLong,
    Ended,
}

/// Runs a step of a connection's beginning; zero is no limit.
pub(super) async fn limited<T>(listening: &mut Listening, limit: Duration, step: impl Future<Output = T>) -> Limited<T> {
    let mut step = pin!(step);
    let mut deadline = Deadline::default();
    deadline.set(Some(limit));
    poll_fn(|cx| {
        listening.register(cx);
        if let Poll::Ready(done) = step.as_mut().poll(cx) {
            return Poll::Ready(Limited::Done(done));
        }
        if listening.signal().ended() {
            return Poll::Ready(Limited::Ended);
        }
        deadline.poll(cx).map(|()| Limited::TooLong)
    })
    .await
}

/// Counts a connection of a listener, from accept to end.
struct Counted {
    listener: Arc<Listener>,
    worker: Option<ListenerWorkerStats>,
    since: Instant,
    _place: Option<Place>,
}

impl Counted {
    fn new(listener: Arc<Listener>, worker: usize, place: Option<Place>) -> Counted {
        listener.stats.downstream_cx_total().inc();
        listener.stats.downstream_cx_active().inc();
        let worker = listener.worker_stats.get(worker).cloned();
        if let Some(stats) = &worker {
            stats.downstream_cx_total().inc();
            stats.downstream_cx_active().inc();
        }
        Counted { listener, worker, since: Instant::now(), _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let stats = &self.listener.stats;
        stats.downstream_cx_active().dec();
        stats.downstream_cx_destroy().inc();
        stats.downstream_cx_length_ms().record(self.since.elapsed().as_millis() as u64);
        if let Some(stats) = &self.worker {
            stats.downstream_cx_active().dec();
        }
    }
}

/// Accepts without the runtime's readiness; `WouldBlock` where nobody waits.
fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, remote) = socket2::SockRef::from(socket).accept()?;
    stream.set_nonblocking(true)?;
    let remote = remote.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((TcpStream::from_std(stream.into())?, remote))
}

/// Whether an accept failed for a reason of that one connection, so that the next may succeed at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
