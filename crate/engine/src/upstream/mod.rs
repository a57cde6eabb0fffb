//! Upstream connections: pools of one worker, the HTTP/1 and HTTP/2 client, and the request that attempts replay.

pub mod connect;
pub mod copy;
pub mod h1;
pub mod h2;
pub mod pool;
pub mod request;
pub mod tcp;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::{
    cluster::Settings,
    error::Failure,
    http::{
        body::{BodyError, Frame},
        header::HeaderList,
        stream::Stream,
    },
    stream_info::{Protocol, UpstreamConnection},
};
use pool::HostPool;
use request::Cursor;

/// A head of an answer.
#[derive(Debug)]
pub struct Head {
    /// `:status` and the headers.
    pub headers: HeaderList,
    /// 1xx: another head follows.
    pub informational: bool,
}

/// One request and its answer on a connection of either protocol.
pub enum Exchange {
    /// On HTTP/1.
    H1(Box<h1::Exchange>),
    /// On HTTP/2.
    H2(Box<h2::Exchange>),
    /// As bytes.
    Tcp(Box<tcp::Exchange>),
}

/// A connection that can carry a request.
pub enum Connection {
    /// Of HTTP/1, with no request on it.
    H1(Box<h1::Connection>),
    /// Of HTTP/2, with room for one more.
    H2(Rc<h2::Connection>),
    /// For the bytes of one request.
    Tcp(Box<tcp::Connection>),
}

/// A connection that is made or waited for. Boxed: where one is ready, none of this exists.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Failure>>>>;

impl Exchange {
    /// Begins a request on a connection that is ready; its pool has it again at the end.
    pub fn begin(connection: Connection, pool: &Rc<HostPool>, headers: &HeaderList, request: Cursor) -> Result<Exchange, Failure> {
        Ok(match connection {
            Connection::H1(connection) => Exchange::H1(Box::new(h1::Exchange::new(connection, pool.clone(), headers, request))),
            Connection::H2(connection) => Exchange::H2(Box::new(h2::Exchange::new(connection, pool.clone(), headers, request)?)),
            Connection::Tcp(connection) => Exchange::Tcp(Box::new(tcp::Exchange::new(*connection, request))),
        })
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        match self {
            Exchange::H1(_) => Protocol::Http11,
            Exchange::H2(_) => Protocol::Http2,
            Exchange::Tcp(_) => Protocol::Http11,
        }
    }

    /// What is told of the connection; nothing once it is given back.
    pub fn facts(&self) -> Option<&Rc<UpstreamConnection>> {
        match self {
            Exchange::H1(e) => e.facts(),
            Exchange::H2(e) => Some(e.facts()),
            Exchange::Tcp(e) => Some(e.facts()),
        }
    }

    /// Whether any part of the answer has come.
    pub fn answered(&self) -> bool {
        match self {
            Exchange::H1(e) => e.answered(),
            Exchange::H2(e) => e.answered(),
            Exchange::Tcp(e) => e.answered(),
        }
    }

    /// Whether the connection had carried a request before.
    pub fn reused(&self) -> bool {
        match self {
            Exchange::H1(e) => e.reused(),
            Exchange::H2(e) => e.reused(),
            Exchange::Tcp(_) => false,
        }
    }

    /// Whether the whole request went out.
    pub fn sent(&self) -> bool {
        match self {
            Exchange::H1(e) => e.sent(),
            Exchange::H2(e) => e.sent(),
            Exchange::Tcp(e) => e.sent(),
        }
    }

    /// Sends what can be sent now.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        match self {
            Exchange::H1(e) => e.poll_send(cx),
            Exchange::H2(e) => e.poll_send(cx),
            Exchange::Tcp(e) => e.poll_send(cx),
        }
    }

    /// The next head of the answer: informational ones, then the final one.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        match self {
            Exchange::H1(e) => e.poll_head(cx),
            Exchange::H2(e) => e.poll_head(cx),
            Exchange::Tcp(e) => e.poll_head(cx),
        }
    }

    /// The next frame of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self {
            Exchange::H1(e) => e.poll_body(cx),
            Exchange::H2(e) => e.poll_body(cx),
            Exchange::Tcp(e) => e.poll_body(cx),
        }
    }

    /// Whether the body of the answer is known to be over; the connection is then given back at once.
    pub fn end_if_over(&mut self) -> bool {
        match self {
            Exchange::H1(e) => e.end_if_over(),
            Exchange::H2(e) => e.end_if_over(),
            Exchange::Tcp(e) => e.ended(),
        }
    }
}

/// What a request asks of its connection beside the host. Requests that ask for different things never share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Demand {
    /// The server name of its TLS (`auto_sni`).
    pub server_name: Option<Box<str>>,
    /// What the host's certificate must be for (`auto_san_validation`).
    pub certificate_name: Option<Box<str>>,
    /// Whom the host is told that we speak for, by a PROXY protocol header: source and destination of the client's connection.
    pub spoken_for: Option<(SocketAddr, SocketAddr)>,
    /// The client connection that it is for (`connection_pool_per_downstream_connection`).
    pub client: Option<u64>,
}

impl Demand {
    /// What a request of this stream asks for; nothing in most clusters.
    pub fn of(settings: &Settings, stream: &Stream) -> Option<Box<Demand>> {
        if settings.auto_names.is_none() && settings.proxy_header.is_none() && !settings.pool_per_client {
            return None;
        }
        let (connection, names) = (&stream.info.connection, settings.auto_names.as_ref());
        Some(Box::new(Demand {
            server_name: names.and_then(|names| names.sent(&stream.headers)).map(Into::into),
            certificate_name: names.and_then(|names| names.checked(&stream.headers)).map(Into::into),
            spoken_for: settings.proxy_header.as_ref().map(|_| (connection.remote, connection.local)),
            client: settings.pool_per_client.then_some(connection.id),
        }))
    }
}

/// The key of a host's pool: a changed cluster gets new pools although its hosts stay.
pub type HostKey = (usize, u64, Option<Box<Demand>>);
