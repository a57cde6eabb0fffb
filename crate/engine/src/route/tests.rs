//! Tables over hosts, paths, headers, redirects and header mutations.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    error::Failure,
    http::header::{HeaderList, HeaderName, Known},
    metadata::{Metadata, Struct, Value},
    stream_info::{ConnectionInfo, Protocol, StreamInfo},
};

pub(crate) fn info() -> StreamInfo {
    let address = "127.0.0.1:1".parse().unwrap();
    let connection = ConnectionInfo::plain(1, address, address);
    let mut info = StreamInfo::new(Rc::new(connection), Protocol::Http11, 1);
    info.start = SystemTime::UNIX_EPOCH;
    info
}

fn request(host: &str, path: &str) -> HeaderList {
    let mut list = HeaderList::new();
    list.append_known(Known::Method, b"GET");
    list.append_known(Known::Scheme, b"http");
    list.append_known(Known::Authority, host.as_bytes());
    list.append_known(Known::Path, path.as_bytes());
    list.append_known(Known::ForwardedProto, b"http");
    list
}

fn forward(cluster: &str) -> Forward {
    Forward::to(cluster)
}

fn to(path: PathMatch, cluster: &str) -> Route {
    Route::new(Conditions::new(path), Action::Forward(forward(cluster)))
}

fn any() -> Conditions {
    Conditions::new(prefix("/"))
}

fn when(conditions: Conditions) -> Route {
    Route::new(conditions, Action::Forward(forward("c")))
}

fn find(table: &Arc<RouteTable>, headers: &HeaderList, random: u64) -> Option<RouteMatch> {
    table.find(Lookup { headers, info: &info(), random })
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::prefix(text, Case::Sensitive)
}

fn table_of(settings: TableSettings, hosts: Vec<(&[&str], VirtualHost)>) -> Arc<RouteTable> {
    let mut domains = Domains::default();
    let mut all = Vec::new();
    for (at, (names, host)) in hosts.into_iter().enumerate() {
        names.iter().for_each(|name| domains.add(name, at).unwrap());
        all.push(host);
    }
    Arc::new(RouteTable::new(settings, all, domains))
}

fn one(route: Route) -> Arc<RouteTable> {
    table_of(TableSettings::default(), vec![(&["*"], VirtualHost::new("all", vec![route]))])
}

fn header(name: &str, test: HeaderTest) -> HeaderMatch {
    HeaderMatch { name: HeaderName::new(name), test, invert: false, missing_is_empty: false }
}

#[test]
fn domains_in_envoys_order() {
    let host = |name: &str| VirtualHost::new(name, vec![to(prefix("/"), "c")]);
    let hosts: Vec<(&[&str], VirtualHost)> = vec![
        (&["*"], host("any")),
        (&["a.*", "a.b.*"], host("prefix")),
        (&["*.com"], host("short suffix")),
        (&["*.B.com", "*-x.b.com"], host("long suffix")),
        (&["a.b.com", "[::1]:80"], host("exact")),
    ];
    let table = table_of(TableSettings::default(), hosts);
    for (authority, want) in [
        ("a.b.com", "exact"),
        ("A.B.COM", "exact"),
        ("z.b.com", "long suffix"),
        ("q-x.b.com", "long suffix"),
        (".b.com", "short suffix"),
        ("b.com", "short suffix"),
        (".com", "any"),
        ("a.b.net", "prefix"),
        ("a.", "any"),
        ("a.b.com:80", "prefix"),
        ("[::1]:80", "exact"),
        ("other", "any"),
        ("", "any"),
    ] {
        let found = find(&table, &request(authority, "/"), 0).unwrap();
        assert_eq!(&*found.vhost().name, want, "{authority}");
    }
}

