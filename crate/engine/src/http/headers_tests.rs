//! Tests of Envoy's own headers; the expectations were observed on Envoy 1.40.

use super::*;
use crate::{
    cidr::Cidr,
    http::settings::{Detection, Scheme, Trust},
    stream_info::TlsInfo,
    tls::Certificate,
};

const UUID: &str = "01234567-89ab-4def-8123-456789abcdef";

fn list(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::new();
    for (name, value) in pairs {
        list.append(name.as_bytes(), value.as_bytes());
    }
    list
}

/// Headers but pseudo-headers, as `name=value`.
fn shown(headers: &HeaderList) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().filter(|(_, n, _)| n[0] != b':').map(|(_, n, v)| format!("{}={}", text(n), text(v))).collect()
}

fn connection(remote: &str) -> ConnectionInfo {
    ConnectionInfo::plain(1, remote.parse().unwrap(), "127.0.0.1:17822".parse().unwrap())
}

fn edit(settings: &ConnectionManager, remote: &str, given: &[(&str, &str)]) -> (Vec<String>, Origin) {
    let mut headers = list(given);
    let connection = connection(remote);
    let internal_only = [HeaderName::new("x-secret")];
    let context =
        RequestContext { settings, connection: &connection, local_address: "192.0.2.2".parse().unwrap(), internal_only: &internal_only };
    let mut bits = [0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef].into_iter();
    let origin = edit_request(&mut headers, context, || bits.next().unwrap()).unwrap();
    (shown(&headers), origin)
}

fn at_edge(trusted_hops: usize, append: bool) -> ConnectionManager {
    ConnectionManager { client_address: ClientAddress::Peer { trusted_hops, append }, ..ConnectionManager::default() }
}

fn behind(hops: usize) -> ConnectionManager {
    let detection = Detection::Forwarded { trust: Trust::Hops(hops), append: false };
    ConnectionManager { client_address: ClientAddress::Detected(Box::new([detection])), ..ConnectionManager::default() }
}

fn internal_loopback() -> ConnectionManager {
    let mut settings = at_edge(0, true);
    settings.internal_addresses.ranges.push(Cidr::new("127.0.0.0".parse().unwrap(), 8));
    settings
}

const CONTROLS: &[(&str, &str)] = &[
    ("x-envoy-retry-on", "a"),
    ("x-envoy-max-retries", "3"),
    ("x-envoy-upstream-rq-timeout-ms", "500"),
    ("x-envoy-expected-rq-timeout-ms", "3"),
    ("x-envoy-internal", "true"),
    ("x-envoy-force-trace", "1"),
    ("x-envoy-original-path", "/z"),
    ("x-envoy-original-url", "/z"),
    ("x-envoy-decorator-operation", "z"),
    ("x-envoy-downstream-service-cluster", "z"),
    ("x-envoy-downstream-service-node", "z"),
    ("x-envoy-attempt-count", "7"),
    ("x-envoy-external-address", "9.9.9.9"),
    ("x-envoy-ip-tags", "a"),
    ("x-envoy-hedge-on-per-try-timeout", "true"),
    ("x-envoy-retry-grpc-on", "a"),
    ("x-envoy-retriable-status-codes", "5"),
    ("x-envoy-retriable-header-names", "a"),
    ("x-envoy-upstream-alt-stat-name", "a"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "4"),
    ("x-envoy-upstream-rq-timeout-alt-response", "1"),
    ("x-envoy-is-timeout-retry", "1"),
    ("x-envoy-upstream-stream-duration-ms", "1"),
    ("x-envoy-original-host", "h"),
    ("x-envoy-foo", "1"),
    ("x-secret", "1"),
];

#[test]
fn without_remote_address_the_forwarded_headers_are_believed() {
    let settings = ConnectionManager::default();
    let (headers, origin) = edit(&settings, "127.0.0.1:5", &[]);
    assert_eq!(headers, ["x-forwarded-proto=http".to_string(), format!("x-request-id={UUID}")]);
    assert_eq!(origin, Origin { client: "127.0.0.1:5".parse().unwrap(), internal: false });
    for (forwarded, client) in [
        ("10.0.0.1", "10.0.0.1:0"),
        ("1.2.3.4, 10.0.0.1", "10.0.0.1:0"),
        ("bad", "127.0.0.1:5"),
        ("::1", "[::1]:0"),
        ("1.1.1.1,", "127.0.0.1:5"),
    ] {
        let (headers, origin) = edit(&settings, "127.0.0.1:5", &[("x-forwarded-for", forwarded), ("x-forwarded-proto", "https")]);
        assert_eq!(headers, [format!("x-forwarded-for={forwarded}"), "x-forwarded-proto=https".into(), format!("x-request-id={UUID}")]);
        assert_eq!(origin.client, client.parse().unwrap(), "{forwarded}");
    }
    let hops = behind(1);
    assert_eq!(edit(&hops, "127.0.0.1:5", &[("x-forwarded-for", "1.2.3.4, 10.0.0.1")]).1.client, "1.2.3.4:0".parse().unwrap());
    assert_eq!(edit(&hops, "127.0.0.1:5", &[("x-forwarded-for", "10.0.0.1")]).1.client, "127.0.0.1:5".parse().unwrap());
}

