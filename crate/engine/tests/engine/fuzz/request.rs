//! What is read out of a request's headers: gRPC timeouts, cookies, query parameters, rewrites by regular expressions, client certificates.

use std::time::Duration;

use plenipo_engine::{
    http::{
        client_certificate::{Details, ForwardClientCert, edit},
        header::{HeaderList, Known},
    },
    route::{CookieMatch, GrpcTimeout, Pattern, QueryMatch, Rewrite, StreamDuration, StringMatch, set_grpc_timeout},
    stream_info::TlsInfo,
    tls::Certificate,
};
use plenipo_testkit::fuzz::fuzz;

fn with(name: Known, value: &[u8]) -> HeaderList {
    let mut headers = HeaderList::new();
    headers.append_known(Known::ContentType, b"application/grpc");
    headers.append_known(name, value);
    headers
}

#[test]
fn grpc_timeouts() {
    let words = ["99999999", "00000001", "+", "-", " ", "H", "M", "S", "m", "u", "n", "18446744073709551615"];
    fuzz(include_str!("../../corpus/grpc-timeout.txt"), &words, |input, _| {
        let asked = GrpcTimeout { max: Duration::ZERO, offset: Duration::ZERO }.of(&with(Known::GrpcTimeout, input));
        let mut headers = with(Known::GrpcTimeout, input);
        let route = StreamDuration { max: None, grpc_max: Some(Duration::from_secs(5)), grpc_offset: Duration::ZERO };
        let limit = route.limit(&mut headers, None);
        assert_eq!(limit.unwrap_or_default(), asked.unwrap_or_default().min(Duration::from_secs(5)));
        let Some(asked) = asked else { return (0, input.len().min(10)) };
        assert!(input.len() <= 9 && asked <= Duration::from_secs(99_999_999 * 3600), "eight digits and a unit");
        let mut told = HeaderList::new();
        set_grpc_timeout(&mut told, asked);
        let text = told.get(Known::GrpcTimeout).expect("it was just written");
        assert!(text.len() <= 9, "{}", text.escape_ascii());
        let again = GrpcTimeout { max: Duration::ZERO, offset: Duration::ZERO }.of(&with(Known::GrpcTimeout, text)).unwrap_or_default();
        assert!(again <= asked && asked - again < Duration::from_secs(3600), "{asked:?} is told as {again:?}");
        (usize::from(input[input.len() - 1]), input.len())
    });
}

#[test]
fn cookies() {
    let words = ["a=", "a", "=", ";", "; ", "\"", "b=2", ",", " "];
    fuzz(include_str!("../../corpus/cookie.txt"), &words, |input, numbers| {
        let of = |lines: &[&[u8]], test: StringMatch, invert| {
            let mut headers = HeaderList::new();
            lines.iter().for_each(|line| headers.append_known(Known::Cookie, line));
            CookieMatch { name: (*b"a").into(), test, invert }.matches(&headers)
        };
        let any = || StringMatch::prefix("", false);
        let there = of(&[input], any(), false);
        assert_ne!(of(&[input], any(), true), there);
        // A line of its own for each cookie says the same.
        let lines: Vec<&[u8]> = input.split(|b| *b == b';').collect();
        assert_eq!(of(&lines, any(), false), there);
        // The first one counts, quoted or not.
        let first = [b"b=1; a=x y; ", input].concat();
        let quoted = [b"a=\"x y\";", input].concat();
        assert!(of(&[&first], StringMatch::exact("x y", false), false) && of(&[&quoted], StringMatch::exact("x y", false), false));
        // What comes behind one that is there changes nothing.
        let exact = StringMatch::exact(numbers.of::<&str>(&["", "1", "a=1", "\""]), false);
        let alone = of(&[input], exact.clone(), false);
        assert!(!there || of(&[input, b"a=1"], exact, false) == alone);
        (there, alone, lines.len().min(5))
    });
}

#[test]
fn query_parameters() {
    let words = ["?", "&", "=", "a=", "a", "#", "%61=", "a=1", "+"];
    fuzz(include_str!("../../corpus/query.txt"), &words, |input, _| {
        let of = |path: &[u8], test: Option<StringMatch>, absent| QueryMatch { name: (*b"a").into(), test, absent }.matches(path);
        let there = of(input, None, false);
        assert_ne!(of(input, None, true), there);
        assert_eq!(of(input, Some(StringMatch::prefix("", false)), false), there, "any value");
        // A fragment is no part of the query (one before any query is, as in Envoy).
        assert!(!input.contains(&b'?') || of(&[input, b"#?a=1&a"].concat(), None, false) == there);
        let query = input.iter().position(|b| *b == b'?').map_or(&input[input.len()..], |at| &input[at + 1..]);
        // The first one counts, and others do not.
        assert!(of(&[b"/?b=a&a=x&", query].concat(), Some(StringMatch::exact("x", false)), false));
        assert_eq!(of(&[b"/?b&aa=1&&=a&", query].concat(), None, false), there);
        (there, of(input, Some(StringMatch::exact("", false)), false), query.is_empty())
    });
}

