//! Panics on a worker: of a filter, which ends one stream or connection, and of the worker, which starts again; and streams that a filter recreates.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use plenipo_api::Options as ReadOptions;
use plenipo_testkit::{
    Client, Upstream,
    config::{Cluster, bootstrap},
    until, within,
};
use serde_json::json;
use tokio::net::TcpStream;

use super::*;
use crate::{
    access_log::Files,
    config::{self, Context as ConfigContext, issues::At},
    control::Kind,
    filter::{Filter, FilterFactory, RouteConfig, Verdict, chain::Link},
    http::{
        header::Known,
        stream::{Response, Stream},
    },
    listener::{
        FilterChain, Listener,
        filter_chain::{ChainMatcher, Traits},
    },
    worker::{Message, Worker},
};

/// A proxy that is killed when the test ends.
struct Running(Proxy);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Running {
    async fn start(listener: &plenipo_testkit::config::Listener, clusters: &[&Cluster]) -> Running {
        let proxy = Running(Proxy::new(Options { concurrency: Some(1), ..Options::default() }));
        let config = bootstrap(&[listener], clusters).to_string();
        within(proxy.0.start(vec![Input::json(config)], None)).await.unwrap();
        proxy
    }

    fn at(&self) -> SocketAddr {
        self.0.addresses()[0].address
    }

    fn stat(&self, name: &str) -> u64 {
        self.0.stats().value(name).unwrap_or(0)
    }

    /// Runs this on the worker, outside of any stream.
    fn on_worker(&self, run: impl FnOnce(&Rc<Worker>) + Send + 'static) {
        self.tell(Message::Run(Box::new(run)));
    }

    /// Has the worker serve this listener in the place of the one that it has.
    async fn listen(&self, listener: Listener) {
        let (ack, done) = oneshot::channel();
        self.tell(Message::Listen { key: self.at().to_string().into(), listener: Arc::new(listener), socket: None, ack: Some(ack) });
        let _ = within(done).await;
    }

    fn tell(&self, message: Message) {
        assert!(self.0.0.workers.load()[0].send(message).is_ok());
    }
}

fn listener() -> plenipo_testkit::config::Listener {
    plenipo_testkit::config::Listener::new("l").to("/wait", "silent", json!({})).direct("/", "hi")
}

/// An upstream that never answers.
async fn silent() -> Upstream {
    Upstream::http1(|_, _| std::future::pending()).await
}

#[tokio::test]
async fn a_worker_that_panics_loses_what_it_ran_and_serves_again() {
    let upstream = silent().await;
    let proxy = Running::start(&listener(), &[&Cluster::new("silent", &[upstream.address])]).await;
    let mut events = proxy.0.events();
    for (n, vital) in [(1, false), (2, true)] {
        let (mut idle, mut busy) = (Client::connect(proxy.at()).await, Client::connect(proxy.at()).await);
        assert_eq!(idle.get("/").await.text(), "hi");
        busy.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until("the request arrives", || upstream.requests() == n).await;
        // A task like the accept loop takes its worker with it.
        proxy.on_worker(move |worker| match vital {
            true => drop(worker.spawn_vital(async { panic!("this panic belongs to the test") })),
            false => panic!("this panic belongs to the test"),
        });
        assert!(idle.closed().await && busy.closed().await);
        let Some(Event::Warning(message)) = within(events.recv()).await else { panic!("no warning") };
        assert!(message.contains("this panic belongs to the test"), "{message}");
        assert_eq!(Client::connect(proxy.at()).await.get("/").await.text(), "hi");
        assert_eq!(proxy.0.panics(), n as u64);
        for gauge in ["http.l.downstream_rq_active", "cluster.silent.upstream_rq_active", "cluster.silent.upstream_cx_active"] {
            until(gauge, || proxy.stat(gauge) == 0).await;
        }
    }
    // The door and the drain work as before.
    let other = plenipo_testkit::config::Listener::new("l").direct("/", "changed").json();
    let change = Change { listeners: vec![Input::json(other.to_string())], ..Change::default() };
    within(proxy.0.apply(change)).await.unwrap();
    assert_eq!(Client::connect(proxy.at()).await.get("/").await.text(), "changed");
    within(proxy.0.drain(Duration::from_secs(5))).await.unwrap();
}

#[tokio::test]
async fn who_waits_to_be_accepted_while_a_worker_fails_is_served() {
    let proxy = Running::start(&listener(), &[&Cluster::new("silent", &[])]).await;
    let address = proxy.at();
    let (connected, waits) = std::sync::mpsc::channel();
    proxy.on_worker(move |_| {
        // The worker does not accept while this runs.
        connected.send(std::net::TcpStream::connect(address).unwrap()).unwrap();
        panic!("this panic belongs to the test");
    });
    let waiting = tokio::task::spawn_blocking(move || waits.recv().unwrap()).await.unwrap();
    waiting.set_nonblocking(true).unwrap();
    let mut waiting = Client(tokio::io::BufReader::new(TcpStream::from_std(waiting).unwrap()));
    assert_eq!(waiting.get("/").await.text(), "hi");
    assert_eq!(proxy.0.panics(), 1);
}

/// A filter that panics at `/request`, and at the answer of `/answer`.
struct Panics;

impl FilterFactory for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn create(&self, _: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        Some(Box::new(Panics))
    }
}