#[test]
fn with_remote_address_the_peer_is_appended() {
    let settings = at_edge(0, true);
    let id = format!("x-request-id={UUID}");
    let (headers, origin) = edit(&settings, "127.0.0.1:5", &[]);
    assert_eq!(headers, ["x-forwarded-for=192.0.2.2", "x-forwarded-proto=http", "x-envoy-external-address=127.0.0.1", &id]);
    assert!(!origin.internal);
    let (headers, _) =
        edit(&settings, "8.8.8.8:5", &[("x-forwarded-for", "1.2.3.4, 10.0.0.1"), ("x-forwarded-proto", "https"), ("x-request-id", "abc")]);
    assert_eq!(headers, ["x-forwarded-for=1.2.3.4, 10.0.0.1,8.8.8.8", "x-forwarded-proto=http", &id, "x-envoy-external-address=8.8.8.8"]);
    let (headers, _) = edit(&settings, "[::ffff:8.8.8.8]:5", &[]);
    assert_eq!(headers[0], "x-forwarded-for=8.8.8.8");
    let hops = at_edge(1, true);
    let (headers, origin) = edit(&hops, "127.0.0.1:5", &[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "ftp")]);
    assert_eq!(headers, ["x-forwarded-for=10.0.0.1,192.0.2.2", "x-forwarded-proto=ftp", "x-envoy-external-address=10.0.0.1", &id]);
    assert_eq!(origin.client, "10.0.0.1:0".parse().unwrap());
    assert_eq!(edit(&hops, "127.0.0.1:5", &[]).0[1], "x-forwarded-proto=http");
    let skip = at_edge(0, false);
    assert_eq!(edit(&skip, "8.8.8.8:5", &[]).0, ["x-forwarded-proto=http", "x-envoy-external-address=8.8.8.8", &id]);
}

#[test]
fn control_headers_of_strangers_are_removed() {
    let (headers, _) = edit(&ConnectionManager::default(), "127.0.0.1:5", CONTROLS);
    let kept: Vec<&str> = headers.iter().filter_map(|h| h.split('=').next()).collect();
    let expected = [
        "x-envoy-original-path",
        "x-envoy-decorator-operation",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-attempt-count",
        "x-envoy-external-address",
        "x-envoy-is-timeout-retry",
        "x-envoy-original-host",
        "x-envoy-foo",
        "x-forwarded-proto",
        "x-request-id",
    ];
    assert_eq!(kept, expected);
    let edge = at_edge(0, true);
    let (headers, _) = edit(&edge, "127.0.0.1:5", CONTROLS);
    let expected = [
        "x-envoy-attempt-count=7",
        "x-envoy-external-address=127.0.0.1",
        "x-envoy-is-timeout-retry=1",
        "x-envoy-foo=1",
        "x-forwarded-for=192.0.2.2",
        "x-forwarded-proto=http",
    ];
    assert_eq!(headers[..6], expected);
}