#[test]
fn a_lookup_costs_the_same_whatever_the_number_of_hosts() {
    let cost = |count: usize| {
        let domain = |n: usize| match n % 3 {
            0 => format!("svc-{n}.example.com"),
            1 => format!("*.svc-{n}.example.com"),
            _ => format!("svc-{n}.*"),
        };
        let names: Vec<String> = (0..count).map(domain).collect();
        let lists: Vec<[&str; 1]> = names.iter().map(|n| [n.as_str()]).collect();
        let hosts = lists.iter().zip(&names).map(|(list, name)| (&list[..], VirtualHost::new(name.as_str(), vec![to(prefix("/"), "c")])));
        let table = table_of(TableSettings::default(), hosts.collect());
        let list = request("a.svc-19.example.com", "/");
        let mut least = Duration::MAX;
        for _ in 0..200 {
            let start = std::time::Instant::now();
            assert_eq!(&*find(&table, &list, 0).unwrap().vhost().name, "*.svc-19.example.com");
            least = least.min(start.elapsed());
        }
        least
    };
    let (few, many) = (cost(30), cost(10_000));
    assert!(many < few * 4, "{few:?} for 30 hosts, {many:?} for 10,000");
}

#[test]
fn ports_are_ignored_where_asked() {
    let settings = TableSettings { ignore_port: true, ..TableSettings::default() };
    let host = VirtualHost::new("one", vec![to(prefix("/"), "c")]);
    let table = table_of(settings, vec![(&["a.com", "[::1]"], host)]);
    for (authority, found) in
        [("a.com:80", true), ("a.com", true), ("a.com:x", true), ("a.com:", true), ("[::1]:80", true), ("[::1]", true), ("b.com:80", false)]
    {
        assert_eq!(find(&table, &request(authority, "/"), 0).is_some(), found, "{authority}");
    }
}

#[test]
fn a_second_host_cannot_have_the_same_domain() {
    let mut domains = Domains::default();
    for name in ["*", "*.a", "a.*", "a"] {
        assert_eq!(domains.add(name, 3), Ok(()));
        assert_eq!(domains.add(&name.to_uppercase(), 4), Err(DomainError::Duplicate(3)));
    }
}

#[test]
fn no_host_no_path_or_no_scheme_is_no_route() {
    let table = table_of(TableSettings::default(), vec![(&["a"], VirtualHost::new("a", vec![to(prefix("/"), "c")]))]);
    assert!(find(&table, &request("a", "/"), 0).is_some());
    assert!(find(&table, &request("b", "/"), 0).is_none());
    for gone in [Known::Authority, Known::Path, Known::ForwardedProto] {
        let mut list = request("a", "/");
        list.remove(gone);
        assert!(find(&table, &list, 0).is_none(), "{gone:?}");
    }
}

#[test]
fn paths_match_without_query_and_fragment() {
    let exact = |p: &str| PathMatch::exact(p, Case::Sensitive);
    let below = |p: &str| PathMatch::separated(p, Case::Sensitive);
    let regex = |p: &str| PathMatch::Regex(Pattern::new(p).unwrap());
    for (matcher, path, want) in [
        (prefix("/a"), "/a", true),
        (prefix("/a"), "/ab?x", true),
        (prefix("/a"), "/A", false),
        (prefix("/a?x"), "/a?x", false),
        (PathMatch::prefix("/a", Case::Ignored), "/Ab", true),
        (exact("/a"), "/a?b=/c", true),
        (exact("/a"), "/a#b", true),
        (exact("/a"), "/a/", false),
        (PathMatch::exact("/a", Case::Ignored), "/A", true),
        (below("/a"), "/a", true),
        (below("/a"), "/a?x", true),
        (below("/a"), "/a/b", true),
        (below("/a"), "/ab", false),
        (PathMatch::separated("/a", Case::Ignored), "/A/b", true),
        (regex("/[a-z]+"), "/abc?1", true),
        (regex("/[a-z]+"), "/abc1", false),
        (regex("a|/b"), "/bc", false),
        (regex("/b|/bc"), "/bc", true),
    ] {
        let table = one(to(matcher.clone(), "c"));
        assert_eq!(find(&table, &request("h", path), 0).is_some(), want, "{matcher:?} {path}");
    }
}

