//! Tests of path and authority normalization; the expectations were observed on Envoy 1.40.

use super::*;

fn path(text: &str, options: PathOptions) -> String {
    let Normalized { path, verdict } = normalize_path(text.as_bytes(), options);
    let path = path.map_or_else(|| text.to_string(), |path| String::from_utf8(path).unwrap());
    match verdict {
        PathVerdict::Forward => path,
        PathVerdict::Redirect => format!("307 {path}"),
        PathVerdict::Reject => "400".to_string(),
    }
}

#[test]
fn paths_are_normalized_as_envoy_does() {
    let normal = PathOptions { normalize: true, ..PathOptions::default() };
    let merge = PathOptions { merge_slashes: true, ..PathOptions::default() };
    let both = PathOptions { normalize: true, merge_slashes: true, ..PathOptions::default() };
    // Path, normalize_path, merge_slashes, both.
    let cases = [
        ("/", "/", "/", "/"),
        ("/a/../b", "/b", "/a/../b", "/b"),
        ("/a/./b", "/a/b", "/a/./b", "/a/b"),
        ("/a//b", "/a//b", "/a/b", "/a/b"),
        ("//a", "//a", "/a", "/a"),
        ("/a/b/..", "/a/", "/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/", "/a/b/.", "/a/b/"),
        ("/..", "/", "/..", "/"),
        ("/../a", "/a", "/../a", "/a"),
        ("/a/%2e%2e/b", "/b", "/a/%2e%2e/b", "/b"),
        ("/a/%2E%2e/b", "/b", "/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b", "/a/.%2e/b", "/b"),
        ("/a/%2e", "/a/", "/a/%2e", "/a/"),
        ("/a%2fb", "/a%2fb", "/a%2fb", "/a%2fb"),
        ("/a%5cb", "/a%5cb", "/a%5cb", "/a%5cb"),
        ("/a\\b", "/a/b", "/a\\b", "/a/b"),
        ("/a\\..\\b", "/b", "/a\\..\\b", "/b"),
        ("/%7Ea", "/~a", "/%7Ea", "/~a"),
        ("/%41%62", "/Ab", "/%41%62", "/Ab"),
        ("/%2d%5f%2e%7e%30", "/-_.~0", "/%2d%5f%2e%7e%30", "/-_.~0"),
        ("/a%20b", "/a%20b", "/a%20b", "/a%20b"),
        ("/a%zz", "/a%zz", "/a%zz", "/a%zz"),
        ("/a%2", "/a%2", "/a%2", "/a%2"),
        ("/a%", "/a%", "/a%", "/a%"),
        ("/a%00b", "400", "/a%00b", "400"),
        ("/a?b/../c", "/a?b/../c", "/a?b/../c", "/a?b/../c"),
        ("/a/../b?c=/../d", "/b?c=/../d", "/a/../b?c=/../d", "/b?c=/../d"),
        ("/a//b?c//d", "/a//b?c//d", "/a/b?c//d", "/a/b?c//d"),
        ("/a/%2e%2e%2fb", "/a/..%2fb", "/a/%2e%2e%2fb", "/a/..%2fb"),
        ("/a;b=c/../d", "/d", "/a;b=c/../d", "/d"),
        ("/a/.../b", "/a/.../b", "/a/.../b", "/a/.../b"),
        ("/a/..b", "/a/..b", "/a/..b", "/a/..b"),
        ("/%61%2e%2e/b", "/a../b", "/%61%2e%2e/b", "/a../b"),
        ("/a/..//b", "//b", "/a/../b", "/b"),
        ("///a///b///", "///a///b///", "/a/b/", "/a/b/"),
        ("/\"<>", "/%22%3C%3E", "/\"<>", "/%22%3C%3E"),
        ("/^`{|}", "/%5E%60%7B%7C%7D", "/^`{|}", "/%5E%60%7B%7C%7D"),
        ("/[a]", "/[a]", "/[a]", "/[a]"),
        ("/%5b%7c", "/%5b%7c", "/%5b%7c", "/%5b%7c"),
        ("/a!b$c&d'e(f)g*h,i;j=k:l@m+n", "/a!b$c&d'e(f)g*h,i;j=k:l@m+n", "/a!b$c&d'e(f)g*h,i;j=k:l@m+n", "/a!b$c&d'e(f)g*h,i;j=k:l@m+n"),
        ("/a/b/../../../c", "/c", "/a/b/../../../c", "/c"),
        ("/.", "/", "/.", "/"),
        ("/%2e%2e", "/", "/%2e%2e", "/"),
        ("/%4%41", "/%254A", "/%4%41", "/%254A"),
        ("/%%341", "/%2541", "/%%341", "/%2541"),
        ("/%%34%31", "/%2541", "/%%34%31", "/%2541"),
        ("/%2%46", "/%252F", "/%2%46", "/%252F"),
        ("/%4%7e", "/%4~", "/%4%7e", "/%4~"),
        ("/%%%34", "/%%4", "/%%%34", "/%%4"),
        ("/%4/./%41", "/%4/A", "/%4/./%41", "/%4/A"),
        ("/?", "/?", "/?", "/?"),
    ];
    for (given, normalized, merged, all) in cases {
        assert_eq!(path(given, normal), normalized, "normalize_path of {given}");
        assert_eq!(path(given, merge), merged, "merge_slashes of {given}");
        assert_eq!(path(given, both), all, "both of {given}");
        assert_eq!(path(given, PathOptions::default()), given);
    }
}