#[test]
fn control_headers_of_internal_clients_stay_until_the_router_takes_them() {
    let settings = internal_loopback();
    let (headers, origin) = edit(&settings, "127.0.0.1:5", CONTROLS);
    assert!(origin.internal);
    assert_eq!(headers.len(), CONTROLS.len() + 3, "all but x-envoy-internal, and four of ours: {headers:?}");
    let mut list = list(CONTROLS);
    let mut taken = Vec::new();
    take_controls(&mut list, false, |name, _| taken.push(name));
    assert_eq!(taken.len(), 6, "{taken:?}");
    assert!(has_retry_controls(&list));
    remove_retry_controls(&mut list);
    let expected = [
        "x-envoy-expected-rq-timeout-ms=3",
        "x-envoy-internal=true",
        "x-envoy-force-trace=1",
        "x-envoy-original-path=/z",
        "x-envoy-original-url=/z",
        "x-envoy-decorator-operation=z",
        "x-envoy-downstream-service-cluster=z",
        "x-envoy-downstream-service-node=z",
        "x-envoy-attempt-count=7",
        "x-envoy-external-address=9.9.9.9",
        "x-envoy-ip-tags=a",
        "x-envoy-is-timeout-retry=1",
        "x-envoy-original-host=h",
        "x-envoy-foo=1",
        "x-secret=1",
    ];
    assert_eq!(shown(&list), expected);
    // A client that forwards is not internal, whoever it is.
    assert!(!edit(&settings, "127.0.0.1:5", &[("x-forwarded-for", "127.0.0.1")]).1.internal);
    let mut trusting = internal_loopback();
    trusting.client_address = ClientAddress::default();
    assert!(edit(&trusting, "9.9.9.9:5", &[("x-forwarded-for", "127.0.0.1")]).1.internal);
    assert!(!edit(&trusting, "9.9.9.9:5", &[("x-forwarded-for", "1.1.1.1, 127.0.0.1")]).1.internal);
    assert!(!edit(&trusting, "127.0.0.1:5", &[]).1.internal);
    trusting.client_address = behind(1).client_address;
    let (_, origin) = edit(&trusting, "9.9.9.9:5", &[("x-forwarded-for", "127.0.0.1, 1.1.1.1")]);
    assert_eq!(origin, Origin { client: "127.0.0.1:0".parse().unwrap(), internal: false });
}

#[test]
fn everything_that_can_be_configured_is_written_in_envoys_order() {
    let settings = ConnectionManager {
        via: "viaenvoy".into(),
        user_agent: Some("svc".into()),
        node_name: "node".into(),
        append_x_forwarded_port: true,
        ..internal_loopback()
    };
    let (headers, _) = edit(&settings, "127.0.0.1:5", &[]);
    let expected = [
        "x-forwarded-for=192.0.2.2",
        "x-forwarded-proto=http",
        "x-forwarded-port=17822",
        "x-envoy-internal=true",
        "x-envoy-downstream-service-cluster=svc",
        "user-agent=svc",
        "x-envoy-downstream-service-node=node",
        "via=viaenvoy",
        &format!("x-request-id={UUID}"),
    ];
    assert_eq!(headers, expected);
    let given = [
        ("x-forwarded-proto", "ftp"),
        ("x-forwarded-port", "77"),
        ("x-request-id", "abc"),
        ("user-agent", "ua"),
        ("via", "1.0 z"),
        ("referer", "http://a/b"),
    ];
    let expected = [
        "x-forwarded-proto=http",
        "x-forwarded-port=17822",
        "x-request-id=abc",
        "user-agent=ua",
        "via=1.0 z, viaenvoy",
        "referer=http://a/b",
        "x-forwarded-for=192.0.2.2",
        "x-envoy-internal=true",
        "x-envoy-downstream-service-cluster=svc",
        "x-envoy-downstream-service-node=node",
    ];
    assert_eq!(edit(&settings, "127.0.0.1:5", &given).0, expected);
}