#[test]
fn path_parameters_are_ignored_where_asked() {
    for (ignore, want) in [(true, true), (false, false)] {
        let settings = TableSettings { ignore_path_parameters: ignore, ..TableSettings::default() };
        let host = VirtualHost::new("h", vec![to(PathMatch::exact("/a", Case::Sensitive), "c")]);
        let table = table_of(settings, vec![(&["*"], host)]);
        assert_eq!(find(&table, &request("h", "/a;v=1?x"), 0).is_some(), want);
    }
}

#[test]
fn header_matchers() {
    let text = |m| HeaderTest::Text(m);
    let exact = text(StringMatch::exact("v", false));
    let range = HeaderTest::Range { start: -5, end: 10 };
    // (test, invert, missing is empty, values, want)
    let cases: Vec<(HeaderTest, bool, bool, &[&str], bool)> = vec![
        (exact.clone(), false, false, &["v"], true),
        (exact.clone(), true, false, &["v"], false),
        (exact.clone(), false, false, &[], false),
        (exact.clone(), true, false, &[], false),
        (exact.clone(), true, true, &[], true),
        (text(StringMatch::exact("", false)), false, true, &[], true),
        (text(StringMatch::exact("v,w", false)), false, false, &["v", "w"], false),
        (exact.clone(), false, false, &["v", "w"], true),
        (exact.clone(), false, false, &["w", "v"], true),
        (exact.clone(), true, false, &["w", "v"], false),
        (exact, true, false, &["w", "x"], true),
        (range.clone(), false, false, &["99", "1"], true),
        (text(StringMatch::exact("V", true)), false, false, &["v"], true),
        (text(StringMatch::prefix("ab", false)), false, false, &["abc"], true),
        (text(StringMatch::prefix("ab", false)), false, false, &["a"], false),
        (text(StringMatch::suffix("BC", true)), false, false, &["abc"], true),
        (text(StringMatch::suffix("bc", false)), false, false, &["c"], false),
        (text(StringMatch::contains("b", false)), false, false, &["abc"], true),
        (text(StringMatch::contains("x", false)), false, false, &["abc"], false),
        (text(StringMatch::Regex(Pattern::new("a.c").unwrap())), false, false, &["abc"], true),
        (text(StringMatch::Regex(Pattern::new("a.").unwrap())), false, false, &["abc"], false),
        (range.clone(), false, false, &["-5"], true),
        (range.clone(), false, false, &["10"], false),
        (range.clone(), false, false, &["9"], true),
        (range.clone(), false, false, &["x"], false),
        (range, true, false, &["x"], true),
        (HeaderTest::Present(true), false, false, &[""], true),
        (HeaderTest::Present(true), false, false, &[], false),
        (HeaderTest::Present(true), true, false, &[], true),
        (HeaderTest::Present(false), false, false, &[], true),
        (HeaderTest::Present(false), false, false, &["x"], false),
    ];
    for (test, invert, missing_is_empty, values, want) in cases {
        let mut list = request("h", "/");
        values.iter().for_each(|v| list.append(b"x-h", v.as_bytes()));
        let matcher = HeaderMatch { invert, missing_is_empty, ..header("X-H", test) };
        assert_eq!(matcher.matches(&list), want, "{matcher:?} {values:?}");
    }
}

#[test]
fn query_parameters_grpc_and_fractions() {
    let query = |test, absent| QueryMatch { name: b"q".as_slice().into(), test, absent };
    for (matcher, path, want) in [
        (query(None, false), "/?q", true),
        (query(None, false), "/?a=q", false),
        (query(None, false), "/", false),
        (query(None, true), "/?a", true),
        (query(Some(StringMatch::exact("1", false)), false), "/?a=2&q=1&q=2", true),
        (query(Some(StringMatch::exact("2", false)), false), "/?q=1&q=2", false),
        (query(Some(StringMatch::exact("", false)), false), "/?q", true),
        (query(Some(StringMatch::exact("", false)), false), "/", false),
    ] {
        let route = when(Conditions { query: vec![matcher], ..any() });
        assert_eq!(find(&one(route), &request("h", path), 0).is_some(), want, "{path}");
    }
    let table = one(when(Conditions { grpc: true, ..any() }));
    for (kind, want) in
        [("application/grpc", true), ("application/grpc+proto", true), ("application/grpc-web", false), ("text/plain", false)]
    {
        let mut list = request("h", "/");
        list.append_known(Known::ContentType, kind.as_bytes());
        assert_eq!(find(&table, &list, 0).is_some(), want, "{kind}");
    }
    let table = one(when(Conditions { fraction: Some(RuntimeFraction { numerator: 30, denominator: 100 }), ..any() }));
    let matched = (0..1000).filter(|n| find(&table, &request("h", "/"), *n).is_some()).count();
    assert_eq!(matched, 300);
}

