//! Times the choice of a route, in nanoseconds a lookup, as JSON: `cargo run --release -p plenipo-engine --example lookups`.
//!
//! Each table has 10 to 10,000 routes in one virtual host, or as many virtual hosts; a thousand requests are looked up in turn, spread over the whole
//! table. The median of many passes counts.
use std::{collections::BTreeMap, hint::black_box, rc::Rc, sync::Arc, time::Instant};

use plenipo_engine::{
    http::header::{HeaderList, Known},
    route::{Action, Case, Conditions, DirectResponse, Domains, Lookup, PathMatch, Route, RouteTable, TableSettings, VirtualHost},
    stream_info::{ConnectionInfo, Protocol, StreamInfo},
};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const REQUESTS: usize = 1_000;
const PASSES: usize = 200;

fn main() {
    let path = |n: usize| format!("/api/v{}/resource-{n}", n % 7);
    let mut results = BTreeMap::new();
    for size in SIZES {
        let mut put = |kind: &str, nanos: u64| {
            results.entry(kind.to_owned()).or_insert_with(BTreeMap::new).insert(size, nanos);
        };
        put("exact", time(&routes(size, |n| PathMatch::exact(&path(n), Case::Sensitive)), |n| ("a.test".into(), path(n % size))));
        put(
            "prefix",
            time(&routes(size, |n| PathMatch::prefix(&format!("{}/", path(n)), Case::Sensitive)), |n| {
                ("a.test".into(), format!("{}/x", path(n % size)))
            }),
        );
        put(
            "path_separated_prefix",
            time(&routes(size, |n| PathMatch::separated(&path(n), Case::Ignored)), |n| ("a.test".into(), format!("{}/x", path(n % size)))),
        );
        put("no route", time(&routes(size, |n| PathMatch::exact(&path(n), Case::Sensitive)), |n| ("a.test".into(), format!("/none-{n}"))));
        put("host", time(&hosts(size, |n| format!("svc-{n}.example.com")), |n| (format!("svc-{}.example.com", n % size), "/".into())));
        put(
            "host, *.suffix",
            time(&hosts(size, |n| format!("*.svc-{n}.example.com")), |n| (format!("a.svc-{}.example.com", n % size), "/".into())),
        );
        put("host, prefix.*", time(&hosts(size, |n| format!("svc-{n}.*")), |n| (format!("svc-{}.example.com", n % size), "/".into())));
        // As many lengths as a host name can have: the hardest that a list of domains can be.
        let long = |n: usize| format!("{}.{n}.com", "a".repeat(1 + n % 200));
        put(
            "host, *.suffix of 200 lengths",
            time(&hosts(size, |n| format!("*.{}", long(n))), |n| (format!("x.{}", long(n % size)), "/".into())),
        );
    }
    println!("{}", serde_json::to_string(&results).expect("names and numbers"));
}

fn route(path: PathMatch) -> Route {
    Route::new(Conditions::new(path), Action::DirectResponse(DirectResponse { status: 200, body: bytes::Bytes::new(), format: None }))
}

/// One virtual host for everything, with so many routes.
fn routes(size: usize, path: impl Fn(usize) -> PathMatch) -> Arc<RouteTable> {
    let mut domains = Domains::default();
    domains.add("*", 0).expect("the only one");
    let host = VirtualHost::new("all", (0..size).map(|n| route(path(n))).collect());
    Arc::new(RouteTable::new(TableSettings::default(), vec![host], domains))
}

/// So many virtual hosts with a domain and a route each.
fn hosts(size: usize, domain: impl Fn(usize) -> String) -> Arc<RouteTable> {
    let mut domains = Domains::default();
    let all = (0..size).map(|n| {
        domains.add(&domain(n), n).expect("no domain comes twice");
        VirtualHost::new(domain(n), vec![route(PathMatch::prefix("/", Case::Sensitive))])
    });
    let all = all.collect();
    Arc::new(RouteTable::new(TableSettings::default(), all, domains))
}

/// Nanoseconds of one lookup among requests for these hosts and paths.
fn time(table: &Arc<RouteTable>, request: impl Fn(usize) -> (String, String)) -> u64 {
    let requests: Vec<HeaderList> = (0..REQUESTS)
        .map(|n| {
            // A stride that shares no factor with the sizes: neighbours in the table are not asked for one after the other.
            let (host, path) = request(n * 7_919);
            let mut list = HeaderList::new();
            list.append_known(Known::Method, b"GET");
            list.append_known(Known::Scheme, b"http");
            list.append_known(Known::Authority, host.as_bytes());
            list.append_known(Known::Path, path.as_bytes());
            list.append_known(Known::ForwardedProto, b"http");
            list
        })
        .collect();
    let address = "127.0.0.1:1".parse().expect("an address");
    let connection = ConnectionInfo::plain(1, address, address);
    let info = StreamInfo::new(Rc::new(connection), Protocol::Http11, 1);
    for headers in &requests {
        let found = table.find(Lookup { headers, info: &info, random: 0 }).is_some();
        assert_ne!(found, headers.path().starts_with(b"/none"), "{headers:?}");
    }
    let mut passes: Vec<u64> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            for headers in &requests {
                black_box(table.find(Lookup { headers: black_box(headers), info: &info, random: 0 }));
            }
            start.elapsed().as_nanos() as u64 / REQUESTS as u64
        })
        .collect();
    passes.sort_unstable();
    passes[PASSES / 2]
}
