//! The index against trying each route in turn.

use std::time::{Duration, Instant};

use super::{
    super::{
        Action, Conditions, DirectResponse, HeaderMatch, HeaderTest, Lookup, Pattern, Route, RuntimeFraction, StringMatch,
        matcher::without_query, tests::info,
    },
    *,
};
use crate::http::header::{HeaderList, HeaderName, Known};

fn route(conditions: Conditions) -> Route {
    Route::new(conditions, Action::DirectResponse(DirectResponse { status: 200, body: bytes::Bytes::new(), format: None }))
}

fn request(path: &str) -> HeaderList {
    let mut list = HeaderList::new();
    list.append_known(Known::Method, b"GET");
    list.append_known(Known::Path, path.as_bytes());
    list
}

/// The first route that the index gives and that matches, and how many were tried.
fn find(index: &PathIndex, routes: &[Route], headers: &HeaderList, random: u64) -> (Option<usize>, usize) {
    let info = info();
    let lookup = Lookup { headers, info: &info, random };
    let path = headers.get(Known::Path).map(without_query);
    let mut tried = 0;
    let found = index.find(path, |number| {
        tried += 1;
        routes[number].conditions.hold(path, lookup)
    });
    (found, tried)
}

fn index(routes: &[Route]) -> PathIndex {
    PathIndex::new(routes.iter().map(|r| &r.conditions.path)).unwrap()
}

/// Numbers from 0 up to `below`, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// A short text of few letters, so that texts are often beginnings of each other.
    fn text(&mut self) -> String {
        (0..self.below(7)).map(|_| ["/", "a", "A", "b", "%C3", "é"][self.below(6) as usize]).collect()
    }
}

#[test]
fn random_tables_keep_first_match_order() {
    let mut numbers = Numbers(1);
    for table in 0..60 {
        let routes: Vec<Route> = (0..20 + numbers.below(200))
            .map(|_| {
                let text = format!("/{}", numbers.text());
                let case = Case::ignored(numbers.below(3) == 0);
                let mut conditions = Conditions::new(match numbers.below(8) {
                    0..3 => PathMatch::exact(&text, case),
                    3..5 => PathMatch::prefix(&text, case),
                    5 => PathMatch::separated(&text, case),
                    6 => PathMatch::Regex(Pattern::new(&format!("{text}[ab]+")).unwrap()),
                    _ => PathMatch::Connect,
                });
                if numbers.below(2) == 0 {
                    let test = HeaderTest::Text(StringMatch::exact(["0", "1"][numbers.below(2) as usize], false));
                    conditions.headers.push(HeaderMatch {
                        name: HeaderName::new("x-h"),
                        test,
                        invert: numbers.below(4) == 0,
                        missing_is_empty: false,
                    });
                }
                if numbers.below(4) == 0 {
                    conditions.fraction = Some(RuntimeFraction { numerator: 50, denominator: 100 });
                }
                route(conditions)
            })
            .collect();
        let index = index(&routes);
        let mut matched = 0;
        for _ in 0..300 {
            let mut headers = request(&format!("/{}{}", numbers.text(), ["", "?q=/a", "#/b"][numbers.below(3) as usize]));
            match numbers.below(20) {
                0 => headers.set(Known::Method, b"CONNECT"),
                1 => {
                    headers.set(Known::Method, b"CONNECT");
                    headers.remove(Known::Path);
                }
                2..12 => headers.append(b"x-h", if numbers.below(2) == 0 { b"0" } else { b"1" }),
                _ => {}
            }
            let (random, info) = (numbers.below(100), info());
            let path = headers.get(Known::Path).map(without_query);
            let lookup = Lookup { headers: &headers, info: &info, random };
            let want = routes.iter().position(|r| r.conditions.hold(path, lookup));
            assert_eq!(find(&index, &routes, &headers, random).0, want, "table {table}, {headers:?}");
            matched += usize::from(want.is_some());
        }
        assert!(matched > 30, "table {table} matches hardly anything: {matched}");
    }
}

/// `count` routes of each kind in turn, no two for the same path.
fn many(count: usize) -> Vec<Route> {
    let path = |n: usize| match n % 3 {
        0 => PathMatch::exact(&format!("/api/v{}/resource-{n}", n % 7), Case::Sensitive),
        1 => PathMatch::prefix(&format!("/api/v{}/resource-{n}/", n % 7), Case::Sensitive),
        _ => PathMatch::separated(&format!("/api/v{}/resource-{n}", n % 7), Case::Ignored),
    };
    (0..count).map(|n| route(Conditions::new(path(n)))).collect()
}

#[test]
fn a_lookup_among_ten_thousand_tries_one_route() {
    let routes = many(10_000);
    let index = index(&routes);
    for n in [0, 1, 2, 5_000, 5_001, 5_002, 9_997, 9_998, 9_999] {
        let slash = if n % 3 == 1 { "/x" } else { "" };
        let headers = request(&format!("/api/v{}/resource-{n}{slash}?q", n % 7));
        assert_eq!(find(&index, &routes, &headers, 0), (Some(n), 1));
    }
    assert_eq!(find(&index, &routes, &request("/api/v1/none"), 0), (None, 0));
}

#[test]
fn a_lookup_among_ten_thousand_costs_what_one_among_twenty_does() {
    let cost = |count: usize| {
        let routes = many(count);
        let index = index(&routes);
        let headers: Vec<HeaderList> = (0..20).map(|n| request(&format!("/api/v{}/resource-{n}/x", n % 7))).collect();
        let mut least = Duration::MAX;
        for _ in 0..30 {
            let start = Instant::now();
            for headers in &headers {
                let path = headers.get(Known::Path);
                std::hint::black_box(index.find(path, |number| std::hint::black_box(number) == usize::MAX));
            }
            least = least.min(start.elapsed());
        }
        least
    };
    let (few, many) = (cost(20), cost(10_000));
    assert!(many < few * 4, "{few:?} for 20 routes, {many:?} for 10,000");
}

#[test]
fn many_beginnings_of_one_path_are_tried_in_order_and_at_once() {
    let routes: Vec<Route> =
        (0..8_000).map(|n| route(Conditions::new(PathMatch::prefix(&"/a".repeat(8_000 - n), Case::Sensitive)))).collect();
    let index = index(&routes);
    let mut tried = Vec::new();
    let path = "/a".repeat(8_000);
    assert_eq!(
        index.find(Some(path.as_bytes()), |number| {
            tried.push(number);
            false
        }),
        None
    );
    assert!(tried.iter().copied().eq(0..8_000));
}
