//! Upstream servers: HTTP/1.1 and HTTP/2 with a handler, and raw ones that follow a script.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

/// What a handler answers with.
pub type Reply = http::Response<UnsyncBoxBody<Bytes, Infallible>>;
type Handler = Arc<dyn Fn(http::Request<Incoming>, usize) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// A server on a port of its own; it ends when dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    task: AbortHandle,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with a status and a body.
pub fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let mut reply = http::Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = http::StatusCode::from_u16(status).expect("the test gives a status");
    reply
}

/// All bytes of a request's body.
pub async fn whole(request: http::Request<Incoming>) -> Bytes {
    request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default()
}

impl Upstream {
    /// An HTTP/1.1 server; the handler is told how many requests there were, this one included.
    pub async fn http1<F, R>(handler: F) -> Upstream
    where
        F: Fn(http::Request<Incoming>, usize) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Upstream::http(false, Arc::new(move |r, n| Box::pin(handler(r, n)))).await
    }

    /// An HTTP/2 server with prior knowledge.
    pub async fn http2<F, R>(handler: F) -> Upstream
    where
        F: Fn(http::Request<Incoming>, usize) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Upstream::http(true, Arc::new(move |r, n| Box::pin(handler(r, n)))).await
    }

    /// An HTTP/1.1 server that answers 200 with this text.
    pub async fn saying(text: &'static str) -> Upstream {
        Upstream::http1(move |request, _| async move {
            whole(request).await;
            reply(200, text)
        })
        .await
    }

    /// An HTTP/1.1 server that answers 200 with this text, one request for each permit that is added to the gate.
    pub async fn gated(text: &'static str) -> (Upstream, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let permits = gate.clone();
        let upstream = Upstream::http1(move |_, _| {
            let permits = permits.clone();
            async move {
                permits.acquire().await.expect("nobody closes it").forget();
                reply(200, text)
            }
        })
        .await;
        (upstream, gate)
    }

    async fn http(two: bool, handler: Handler) -> Upstream {
        Upstream::accept(move |stream, _, counts| {
            let handler = handler.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = handler(request, counts.requests.fetch_add(1, SeqCst) + 1);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let io = TokioIo::new(stream);
                // A connection that the proxy ends early is what many tests want.
                if two {
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
                }
            }
        })
        .await
    }

    /// A server that does with each connection what the script says; the script is told how many there were, this one included.
    pub async fn raw<F, R>(script: F) -> Upstream
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Upstream::accept(move |stream, n, _| script(stream, n)).await
    }

    async fn accept<F, R>(serve: F) -> Upstream
    where
        F: Fn(TcpStream, usize, Arc<Counts>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of loopback");
        let address = listener.local_addr().expect("it is bound");
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let task = tokio::spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let n = shared.connections.fetch_add(1, SeqCst) + 1;
                shared.open.fetch_add(1, SeqCst);
                let (done, counts) = (shared.clone(), shared.clone());
                let served = serve(stream, n, counts);
                all.spawn(async move {
                    served.await;
                    done.open.fetch_sub(1, SeqCst);
                });
            }
        });
        Upstream { address, counts, task: task.abort_handle() }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.counts.open.load(SeqCst)
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(SeqCst)
    }
}

/// A port of loopback on which nobody listens.
pub fn closed_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
    socket.local_addr().expect("it is bound")
}