impl Filter for Panics {
    fn poll_request(&mut self, _: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        assert_ne!(stream.headers.path(), b"/request", "this panic belongs to the test");
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, _: &mut Context<'_>, stream: &mut Stream, _: &mut Response) -> Poll<Verdict> {
        assert_ne!(stream.headers.path(), b"/answer", "this panic belongs to the test");
        Poll::Ready(Verdict::Continue)
    }
}

/// The listener with the filter in its chain, as the worker gets it.
fn with_filter(proxy: &Proxy, config: &plenipo_testkit::config::Listener, factory: Arc<dyn FilterFactory>) -> Listener {
    let read = plenipo_api::read(Kind::Listener.message(), vec![Input::json(config.json().to_string())], &ReadOptions::default()).unwrap();
    let proto: plenipo_api::proto::envoy::config::listener::v3::Listener = prost::Message::decode(read.bytes).unwrap();
    let (stats, files) = (proxy.stats(), Files::for_validation());
    let context = ConfigContext {
        stats: &stats,
        files: &files,
        workers: 1,
        share_port: false,
        service_cluster: "",
        service_node: "",
        cluster_exists: &|_| true,
        route_source: &Arc::new,
    };
    let (at, mut issues) = (At::Root("l"), Vec::new());
    let address = config::listener::address(&proto, &context, &at, &mut issues).unwrap();
    let mut listener = config::listener::compile(&proto, address, proxy.addresses()[0].address, 0, &context, &at, &mut issues).unwrap();
    let Some(plenipo_api::proto::envoy::config::listener::v3::filter::ConfigType::TypedConfig(typed)) =
        &proto.filter_chains[0].filters[0].config_type
    else {
        panic!("no connection manager")
    };
    let mut manager = config::manager::compile(&typed.value, "listener.l", &context, &at, &mut issues).unwrap();
    manager.filters.push(Link { factory, disabled: false });
    let here = proxy.addresses()[0].address;
    let traits = Traits { local: here, remote: here, peer: here, server_name: "", tls: false, alpn: &[] };
    let entrance = listener.chains.find(&traits).unwrap().entrance.clone();
    let chain = FilterChain { entrance, tls: None, handshake_timeout: Duration::ZERO, manager: Arc::new(manager) };
    listener.chains = ChainMatcher::new(Vec::new(), Some(Arc::new(chain)));
    listener
}

#[tokio::test]
async fn a_panic_in_a_filter_ends_its_stream_alone() {
    let proxy = Running::start(&listener(), &[&Cluster::new("silent", &[])]).await;
    proxy.listen(with_filter(&proxy.0, &listener(), Arc::new(Panics))).await;

    // HTTP/1: the connection closes without an answer.
    let mut other = Client::connect(proxy.at()).await;
    assert_eq!(other.get("/").await.text(), "hi");
    for (n, path) in [(1, "/request"), (2, "/answer")] {
        let mut client = Client::connect(proxy.at()).await;
        assert_eq!(client.get("/").await.text(), "hi");
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(client.read().await.is_err());
        until("it is counted", || proxy.0.panics() == n).await;
    }
    assert_eq!(other.get("/").await.text(), "hi");

    // HTTP/2: the stream is reset, and its connection goes on.
    let stream = TcpStream::connect(proxy.at()).await.unwrap();
    let (mut sender, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str| ::http::Request::get(format!("http://a{path}")).body(()).unwrap();
    for (n, path) in [(3, "/request"), (4, "/answer")] {
        let (answer, _) = sender.send_request(request(path), true).unwrap();
        let error = within(answer).await.unwrap_err();
        assert!(error.is_reset(), "{error}");
        until("it is counted", || proxy.0.panics() == n).await;
        let (answer, _) = sender.send_request(request("/"), true).unwrap();
        assert_eq!(within(answer).await.unwrap().status().as_u16(), 200);
    }
    until("nothing is under way", || proxy.stat("http.l.downstream_rq_active") == 0).await;
}

/// A filter that sends `/old` through the routes again as `/new`, and `/again` for ever.
struct Recreates;

impl FilterFactory for Recreates {
    fn name(&self) -> &str {
        "recreates"
    }

    fn create(&self, _: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        Some(Box::new(Recreates))
    }
}

impl Filter for Recreates {
    fn poll_request(&mut self, _: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        Poll::Ready(match stream.headers.path() {
            b"/old" => {
                stream.headers.set(Known::Path, b"/new");
                Verdict::Recreate
            }
            b"/again" => Verdict::Recreate,
            _ => Verdict::Continue,
        })
    }
}

#[tokio::test]
async fn a_recreated_stream_is_routed_anew_and_not_for_ever() {
    let config = plenipo_testkit::config::Listener::new("l").direct("/new", "new").direct("/", "old");
    let proxy = Running::start(&config, &[]).await;
    proxy.listen(with_filter(&proxy.0, &config, Arc::new(Recreates))).await;
    let mut client = Client::connect(proxy.at()).await;
    assert_eq!(client.get("/").await.text(), "old");
    assert_eq!(client.get("/old").await.text(), "new");
    assert_eq!(client.get("/again").await.status, 500);
    assert_eq!(client.get("/old").await.text(), "new");
    until("nothing is under way", || proxy.stat("http.l.downstream_rq_active") == 0).await;
}
