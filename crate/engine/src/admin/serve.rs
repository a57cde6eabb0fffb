//! HTTP/1 for the admin interface, on the control runtime; handlers run on blocking threads, so that a long `/stats`
//! holds up nothing.

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Either, Empty, StreamBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::{AdminSource, handler::Answer, handler::Request, handler::handle};
use crate::{
    access_log::AccessLog,
    format::{Context, TimeFormat},
    http::header::{HeaderList, Known},
    stats::{HttpStats, ListenerHttpStats, ListenerStats, ListenerWorkerStats},
    stream_info::{ConnectionInfo, Protocol, StreamInfo},
};

/// Connections at the same time; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// A request's head must be there in this time; so long an idle connection stays.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// No connection lives longer: one that does not read its answer must not hold a place.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// At the end so long for answers that are under way, that to `/quitquitquit` among them.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Longest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// Pieces that an answer is sent in.
const PIECE: usize = 64 * 1024;

/// What all connections share.
struct Shared {
    source: Arc<dyn AdminSource>,
    access_logs: Vec<AccessLog>,
    // Counters of the admin listener, under Envoy's names.
    http: HttpStats,
    listener: ListenerStats,
    main_thread: ListenerWorkerStats,
    listener_http: ListenerHttpStats,
}

/// Serves the admin interface until it is dropped; connections end with the runtime. Needs a tokio runtime with timers and I/O.
pub async fn serve(listener: TcpListener, source: Arc<dyn AdminSource>) {
    serve_until(listener, source, pending()).await;
}

/// Like [`serve`], until `stop` resolves: then it accepts no more and returns when the answers under way are written.
pub async fn serve_until(listener: TcpListener, source: Arc<dyn AdminSource>, stop: impl Future<Output = ()>) {
    let store = source.stats();
    let shared = Arc::new(Shared {
        access_logs: source.access_logs(),
        source,
        http: HttpStats::new(&store, "http.admin"),
        listener: ListenerStats::new(&store, "listener.admin"),
        main_thread: ListenerWorkerStats::new(&store, "listener.admin.main_thread"),
        listener_http: ListenerHttpStats::new(&store, "listener.admin.http.admin"),
    });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    let mut id = 0;
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, remote)) => {
                let local = stream.local_addr().unwrap_or(remote);
                let info = ConnectionInfo::plain(id, remote, local);
                id += 1;
                let (shared, stopped) = (shared.clone(), stopped.clone());
                connections.spawn(async move {
                    connection(stream, info, shared, stopped).await;
                    drop(place);
                });
            }
            // Out of descriptors, or a client that went away at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    drop(stopping);
    let all = async { while connections.join_next().await.is_some() {} };
    // Who has not read its answer by then goes without.
    let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
}

async fn connection(stream: TcpStream, info: ConnectionInfo, shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let (http, listener, main_thread) = (&shared.http, &shared.listener, &shared.main_thread);
    listener.downstream_cx_total().inc();
    main_thread.downstream_cx_total().inc();
    http.downstream_cx_total().inc();
    http.downstream_cx_http1_total().inc();
    let active = [
        listener.downstream_cx_active(),
        main_thread.downstream_cx_active(),
        http.downstream_cx_active(),
        http.downstream_cx_http1_active(),
    ];
    let _active = active.map(|gauge| {
        gauge.inc();
        Guard(move || gauge.dec())
    });
    let service = service_fn(|request| answer(request, info.clone(), shared.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        // How a connection ends concerns its client only.
        tokio::select! {
            _ = connection.as_mut() => {}
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    };
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
    listener.downstream_cx_destroy().inc();
    http.downstream_cx_destroy().inc();
}

/// Runs a closure when it is dropped: a connection may end by its task's end.
struct Guard<F: FnMut()>(F);

impl<F: FnMut()> Drop for Guard<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

type Body = Either<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>, Empty<Bytes>>;

async fn answer(request: hyper::Request<Incoming>, info: ConnectionInfo, shared: Arc<Shared>) -> Result<hyper::Response<Body>, Infallible> {
    let begin = (SystemTime::now(), Instant::now());
    shared.http.downstream_rq_total().inc();
    shared.http.downstream_rq_http1_total().inc();
    let text = |name: header::HeaderName| request.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let head = Request {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        host: text(header::HOST),
        origin: text(header::ORIGIN),
        fetch_site: text(header::HeaderName::from_static("sec-fetch-site")),
    };
    let is_head = request.method() == hyper::Method::HEAD;
    let source = shared.source.clone();
    let run = tokio::task::spawn_blocking(move || handle(&*source, &head));
    let answer = run.await.unwrap_or_else(|_| Answer::error(500, "the handler of this page failed\n"));
    shared.http.answer(answer.status);
    shared.listener_http.answer(answer.status);
    if !shared.access_logs.is_empty() {
        log(&shared.access_logs, &request, &answer, info, begin);
    }
    let body = match is_head || answer.body.is_empty() {
        true => Either::Right(Empty::new()),
        false => Either::Left(pieces(answer.body)),
    };
    let mut response = hyper::Response::new(body);
    // Statuses come from the table of endpoints.
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let mut date = Vec::new();
    if let Ok(format) = TimeFormat::parse("%a, %d %b %Y %H:%M:%S GMT") {
        format.write(SystemTime::now(), &mut date);
    }
    if let Ok(date) = HeaderValue::from_bytes(&date) {
        headers.insert(header::DATE, date);
    }
    headers.insert(header::SERVER, HeaderValue::from_static("envoy"));
    Ok(response)
}

fn log(
    logs: &[AccessLog],
    request: &hyper::Request<Incoming>,
    answer: &Answer,
    info: ConnectionInfo,
    (start, started): (SystemTime, Instant),
) {
    let mut headers = HeaderList::new();
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    headers.append_known(Known::Method, request.method().as_str().as_bytes());
    headers.append_known(Known::Path, target.as_bytes());
    headers.append_known(Known::Scheme, b"http");
    for (name, value) in request.headers() {
        let name = if *name == header::HOST { Known::Authority.name() } else { name.as_str() };
        headers.append(name.as_bytes(), value.as_bytes());
    }
    let protocol = if request.version() == http::Version::HTTP_10 { Protocol::Http10 } else { Protocol::Http11 };
    let mut stream = StreamInfo::new(Rc::new(info), protocol, 0);
    (stream.start, stream.started, stream.end) = (start, started, Some(Instant::now()));
    (stream.status, stream.bytes_sent) = (answer.status, answer.body.len() as u64);
    let context = Context::new(&stream, Some(&headers), None);
    logs.iter().for_each(|l| l.log(&context));
}

/// The body in pieces of no known total, which goes out chunked as Envoy's does.
fn pieces(body: String) -> http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible> {
    let mut rest = Bytes::from(body);
    let pieces = std::iter::from_fn(move || (!rest.is_empty()).then(|| Ok(Frame::data(rest.split_to(rest.len().min(PIECE))))));
    StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
}