#[test]
fn weighted_clusters_share_by_weight() {
    let cluster = |name: &str, weight| WeightedCluster {
        cluster: Choice::Name(name.into()),
        weight,
        host_rewrite: None,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        filters: FilterConfigs::new(),
    };
    let clusters = vec![cluster("a", 1), cluster("none", 0), cluster("b", 3)];
    let by = WeightBy::Header(HeaderName::new("x-pick"));
    let action = Action::Forward(Forward { destination: Destination::Weighted { clusters: clusters.into(), total: 4, by }, ..forward("") });
    let table = one(Route::new(Conditions::new(prefix("/")), action));
    let list = request("h", "/");
    let names: Vec<String> = (0..8).map(|n| find(&table, &list, n).unwrap().cluster(&list).to_owned()).collect();
    assert_eq!(names, ["a", "b", "b", "b", "a", "b", "b", "b"]);
    let mut list = list;
    list.append(b"x-pick", b"4");
    assert_eq!(find(&table, &list, 3).unwrap().cluster(&list), "a");
}

#[test]
fn cluster_header_names_the_cluster() {
    let action = Action::Forward(Forward { destination: Destination::Header(HeaderName::new("x-c")), ..forward("") });
    let table = one(Route::new(Conditions::new(prefix("/")), action));
    let mut list = request("h", "/");
    assert_eq!(find(&table, &list, 0).unwrap().cluster(&list), "");
    list.append(b"x-c", b"first");
    list.append(b"x-c", b"second");
    assert_eq!(find(&table, &list, 0).unwrap().cluster(&list), "first");
}

#[test]
fn tls_is_required_by_forwarded_proto() {
    for (require, proto, internal, redirected) in [
        (RequireTls::All, "http", true, true),
        (RequireTls::All, "https", false, false),
        (RequireTls::ExternalOnly, "http", true, false),
        (RequireTls::ExternalOnly, "http", false, true),
        (RequireTls::None, "http", false, false),
    ] {
        let mut host = VirtualHost::new("h", vec![to(prefix("/"), "c")]);
        host.require_tls = require;
        let table = table_of(TableSettings::default(), vec![(&["*"], host)]);
        let mut list = request("a.com:8080", "/p?q");
        list.set(Known::ForwardedProto, proto.as_bytes());
        if internal {
            list.append_known(Known::EnvoyInternal, b"true");
        }
        let found = find(&table, &list, 0).unwrap();
        let location = found.location(&list, &info()).map(|l| String::from_utf8(l).unwrap());
        assert_eq!(location.as_deref(), redirected.then_some("https://a.com:8080/p?q"));
        assert_eq!(found.response_status(), redirected.then_some(301));
    }
}