#[test]
fn escaped_slashes_are_refused_redirected_or_unescaped() {
    let with = |action| PathOptions { escaped_slashes: action, ..PathOptions::default() };
    let cases = [
        ("/a%2fb", "/a/b"),
        ("/a%2Fb", "/a/b"),
        ("/a%5cb", "/a\\b"),
        ("/a/%2e%2e%2fb", "/a/%2e%2e/b"),
        ("/%2F%2f", "///"),
        ("/%5C", "/\\"),
        ("/a%2f?x=%2f", "/a/?x=%2f"),
        ("/a/b%2f..%2fc", "/a/b/../c"),
    ];
    for (given, unescaped) in cases {
        assert_eq!(path(given, with(EscapedSlashes::Reject)), "400");
        assert_eq!(path(given, with(EscapedSlashes::UnescapeAndForward)), unescaped);
        assert_eq!(path(given, with(EscapedSlashes::UnescapeAndRedirect)), format!("307 {unescaped}"));
    }
    for untouched in ["/a%252fb", "/a?x=%2f", "/a%2"] {
        assert_eq!(path(untouched, with(EscapedSlashes::Reject)), untouched);
    }
    let all = PathOptions { normalize: true, merge_slashes: true, escaped_slashes: EscapedSlashes::UnescapeAndForward };
    assert_eq!(path("/a/b%2f..%2f%2fc", all), "/a/c");
}

#[test]
fn no_path_makes_the_normalizer_panic_and_twice_is_once() {
    let mut random = 1u64;
    for _ in 0..20_000 {
        let mut text = vec![b'/'];
        for _ in 0..random % 24 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push(b"/\\.%2eEfF5cC0aA?~\"\x80"[(random >> 33) as usize % 18]);
        }
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        for normalize in [false, true] {
            let options = PathOptions { normalize, merge_slashes: true, escaped_slashes: EscapedSlashes::UnescapeAndForward };
            let once = normalize_path(&text, options);
            if let Normalized { path: Some(path), verdict: PathVerdict::Forward } = &once {
                assert_eq!(path[0], b'/');
                let text = String::from_utf8_lossy(&text);
                if normalize {
                    let resolved = path.split(|b| *b == b'?').next().unwrap();
                    assert!(!resolved.split(|b| *b == b'/').any(|s| s == b".."), "{text} gave {}", String::from_utf8_lossy(path));
                    assert!(!resolved.contains(&b'\\'), "{text}");
                }
            }
        }
    }
}

fn request(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::new();
    for (name, value) in pairs {
        list.append(name.as_bytes(), value.as_bytes());
    }
    list
}

#[test]
fn requests_without_host_or_path_are_answered() {
    let settings = ConnectionManager::default();
    let answer =
        |pairs: &[(&str, &str)]| normalize_request(&mut request(pairs), &settings, 80).map_err(|r| (r.status, r.detail.into_owned()));
    assert_eq!(answer(&[(":method", "GET"), (":path", "/")]), Err((400, "missing_host_header".into())));
    assert_eq!(answer(&[(":method", "GET"), (":path", "/"), (":authority", "")]), Ok(()));
    assert_eq!(answer(&[(":method", "OPTIONS"), (":path", "*"), (":authority", "x")]), Err((404, "absolute_path_rejected".into())));
    assert_eq!(answer(&[(":method", "GET"), (":path", "?q"), (":authority", "x")]), Err((404, "absolute_path_rejected".into())));
    assert_eq!(answer(&[(":method", "GET"), (":path", "/a#b"), (":authority", "x")]), Err((400, "path_normalization_failed".into())));
    assert_eq!(answer(&[(":method", "CONNECT"), (":authority", "x:1")]), Ok(()));
}

#[test]
fn an_escaped_slash_redirects_but_not_grpc() {
    let mut settings = ConnectionManager::default();
    settings.path.escaped_slashes = EscapedSlashes::UnescapeAndRedirect;
    let get = [(":method", "GET"), (":path", "/a%2fb?x"), (":authority", "x")];
    let reply = normalize_request(&mut request(&get), &settings, 80).unwrap_err();
    assert_eq!((reply.status, reply.headers.get(Known::Location)), (307, Some(&b"/a/b?x"[..])));
    let mut grpc = request(&get);
    grpc.append(b"content-type", b"application/grpc");
    assert_eq!(normalize_request(&mut grpc, &settings, 80).unwrap_err().status, 400);
}

#[test]
fn ports_and_trailing_dots_are_stripped() {
    let strip = |authority: &str, strip_port, strip_trailing_host_dot| {
        let settings = ConnectionManager { strip_port, strip_trailing_host_dot, ..ConnectionManager::default() };
        let mut headers = request(&[(":method", "GET"), (":path", "/"), (":authority", authority)]);
        normalize_request(&mut headers, &settings, 8080).unwrap();
        String::from_utf8(headers.authority().to_vec()).unwrap()
    };
    use StripPort::{Any, Matching, None};
    for (given, expected) in [
        ("a:80", "a"),
        ("a:8080", "a"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("a.", "a."),
        ("a:b", "a:b"),
        ("a:99999", "a"),
        ("a:+80", "a"),
    ] {
        assert_eq!(strip(given, Any, false), expected);
    }
    assert_eq!(strip("a:8080", Matching, false), "a");
    assert_eq!(strip("a:80", Matching, false), "a:80");
    for (given, expected) in [("a.", "a"), ("a.:80", "a:80"), (".", ""), ("a..", "a."), ("a", "a"), ("a.:x", "a:x")] {
        assert_eq!(strip(given, None, true), expected);
    }
    assert_eq!(strip("a.:8080", Matching, true), "a");
}
