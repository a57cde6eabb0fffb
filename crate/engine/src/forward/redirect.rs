//! Internal redirects: an upstream's redirect that becomes the stream's next request (`internal_redirect_policy`).

use crate::{
    http::{
        body::Body,
        h1::is_host,
        header::{HeaderList, Known},
        stream::Stream,
    },
    route::{InternalRedirectPolicy, Redirected, RouteMatch},
    upstream::request::Source,
};

/// Makes the request that an answer redirects to out of the stream's; false where it is not to be followed, and nothing is changed.
pub fn follow(stream: &mut Stream, route: &RouteMatch, policy: &InternalRedirectPolicy, answer: &HeaderList, source: &Source) -> bool {
    let status = answer.status();
    let Some(location) = answer.get(Known::Location) else { return false };
    if !source.is_over() || !source.can_replay() {
        return false;
    }
    let Some(target) = Target::parse(location) else {
        stream.manager.router.passthrough_internal_redirect_bad_location().inc();
        return false;
    };
    let from_http = stream.headers.get(Known::Scheme) == Some(b"http") || stream.info.connection.tls.is_none();
    let to_http = target.scheme.eq_ignore_ascii_case(b"http");
    if from_http != to_http && !policy.cross_scheme {
        stream.manager.router.passthrough_internal_redirect_unsafe_scheme().inc();
        return false;
    }
    let mut past = stream.redirected.take().unwrap_or_default();
    let before = (stream.headers.clone(), stream.info.route.clone(), stream.info.cluster.clone());
    let followed = past.count < policy.max || {
        stream.manager.router.passthrough_internal_redirect_too_many_redirects().inc();
        false
    };
    if !followed || !edit(stream, route, policy, answer, &target, &mut past, from_http) {
        (stream.headers, stream.info.route, stream.info.cluster) = before;
        stream.redirected = Some(past);
        return false;
    }
    past.count += 1;
    // As in Envoy the log line of this request names the cluster of the next.
    stream.info.cluster = stream.cluster();
    stream.redirected = Some(past);
    let scheme: &[u8] = if from_http { b"http" } else { b"https" };
    let old = &before.0;
    let url = [scheme, b"://", old.authority(), old.path()].concat();
    stream.headers.set(Known::EnvoyOriginalUrl, &url);
    stream.body = source.again();
    if status == 303 && !matches!(stream.headers.method(), b"GET" | b"HEAD") {
        stream.headers.set(Known::Method, b"GET");
        stream.headers.remove(Known::ContentLength);
        stream.body = Body::Empty;
    }
    true
}

/// Writes the target into the request and looks its route up.
fn edit(
    stream: &mut Stream,
    route: &RouteMatch,
    policy: &InternalRedirectPolicy,
    answer: &HeaderList,
    target: &Target<'_>,
    past: &mut Redirected,
    from_http: bool,
) -> bool {
    for name in &policy.copy {
        stream.headers.remove_name(name);
        for (_, found, value) in answer.iter() {
            if found.eq_ignore_ascii_case(name.as_str().as_bytes()) {
                stream.headers.append_name(name, value);
            }
        }
    }
    stream.headers.set(Known::Scheme, target.scheme);
    stream.headers.set(Known::Authority, target.authority);
    stream.headers.set(Known::Path, &target.path);
    stream.find_route();
    let Some(found) = &stream.info.route else {
        stream.manager.router.passthrough_internal_redirect_no_route().inc();
        return false;
    };
    let (from, to) = (&route.route().name, &found.route().name);
    let to_http = target.scheme.eq_ignore_ascii_case(b"http");
    let accepted = policy.predicates.iter().all(|predicate| predicate.accepts(past, from, to, from_http, to_http));
    if !accepted {
        stream.manager.router.passthrough_internal_redirect_predicate().inc();
    }
    accepted
}

/// The parts of an absolute URL, without its fragment.
struct Target<'l> {
    scheme: &'l [u8],
    authority: &'l [u8],
    path: Vec<u8>,
}

impl Target<'_> {
    fn parse(location: &[u8]) -> Option<Target<'_>> {
        let colon = location.windows(3).position(|w| w == b"://")?;
        let (scheme, rest) = (&location[..colon], &location[colon + 3..]);
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let path = rest.split(|b| *b == b'#').next().unwrap_or_default();
        let named = scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(|b| b.is_ascii_alphanumeric());
        // Whatever could be read in two ways is no target.
        if !named
            || authority.is_empty()
            || !is_host(authority)
            || authority.contains(&b'@')
            || path.iter().any(|b| *b <= b' ' || *b >= 0x7f)
        {
            return None;
        }
        let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
        Some(Target { scheme, authority, path: [slash, path].concat() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(location: &str) -> Option<(String, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Target::parse(location.as_bytes()).map(|t| (text(t.scheme), text(t.authority), text(&t.path)))
    }

    #[test]
    fn only_absolute_urls_are_targets() {
        let target = |scheme: &str, authority: &str, path: &str| Some((scheme.to_owned(), authority.to_owned(), path.to_owned()));
        assert_eq!(parse("http://b.test:81/a?x=1#f"), target("http", "b.test:81", "/a?x=1"));
        assert_eq!(parse("https://b.test"), target("https", "b.test", "/"));
        assert_eq!(parse("http://b.test?x"), target("http", "b.test", "/?x"));
        assert_eq!(parse("http://b.test#x"), target("http", "b.test", "/"));
        for bad in ["", "/new", "//b.test/", "http:///x", "http://a@b.test/", "1://b/", "http://b.test/a b", "http://b\\c/"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