#[test]
fn redirects() {
    let plain = || Redirect { status: 301, scheme: None, host: None, port: None, path: PathRedirect::Keep, strip_query: false };
    let https = || Redirect { scheme: Some("https".into()), ..plain() };
    let whole = |p: &str| PathRedirect::Whole(p.as_bytes().into());
    let by_prefix = |p: &str| PathRedirect::Rewrite(PathRewrite::Prefix(p.as_bytes().into()));
    let by_regex = PathRedirect::Rewrite(PathRewrite::Regex(Rewrite::new(Pattern::new("/a/(b+)").unwrap(), r"/x/\1").unwrap()));
    for (redirect, host, path, want) in [
        (https(), "h.com:80", "/a?q", "https://h.com/a?q"),
        (https(), "h.com:81", "/a", "https://h.com:81/a"),
        (https(), "[::1]:80", "/a", "https://[::1]/a"),
        (https(), "[::1]", "/a", "https://[::1]/a"),
        (plain(), "h.com:80", "/a", "http://h.com:80/a"),
        (Redirect { port: Some(8443), ..https() }, "h.com:81", "/a", "https://h.com:8443/a"),
        (Redirect { host: Some("o.com".into()), ..plain() }, "h.com", "/a?q", "http://o.com/a?q"),
        (Redirect { path: whole("/new"), ..plain() }, "h", "/a/b?q=1", "http://h/new?q=1"),
        (Redirect { path: whole("/new?z"), ..plain() }, "h", "/a/b?q=1", "http://h/new?z"),
        (Redirect { path: whole("/new?z"), strip_query: true, ..plain() }, "h", "/a/b?q=1", "http://h/new?z"),
        (Redirect { path: whole("/new"), strip_query: true, ..plain() }, "h", "/a/b?q=1", "http://h/new"),
        (Redirect { path: by_prefix("/new"), ..plain() }, "h", "/a/b?q=1", "http://h/new/b?q=1"),
        (Redirect { path: by_regex, strip_query: true, ..plain() }, "h", "/a/bb?q=1", "http://h/x/bb"),
    ] {
        let table = one(Route::new(Conditions::new(prefix("/a")), Action::Redirect(redirect.clone())));
        let list = request(host, path);
        let location = find(&table, &list, 0).unwrap().location(&list, &info()).unwrap();
        assert_eq!(String::from_utf8(location).unwrap(), want, "{redirect:?}");
    }
}

#[test]
fn rewrites_keep_the_query_and_the_original() {
    let regex = |p, s: &str| PathRewrite::Regex(Rewrite::new(Pattern::new(p).unwrap(), s).unwrap());
    for (rewrite, path, want) in [
        (PathRewrite::Prefix(b"/z".as_slice().into()), "/api/v1?q=/api", "/z/v1?q=/api"),
        (regex("^/api/([^/]+)(/.*)$", r"\2/i/\1"), "/api/v1/a?q=1", "/a/i/v1?q=1"),
        (regex("a", "b"), "/api/a?a", "/bpi/b?a"),
        (regex("none", "b"), "/api", "/api"),
    ] {
        let action = Action::Forward(Forward { path_rewrite: rewrite, ..forward("c") });
        let mut list = request("h", path);
        let found = find(&one(Route::new(Conditions::new(prefix("/api")), action)), &list, 0).unwrap();
        found.finalize_request_headers(&mut list, &info(), true);
        assert_eq!(String::from_utf8_lossy(list.path()), want);
        assert_eq!(list.get(Known::EnvoyOriginalPath), Some(path.as_bytes()));
    }
    assert!(Rewrite::new(Pattern::new("(a)").unwrap(), r"\2").is_err());
    assert!(Rewrite::new(Pattern::new("(a)").unwrap(), r"\x").is_err());
}

#[test]
fn hosts_are_rewritten() {
    let regex = HostRewrite::PathRegex(Rewrite::new(Pattern::new("^/([^/]+)/.*$").unwrap(), r"\1.com").unwrap());
    for (rewrite, want) in [
        (HostRewrite::Literal(b"lit".as_slice().into()), "lit"),
        (HostRewrite::Header(HeaderName::new("x-host")), "from-header"),
        (HostRewrite::Header(HeaderName::new("x-none")), "old"),
        (regex, "p.com"),
        (HostRewrite::None, "old"),
        (HostRewrite::Auto, "old"),
    ] {
        let action = Action::Forward(Forward { host_rewrite: rewrite, append_x_forwarded_host: true, ..forward("c") });
        let mut list = request("old", "/p/q?r");
        list.append(b"x-host", b"from-header");
        let found = find(&one(Route::new(Conditions::new(prefix("/")), action)), &list, 0).unwrap();
        found.finalize_request_headers(&mut list, &info(), true);
        assert_eq!(String::from_utf8_lossy(list.authority()), want);
        let kept = (want != "old").then_some(&b"old"[..]);
        assert_eq!((list.get(Known::ForwardedHost), list.get(Known::EnvoyOriginalHost)), (kept, kept));
    }
}