#[test]
fn hop_by_hop_headers_end_here_unless_they_upgrade() {
    let settings = ConnectionManager { generate_request_id: false, ..ConnectionManager::default() };
    let given = [
        ("connection", "keep-alive"),
        ("keep-alive", "3"),
        ("proxy-connection", "a"),
        ("te", "gzip, trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "foo"),
        ("trailer", "x"),
    ];
    assert_eq!(edit(&settings, "1.1.1.1:1", &given).0, ["te=trailers", "trailer=x", "x-forwarded-proto=http"]);
    assert_eq!(edit(&settings, "1.1.1.1:1", &[("te", "gzip")]).0, ["x-forwarded-proto=http"]);
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    assert_eq!(edit(&settings, "1.1.1.1:1", &upgrade).0, ["connection=Upgrade", "upgrade=websocket", "x-forwarded-proto=http"]);
}

#[test]
fn request_ids_are_made_kept_or_made_untraced() {
    let id = |settings: &ConnectionManager, given: &str| {
        let (headers, _) = edit(settings, "8.8.8.8:1", &[("x-request-id", given)]);
        headers.iter().find_map(|h| h.strip_prefix("x-request-id=").map(str::to_string)).unwrap()
    };
    let default = ConnectionManager::default();
    let edge = at_edge(0, true);
    let preserve = ConnectionManager { preserve_external_request_id: true, ..edge.clone() };
    let traced = "0f2a3b4c-1111-9222-8333-0123456789ab";
    assert_eq!([id(&default, "abc"), id(&edge, "abc"), id(&preserve, "abc")], ["abc", UUID, "abc"]);
    assert_eq!([id(&default, ""), id(&edge, ""), id(&preserve, "")], [UUID; 3]);
    assert_eq!([id(&default, traced), id(&preserve, traced)], [traced, "0f2a3b4c-1111-4222-8333-0123456789ab"]);
    let none = ConnectionManager { generate_request_id: false, ..ConnectionManager::default() };
    assert_eq!(edit(&none, "8.8.8.8:1", &[]).0, ["x-forwarded-proto=http"]);
    let all = String::from_utf8(uuid(u64::MAX, u64::MAX).to_vec()).unwrap();
    assert_eq!(all, "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

#[test]
fn referers_are_kept_where_envoy_keeps_them() {
    let settings = ConnectionManager { generate_request_id: false, ..ConnectionManager::default() };
    let kept = |value: &str| edit(&settings, "1.1.1.1:1", &[("referer", value)]).0.len() == 2;
    for value in "?q|http://a?x|http://A/|//a/b|*|foo/bar|http://a/b|http://a:80/b|foo.com|foo_bar|foo@bar|http://a/#|http://a/b?c=d&e=%20|h+t://a/|http://-a/|http://a..b/|\
        http://a/<>|http://a/\"x\"|http://a/{x}|http://a/\\|http://a/?x?y|http://1.2.3.4/|http://a:0/|http://a:080/|http://a/b#|foo|/rel|ftp://a/b|android-app://com.x/|http://[::1]/||foo/a:b|*x|http://a?x#"
        .split('|')
    {
        assert!(kept(value), "{value}");
    }
    for value in "foo:80|foo:80/x|a b|#f|/rel#f|/a b|http://a/b c|http://a_b/|1http://a/|http://a/é|foo?x#y|http://a%20/|data:text|http:/a|http:a|://a|http://|ht_tp://a/|http://[::1|\
        http://[zz]/|http://a:/|http://a:-1/|file:///x|foo:bar:80|https://a/b?c#d|http://a b/|about:blank|http://u@h/|http://a:99999/|http:///x|/rel#|a?b:c"
        .split('|')
    {
        assert!(!kept(value), "{value}");
    }
}

#[test]
fn the_scheme_follows_the_forwarded_protocol() {
    let scheme = |settings: &ConnectionManager, tls: bool, given: &[(&str, &str)]| {
        let mut headers = list(given);
        let mut connection = connection("1.1.1.1:1");
        connection.tls = tls.then(TlsInfo::default);
        let context = RequestContext { settings, connection: &connection, local_address: "192.0.2.2".parse().unwrap(), internal_only: &[] };
        edit_request(&mut headers, context, || 0).unwrap();
        let text = |known| String::from_utf8(headers.get(known).unwrap().to_vec()).unwrap();
        (text(Known::Scheme), text(Known::ForwardedProto))
    };
    let default = ConnectionManager::default();
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    assert_eq!(scheme(&default, false, &[]), pair("http", "http"));
    assert_eq!(scheme(&default, true, &[]), pair("https", "https"));
    assert_eq!(scheme(&default, false, &[("x-forwarded-proto", "https")]), pair("https", "https"));
    assert_eq!(scheme(&default, true, &[("x-forwarded-proto", "ftp")]), pair("https", "ftp"));
    assert_eq!(scheme(&default, false, &[(":scheme", "https")]), pair("https", "http"));
    let overwrite = ConnectionManager { scheme_header: SchemeHeader::Overwrite(Scheme::Https), ..ConnectionManager::default() };
    assert_eq!(scheme(&overwrite, false, &[("x-forwarded-proto", "http")]), pair("https", "https"));
}

#[test]
fn client_certificates_are_forwarded_only_where_configured() {
    let keeps = |forward_client_cert, tls: Option<bool>| {
        let settings = ConnectionManager { forward_client_cert, ..ConnectionManager::default() };
        let mut headers = list(&[("x-forwarded-client-cert", "a")]);
        let mut connection = connection("1.1.1.1:1");
        connection.tls = tls.map(|shown| {
            let certificate = Certificate::new(vec![0x30, 0].into());
            TlsInfo { peer: if shown { [certificate].into() } else { [].into() }, ..TlsInfo::default() }
        });
        let context = RequestContext {
            settings: &settings,
            connection: &connection,
            local_address: "192.0.2.2".parse().unwrap(),
            internal_only: &[],
        };
        edit_request(&mut headers, context, || 0).unwrap();
        headers.contains(Known::ForwardedClientCert)
    };
    use ForwardClientCert::*;
    assert_eq!([None, Some(false), Some(true)].map(|tls| keeps(Sanitize, tls)), [false, false, false]);
    assert_eq!([None, Some(false), Some(true)].map(|tls| keeps(ForwardOnly, tls)), [false, false, true]);
    assert_eq!([None, Some(false), Some(true)].map(|tls| keeps(AlwaysForwardOnly, tls)), [true, true, true]);
}

#[test]
fn a_rewritten_path_leaves_the_original_beside_it() {
    let mut headers = list(&[(":path", "/rw/x?y"), ("x-envoy-original-path", "z"), ("a", "b")]);
    rewrite_path(&mut headers, b"/new/x?y");
    assert_eq!(headers.path(), b"/new/x?y");
    assert_eq!(shown(&headers), ["x-envoy-original-path=/rw/x?y", "a=b"]);
}

fn respond(settings: &ConnectionManager, request: &[(&str, &str)], given: &[(&str, &str)]) -> Vec<String> {
    let mut headers = list(given);
    let request = list(request);
    edit_response(&mut headers, ResponseContext { settings, request: Some(&request), date: b"D" });
    shown(&headers)
}

#[test]
fn answers_get_date_and_server_and_lose_hop_by_hop_headers() {
    let settings = ConnectionManager::default();
    let given = [
        (":status", "200"),
        ("connection", "close, x-foo"),
        ("x-foo", "1"),
        ("keep-alive", "1"),
        ("proxy-connection", "a"),
        ("trailer", "x"),
        ("te", "a"),
        ("upgrade", "h2"),
        ("transfer-encoding", "chunked"),
        ("server", "apache"),
        ("date", "foo"),
        ("via", "1.1 x"),
    ];
    assert_eq!(respond(&settings, &[], &given), ["x-foo=1", "trailer=x", "te=a", "server=envoy", "date=foo", "via=1.1 x"]);
    assert_eq!(respond(&settings, &[], &[(":status", "200")]), ["date=D", "server=envoy"]);
    let own = |server_header| ConnectionManager { server_header, server_name: "srv".into(), ..ConnectionManager::default() };
    let absent = own(ServerHeader::AppendIfAbsent);
    assert_eq!(respond(&absent, &[], &[]), ["date=D", "server=srv"]);
    assert_eq!(respond(&absent, &[], &[("server", "up")]), ["server=up", "date=D"]);
    let pass = own(ServerHeader::PassThrough);
    assert_eq!(respond(&pass, &[], &[]), ["date=D"]);
    assert_eq!(respond(&pass, &[], &[("server", "up")]), ["server=up", "date=D"]);
}

#[test]
fn answers_show_request_id_and_via_where_configured() {
    let settings = ConnectionManager { always_set_request_id_in_response: true, via: "viaenvoy".into(), ..ConnectionManager::default() };
    let request = [("x-request-id", "abc")];
    assert_eq!(respond(&settings, &request, &[]), ["date=D", "server=envoy", "x-request-id=abc", "via=viaenvoy"]);
    let given = [("server", "a"), ("via", "1.1 b"), ("x-request-id", "up")];
    assert_eq!(respond(&settings, &request, &given), ["server=envoy", "via=1.1 b, viaenvoy", "x-request-id=abc", "date=D"]);
    let default = ConnectionManager::default();
    assert_eq!(respond(&default, &request, &[]), ["date=D", "server=envoy"]);
    assert_eq!(
        respond(&default, &[("x-request-id", "abc"), ("x-envoy-force-trace", "1")], &[]),
        ["date=D", "server=envoy", "x-request-id=abc"]
    );
}

#[test]
fn a_granted_upgrade_keeps_its_headers() {
    let settings = ConnectionManager::default();
    let request = [("connection", "upgrade"), ("upgrade", "websocket")];
    let granted = [(":status", "101"), ("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(respond(&settings, &request, &granted), ["connection=upgrade", "upgrade=websocket", "date=D", "server=envoy"]);
    assert_eq!(respond(&settings, &[], &granted), ["date=D", "server=envoy"]);
    assert_eq!(respond(&settings, &request, &[(":status", "200"), ("upgrade", "x")]), ["date=D", "server=envoy"]);
}

#[test]
fn dates_are_gregorian() {
    let mut cache = DateCache::default();
    let cases = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
        (1_795_510_293, "Tue, 24 Nov 2026 08:51:33 GMT"),
        (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    for (second, text) in cases {
        assert_eq!(std::str::from_utf8(cache.at(UNIX_EPOCH + Duration::from_secs(second))), Ok(text));
    }
    assert_eq!(Decimal::new(0).as_bytes(), b"0");
    assert_eq!(Decimal::new(u64::MAX).as_bytes(), u64::MAX.to_string().as_bytes());
}