#[test]
fn regex_rewrites() {
    let words =
        ["\\0", "\\1", "\\9", "\\\\", "(", ")", "(.*)", "[^/]+", "^", "$", "|", "{1000}", "\\b", "(?i)", "?", "*", "+", " ", "/a/b"];
    fuzz(include_str!("../../corpus/regex-rewrite.txt"), &words, |input, _| {
        // A pattern, a substitution and a path, with a space between them.
        let text = String::from_utf8_lossy(input);
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().unwrap_or_default();
        let (pattern, substitution, path) = (next(), next(), next().as_bytes());
        let Ok(pattern) = Pattern::new(pattern) else { return (0, 0) };
        let whole = pattern.matches(path);
        let same = Rewrite::new(pattern.clone(), "\\0").expect("there is always a match as a whole").apply(path).into_owned();
        assert_eq!(same, path, "each match in place of itself");
        let Ok(rewrite) = Rewrite::new(pattern.clone(), substitution) else { return (1, usize::from(whole)) };
        let without = Rewrite::new(pattern, "").expect("nothing is a substitution").apply(path).into_owned();
        let new = rewrite.apply(path);
        if !substitution.contains('\\') {
            assert!(
                new.len() >= without.len() && (substitution.is_empty() || (new.len() - without.len()).is_multiple_of(substitution.len()))
            );
        }
        assert!(!whole || path.is_empty() || without.len() < path.len());
        (2 + usize::from(whole), usize::from(new != path))
    });
}

/// `x-forwarded-client-cert` of a certificate that may say anything, appended to what a client sent.
#[test]
fn client_certificates() {
    let words = ["[", "]", "{\"hash\":\"1\"}", ",", ";", "\"", "By=", "\\", "\r\n", "\0", "\x16\x03abc", "spiffe://a", "\x06a.test"];
    fuzz(include_str!("../../corpus/client-certificate.txt"), &words, |input, numbers| {
        // What came, a line end, and a certificate in DER.
        let end = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
        let (came, der) = (&input[..end], input.get(end + 1..).unwrap_or_default().to_vec());
        let certificate = Certificate::new(der.into());
        let mut yes = || numbers.below(2) == 0;
        let details = Details { cert: yes(), chain: yes(), subject: yes(), uri: yes(), dns: yes(), issuer: yes(), json: yes() };
        let forward = if yes() { ForwardClientCert::AppendForward(details) } else { ForwardClientCert::SanitizeSet(details) };
        let tls = TlsInfo {
            sni: None,
            alpn: None,
            version: "TLSv1.3",
            group: "X25519",
            cipher: "",
            peer: [certificate.clone()].into(),
            local: None,
            told: Default::default(),
        };
        let mut headers = with(Known::ForwardedClientCert, came);
        edit(&mut headers, forward, Some(&tls));
        let value = headers.get(Known::ForwardedClientCert).expect("a client with a certificate is told of");
        let appended = matches!(forward, ForwardClientCert::AppendForward(_)) && !came.is_empty();
        let was_json = came.starts_with(b"[") && came.ends_with(b"]") && came.len() > 1;
        let json = if appended { was_json } else { details.json };
        let own = match (appended, json) {
            (false, _) => value,
            (true, false) => value.strip_prefix(came).and_then(|v| v.strip_prefix(b",")).expect("what came stays, and a comma"),
            (true, true) => value.strip_prefix(&came[..came.len() - 1]).and_then(|v| v.strip_prefix(b",")).expect("the list goes on"),
        };
        assert!(own.iter().all(|b| !matches!(b, b'\r' | b'\n' | 0)), "a certificate would write headers: {}", own.escape_ascii());
        if json {
            let whole = if appended { [b"[", own].concat() } else { own.to_vec() };
            serde_json::from_slice::<Vec<serde_json::Map<String, serde_json::Value>>>(&whole).expect("a list of one object");
        } else {
            assert!(own.starts_with(b"Hash="));
        }
        let facts = certificate.facts();
        (json, appended, facts.subject.len().min(3), facts.uris.len().min(3), facts.dns_names.len().min(3), facts.emails.len())
    });
}