fn set(name: &str, value: &str, action: AppendAction) -> HeaderAddition {
    HeaderAddition { name: HeaderName::new(name), value: HeaderValue::Literal(value.as_bytes().into()), action, keep_empty: false }
}

fn dump(list: &HeaderList, name: &str) -> String {
    let name = HeaderName::new(name);
    list.get_all(&name).map(|v| String::from_utf8_lossy(v).into_owned()).collect::<Vec<_>>().join("|")
}

#[test]
fn mutations_by_append_action() {
    use AppendAction::*;
    for (action, absent, there) in [
        (AppendIfExistsOrAdd, "new", "a|b|new"),
        (AddIfAbsent, "new", "a|b"),
        (OverwriteIfExistsOrAdd, "new", "new"),
        (OverwriteIfExists, "", "new"),
    ] {
        let mutations = HeaderMutations { add: vec![set("x-h", "new", action)], remove: vec![HeaderName::new("x-gone")] };
        let mut list = request("h", "/");
        list.append(b"x-gone", b"1");
        mutations.apply_to_request(&mut list, &info());
        assert_eq!((dump(&list, "x-h").as_str(), dump(&list, "x-gone").as_str()), (absent, ""), "{action:?}");
        let mut list = request("h", "/");
        list.append(b"x-h", b"a");
        list.append(b"x-h", b"b");
        mutations.apply_to_request(&mut list, &info());
        assert_eq!(dump(&list, "x-h"), there, "{action:?}");
    }
    let mut list = request("h", "/");
    let empty = set("x-e", "", AppendIfExistsOrAdd);
    let kept = HeaderAddition { keep_empty: true, ..set("x-k", "", AppendIfExistsOrAdd) };
    HeaderMutations { add: vec![empty, kept], remove: Vec::new() }.apply_to_request(&mut list, &info());
    assert!(list.get_name(&HeaderName::new("x-e")).is_none() && list.get_name(&HeaderName::new("x-k")).is_some());
}

#[test]
fn mutations_with_operators_read_the_headers_as_they_came() {
    let format = |name: &str, value: &str, action| HeaderAddition {
        value: HeaderValue::Format(crate::format::Program::compile(value, true).unwrap()),
        ..set(name, "", action)
    };
    let add = vec![
        format("x-a", "%REQ(x-b)%", AppendAction::OverwriteIfExistsOrAdd),
        format("x-b", "<%REQ(x-a)%>", AppendAction::OverwriteIfExistsOrAdd),
        format("x-none", "%REQ(x-gone)%", AppendAction::AppendIfExistsOrAdd),
    ];
    let mutations = HeaderMutations { add, remove: Vec::new() };
    let mut list = request("h", "/");
    list.append(b"x-a", b"1");
    list.append(b"x-b", b"2");
    mutations.apply_to_request(&mut list, &info());
    assert_eq!((dump(&list, "x-a").as_str(), dump(&list, "x-b").as_str()), ("2", "<1>"));
    assert!(list.get_name(&HeaderName::new("x-none")).is_none());
    let mut answer = HeaderList::new();
    mutations.apply_to_response(&mut answer, Some(&list), &info());
    assert_eq!(dump(&answer, "x-a"), "<1>");
}

#[test]
fn mutations_of_all_levels_in_envoys_order() {
    for (most_specific_wins, want) in [(false, "table"), (true, "route")] {
        let level = |value| HeaderMutations { add: vec![set("x-l", value, AppendAction::OverwriteIfExistsOrAdd)], remove: Vec::new() };
        let mut route = to(prefix("/"), "c");
        route.request_headers = level("route");
        route.response_headers = level("route");
        let mut host = VirtualHost::new("h", vec![route]);
        host.request_headers = level("host");
        host.response_headers = level("host");
        let settings = TableSettings {
            request_headers: level("table"),
            response_headers: level("table"),
            most_specific_wins,
            ..TableSettings::default()
        };
        let table = table_of(settings, vec![(&["*"], host)]);
        let mut list = request("h", "/");
        let found = find(&table, &list, 0).unwrap();
        found.finalize_request_headers(&mut list, &info(), true);
        assert_eq!(dump(&list, "x-l"), want);
        let mut answer = HeaderList::new();
        found.finalize_response_headers(&mut answer, None, &info());
        assert_eq!(dump(&answer, "x-l"), want);
    }
}

