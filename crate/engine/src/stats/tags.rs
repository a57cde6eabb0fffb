//! Tags in stat names, taken out as Envoy's default extractors do it.

use std::ops::Range;

use smallvec::SmallVec;

/// What an extractor found: the bytes to leave out and those of the value.
struct Tag {
    tag: &'static str,
    remove: (usize, usize),
    value: (usize, usize),
}

/// Takes the tags out of `name`: `bare` becomes what is left, `tags` the label names and where their values stand in `name`,
/// in Envoy's order. All extractors look at the whole name.
pub(super) fn extract(name: &str, bare: &mut String, tags: &mut Vec<(&'static str, Range<usize>)>) {
    let mut found: Found = SmallVec::new();
    let mut segments = [(0, 0); 8];
    let mut count = 0;
    let mut start = 0;
    for end in name.bytes().enumerate().filter(|(_, b)| *b == b'.').map(|(i, _)| i).chain([name.len()]) {
        if count < segments.len() {
            segments[count] = (start, end);
            count += 1;
        }
        start = end + 1;
    }
    let segments = &segments[..count];
    let text = |i: usize| segments.get(i).map_or("", |s| &name[s.0..s.1]);
    // A segment with the dot behind it, which must be there.
    let dotted = |tag, i: usize| {
        let (from, to) = *segments.get(i)?;
        (to < name.len() && to > from).then_some(Tag { tag, remove: (from, to + 1), value: (from, to) })
    };
    response_code(name, &mut found);
    match text(0) {
        "listener" if count > 1 => {
            last_behind(name, "envoy_ssl_cipher", &mut found);
            certificate(name, &mut found);
            let address = listener_address(name);
            if let Some((_, to)) = address {
                worker_id(name, to + 1, &mut found);
            }
            if let Some(at) = name[9..].find(".http.").map(|at| at + 9 + 6)
                && let Some(len) = name[at..].find('.')
                && len > 0
            {
                found.push(Tag { tag: "envoy_http_conn_manager_prefix", remove: (at, at + len + 1), value: (at, at + len) });
            }
            found.extend(address.map(|(from, to)| Tag { tag: "envoy_listener_address", remove: (from, to + 1), value: (from, to) }));
        }
        "cluster" => {
            // Without a prefix in Envoy too.
            last_behind(name, "cipher_suite", &mut found);
            found.extend(dotted("envoy_cluster_name", 1));
        }
        "http" => {
            found.extend(dotted("envoy_http_conn_manager_prefix", 1));
            if text(2) == "rds" && count > 4 {
                // A route configuration's name may have dots: everything up to the last one.
                let from = segments[3].0;
                if let Some(to) = name.rfind('.').filter(|to| *to > from) {
                    found.push(Tag { tag: "envoy_rds_route_config", remove: (from, to + 1), value: (from, to) });
                }
            }
        }
        "vhost" => {
            match text(2) {
                "vcluster" => found.extend(dotted("envoy_virtual_cluster", 3)),
                "route" => found.extend(dotted("envoy_route", 3)),
                _ => {}
            }
            found.extend(dotted("envoy_virtual_host", 1));
        }
        "tcp" if count == 3 => found.extend(dotted("envoy_tcp_prefix", 1)),
        "udp" if count == 3 => found.extend(dotted("envoy_udp_prefix", 1)),
        "server" | "listener_manager" | "thread_local_cluster_manager" => worker_id(name, segments[0].1 + 1, &mut found),
        _ => {}
    }
    tags.clear();
    tags.extend(found.iter().map(|f| (f.tag, f.value.0..f.value.1)));
    found.sort_by_key(|f| f.remove);
    bare.clear();
    let mut at = 0;
    for (from, to) in found.into_iter().map(|f| f.remove) {
        bare.push_str(&name[at.min(from)..from]);
        at = at.max(to);
    }
    bare.push_str(name.get(at..).unwrap_or_default());
}

type Found = SmallVec<[Tag; 4]>;

/// `_rq_200` and `_rq_2xx` at the end.
fn response_code(name: &str, found: &mut Found) {
    let Some(at) = name.rfind("_rq_").map(|at| at + 3) else { return };
    match name.as_bytes()[at + 1..] {
        [a, b, c] if [a, b, c].iter().all(u8::is_ascii_digit) => {
            found.push(Tag { tag: "envoy_response_code", remove: (at, at + 4), value: (at + 1, at + 4) });
        }
        [class, b'x', b'x'] if class.is_ascii_digit() => {
            found.push(Tag { tag: "envoy_response_code_class", remove: (at + 1, at + 2), value: (at + 1, at + 2) });
        }
        _ => {}
    }
}

/// `…ssl.ciphers.<cipher>` and its like.
fn last_behind(name: &str, cipher: &'static str, found: &mut Found) {
    for (tag, marker) in [
        (cipher, ".ssl.ciphers"),
        ("envoy_ssl_curve", ".ssl.curves"),
        ("envoy_ssl_sigalg", ".ssl.sigalgs"),
        ("envoy_ssl_version", ".ssl.versions"),
    ] {
        if let Some(at) = name.find(marker).map(|at| at + marker.len())
            && name[at..].starts_with('.')
        {
            found.push(Tag { tag, remove: (at, name.len()), value: (at + 1, name.len()) });
        }
    }
}

/// `…ssl.certificate.<name>.…`
fn certificate(name: &str, found: &mut Found) {
    const MARKER: &str = ".ssl.certificate.";
    if let Some(from) = name.find(MARKER).map(|at| at + MARKER.len())
        && let Some(len) = name[from..].find('.')
    {
        found.push(Tag { tag: "envoy_tls_certificate", remove: (from, from + len + 1), value: (from, from + len) });
    }
}

/// `worker_<digits>.` at `at`: the digits and the dot go.
fn worker_id(name: &str, at: usize, found: &mut Found) {
    let Some(rest) = name.get(at..).and_then(|r| r.strip_prefix("worker_")) else { return };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 && rest[digits..].starts_with('.') {
        let from = at + "worker_".len();
        found.push(Tag { tag: "envoy_worker_id", remove: (from, from + digits + 1), value: (from, from + digits) });
    }
}

/// The address behind `listener.`, of digits, dots and underscores or of an IPv6 address's characters: as far as it goes.
fn listener_address(name: &str) -> Option<(usize, usize)> {
    let rest = &name[9..];
    let longest = |allowed: &dyn Fn(u8) -> bool| {
        let run = rest.bytes().take_while(|b| allowed(*b)).count();
        let end = if rest[run..].starts_with('.') { run } else { rest[..run].rfind('.')? };
        (end > 0).then_some((9, 9 + end))
    };
    longest(&|b| b == b'_' || b == b'.' || b.is_ascii_digit()).or_else(|| longest(&|b| b"_[]".contains(&b) || b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_as_a_running_envoy_printed_them() {
        for (name, bare, tags) in [
            ("cluster.app.external.upstream_rq_200", "cluster.external.upstream_rq", "envoy_response_code=200,envoy_cluster_name=app"),
            ("cluster.app.upstream_rq_2xx", "cluster.upstream_rq_xx", "envoy_response_code_class=2,envoy_cluster_name=app"),
            ("cluster.app.upstream_rq_total", "cluster.upstream_rq_total", "envoy_cluster_name=app"),
            ("cluster.a.b.upstream_rq_total", "cluster.b.upstream_rq_total", "envoy_cluster_name=a"),
            (
                "http.ingress_http.downstream_rq_2xx",
                "http.downstream_rq_xx",
                "envoy_response_code_class=2,envoy_http_conn_manager_prefix=ingress_http",
            ),
            ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", ""),
            (
                "listener.admin.http.admin.downstream_rq_1xx",
                "listener.admin.http.downstream_rq_xx",
                "envoy_response_code_class=1,envoy_http_conn_manager_prefix=admin",
            ),
            ("listener.admin.main_thread.downstream_cx_total", "listener.admin.main_thread.downstream_cx_total", ""),
            ("listener.127.0.0.1_19080.downstream_cx_total", "listener.downstream_cx_total", "envoy_listener_address=127.0.0.1_19080"),
            (
                "listener.127.0.0.1_19080.worker_1.downstream_cx_total",
                "listener.worker_downstream_cx_total",
                "envoy_worker_id=1,envoy_listener_address=127.0.0.1_19080",
            ),
            (
                "listener.127.0.0.1_19080.http.ingress_http.downstream_rq_completed",
                "listener.http.downstream_rq_completed",
                "envoy_http_conn_manager_prefix=ingress_http,envoy_listener_address=127.0.0.1_19080",
            ),
            ("listener.[__1]_80.downstream_cx_total", "listener.downstream_cx_total", "envoy_listener_address=[__1]_80"),
            ("server.worker_0.watchdog_miss", "server.worker_watchdog_miss", "envoy_worker_id=0"),
            ("server.live", "server.live", ""),
            ("filesystem.write_total_buffered", "filesystem.write_total_buffered", ""),
            (
                "listener.127.0.0.1_19443.ssl.certificate.unnamed_cert_e3b0c442.expiration_unix_time_seconds",
                "listener.ssl.certificate.expiration_unix_time_seconds",
                "envoy_tls_certificate=unnamed_cert_e3b0c442,envoy_listener_address=127.0.0.1_19443",
            ),
            (
                "listener.127.0.0.1_19443.ssl.ciphers.ECDHE-ECDSA-AES128-GCM-SHA256",
                "listener.ssl.ciphers",
                "envoy_ssl_cipher=ECDHE-ECDSA-AES128-GCM-SHA256,envoy_listener_address=127.0.0.1_19443",
            ),
            (
                "cluster.up.ssl.ciphers.TLS_AES_256_GCM_SHA384",
                "cluster.ssl.ciphers",
                "cipher_suite=TLS_AES_256_GCM_SHA384,envoy_cluster_name=up",
            ),
            ("cluster.up.ssl.versions.TLSv1.2", "cluster.ssl.versions", "envoy_ssl_version=TLSv1.2,envoy_cluster_name=up"),
            ("tcp.x.downstream_cx_total", "tcp.downstream_cx_total", "envoy_tcp_prefix=x"),
        ] {
            let (mut rest, mut found) = (String::new(), Vec::new());
            extract(name, &mut rest, &mut found);
            let printed: Vec<String> = found.iter().map(|(tag, value)| format!("{tag}={}", &name[value.clone()])).collect();
            assert_eq!((rest.as_str(), printed.join(",").as_str()), (bare, tags), "{name}");
        }
    }

    #[test]
    fn any_name_gives_a_name() {
        for name in [
            "",
            ".",
            "cluster",
            "cluster.",
            "cluster..",
            "listener",
            "listener.",
            "listener..",
            "http..",
            "_rq_",
            "listener.é.http.",
            "tcp..",
        ] {
            let (mut rest, mut found) = (String::new(), Vec::new());
            extract(name, &mut rest, &mut found);
            assert!(rest.len() <= name.len());
        }
    }
}