#[test]
fn filter_configs_most_specific_first() {
    let config = |n: u32, disabled| PerFilter { config: Some(Arc::new(n)), disabled };
    let with = |n, disabled| FilterConfigs::from([("f".into(), config(n, disabled))]);
    let mut route = to(prefix("/"), "c");
    route.filters = with(1, false);
    let mut host = VirtualHost::new("h", vec![route]);
    host.filters = with(2, true);
    let settings = TableSettings { filters: with(3, false), ..TableSettings::default() };
    let table = table_of(settings, vec![(&["*"], host)]);
    let found = find(&table, &request("h", "/"), 0).unwrap();
    let numbers: Vec<u32> = found.filter_configs("f").iter().filter_map(|c| c.downcast_ref().copied()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    // The most specific level that names the filter decides.
    assert_eq!(found.filter_disabled("f"), Some(false));
    assert_eq!(found.filter_disabled("g"), None);
}

#[test]
fn retry_conditions() {
    let policy = |text: &str| {
        let (retry_on, unknown) = RetryOn::parse(text);
        assert!(unknown.is_empty(), "{unknown:?}");
        RetryPolicy {
            retry_on,
            status_codes: vec![418],
            headers: vec![header("x-again", HeaderTest::Present(true))],
            ..RetryPolicy::default()
        }
    };
    for (on, status, extra, want) in [
        ("5xx", 503, "", true),
        ("5xx", 499, "", false),
        ("gateway-error", 503, "", true),
        ("gateway-error", 500, "", false),
        ("retriable-4xx", 409, "", true),
        ("retriable-4xx", 404, "", false),
        ("retriable-status-codes", 418, "", true),
        ("reset,connect-failure", 503, "", false),
        ("retriable-headers", 200, "x-again", true),
        ("5xx", 200, "x-again", false),
        ("5xx", 503, "x-envoy-overloaded", true),
        ("5xx", 503, "x-envoy-ratelimited", false),
        ("5xx, envoy-ratelimited", 429, "x-envoy-ratelimited", true),
    ] {
        let mut answer = HeaderList::new();
        answer.set_status(status);
        if !extra.is_empty() {
            answer.append(extra.as_bytes(), b"1");
        }
        assert_eq!(policy(on).answer(&answer) == Retriable::Yes, want, "{on} {status} {extra}");
    }
    for (on, code, want) in [("cancelled", "1", true), ("unavailable", "14", true), ("internal", "14", false)] {
        let mut answer = HeaderList::new();
        answer.set_status(200);
        answer.append_known(Known::GrpcStatus, code.as_bytes());
        assert_eq!(policy(on).answer(&answer) == Retriable::Yes, want, "{on} {code}");
    }
    for (on, failure, started, want) in [
        ("connect-failure", Failure::Connect(String::new()), false, true),
        ("connect-failure", Failure::ConnectTimeout, false, true),
        ("connect-failure", Failure::RemoteReset, true, false),
        ("refused-stream", Failure::RefusedStream, true, true),
        ("refused-stream", Failure::RemoteReset, true, false),
        ("reset", Failure::ConnectionTermination, true, true),
        ("reset", Failure::Overflow, false, false),
        ("5xx", Failure::PerTryTimeout, true, true),
        ("5xx", Failure::Connect(String::new()), false, true),
        ("reset-before-request", Failure::ConnectionTermination, false, true),
        ("reset-before-request", Failure::ConnectionTermination, true, false),
        ("5xx", Failure::Timeout, true, false),
    ] {
        assert_eq!(policy(on).failure(&failure, started) == Retriable::Yes, want, "{on} {failure:?}");
    }
    assert_eq!(RetryOn::parse("5xx, nonsense,,").1, ["nonsense"]);
}

#[test]
fn an_answer_of_425_is_retried_at_once() {
    let policy = RetryPolicy { retry_on: RetryOn::RETRIABLE_STATUS_CODES, status_codes: vec![425, 418], ..RetryPolicy::default() };
    let answer = |status| {
        let mut answer = HeaderList::new();
        answer.set_status(status);
        policy.answer(&answer)
    };
    assert_eq!([425, 418, 503].map(answer), [Retriable::AtOnce, Retriable::Yes, Retriable::No]);
}

#[test]
fn an_answer_may_tell_when_to_come_again() {
    let seconds = Duration::from_secs;
    let headers = vec![(HeaderName::new("x-reset"), ResetFormat::UnixTimestamp), (HeaderName::new("Retry-After"), ResetFormat::Seconds)];
    let policy = RetryPolicy { rate_limited: Some(RateLimited { headers, max: seconds(60) }), ..RetryPolicy::default() };
    let pause = |headers: &[(&str, &str)], random| {
        let mut answer = HeaderList::new();
        answer.set_status(503);
        headers.iter().for_each(|(name, value)| answer.append(name.as_bytes(), value.as_bytes()));
        policy.pause(0, Some(&answer), seconds(1_000_000), random)
    };
    // What is told is the least; up to half of it comes on top.
    assert_eq!(pause(&[("retry-after", "10")], 0), Pause::RateLimited(seconds(10)));
    assert_eq!(pause(&[("retry-after", "10")], 4_999), Pause::RateLimited(Duration::from_millis(14_999)));
    assert_eq!(pause(&[("retry-after", "10"), ("x-reset", "1000030")], 0), Pause::RateLimited(seconds(30)));
    assert_eq!(pause(&[("retry-after", "10"), ("x-reset", "1000061")], 0), Pause::RateLimited(seconds(10)), "over the bound");
    assert_eq!(pause(&[("x-reset", "999999")], 0), Pause::Exponential(Duration::ZERO), "in the past");
    for told in ["0", "soon", "-1", "", "99999999999999999999"] {
        assert_eq!(pause(&[("retry-after", told)], 7), Pause::Exponential(Duration::from_micros(7)), "{told}");
    }
    assert_eq!(policy.pause(0, None, seconds(0), 7), Pause::Exponential(Duration::from_micros(7)), "a reset tells nothing");
}

#[test]
fn hosts_are_passed_over_by_their_labels() {
    let labels = |list: &[(&str, Value)]| Struct(list.iter().map(|(key, value)| ((*key).into(), value.clone())).collect());
    let host = |list: &[(&str, Value)]| Metadata([("envoy.lb".into(), labels(list))].into());
    let text = |text: &str| Value::String(text.into());
    let canaries = PassOver { canaries: true, ..PassOver::default() };
    assert!(canaries.labelled(Some(&host(&[("canary", Value::Bool(true))]))));
    assert!(!canaries.labelled(Some(&host(&[("canary", text("true"))]))));
    let zone = PassOver { labels: vec![labels(&[("zone", text("x")), ("rack", text("1"))])], ..PassOver::default() };
    assert!(zone.labelled(Some(&host(&[("zone", text("x")), ("rack", Value::List(vec![text("2"), text("1")]))]))));
    assert!(!zone.labelled(Some(&host(&[("zone", text("x")), ("canary", Value::Bool(true))]))));
    assert!(!zone.labelled(None));
    let nothing = PassOver { labels: vec![Struct::default()], ..PassOver::default() };
    assert!(!nothing.labelled(Some(&host(&[]))), "no label is no condition");
}

#[test]
fn back_off_doubles_up_to_its_bound() {
    let back_off = BackOff::default();
    for (retry, bound) in [(0, 25_000), (1, 50_000), (3, 200_000), (4, 250_000), (200, 250_000)] {
        assert_eq!(back_off.pause(retry, u64::MAX), Duration::from_micros(u64::MAX % bound), "{retry}");
    }
}
