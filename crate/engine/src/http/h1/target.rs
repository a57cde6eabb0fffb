//! The request target: origin, absolute, authority and asterisk form, as Envoy accepts them.

use super::{CODEC_ERROR, INVALID_SCHEME, INVALID_URL, Reject, chars};

/// A request target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A path, `*`, or, where absolute URLs are not taken apart, the whole URL.
    Path(&'a [u8]),
    /// `http://authority/path`; the path is `/` where the URL has none.
    Absolute { https: bool, authority: &'a [u8], path: &'a [u8] },
    /// `host:port` of a CONNECT request.
    Authority(&'a [u8]),
}

/// Takes the target of a request with this method apart.
pub fn parse<'a>(method: &[u8], target: &'a [u8], allow_absolute_url: bool) -> Result<Target<'a>, Reject> {
    if target.is_empty() || !chars::is_visible(target) {
        return Err(CODEC_ERROR);
    }
    if method == b"CONNECT" {
        return if is_host_and_port(target, true) { Ok(Target::Authority(target)) } else { Err(INVALID_URL) };
    }
    match target[0] {
        b'/' => return Ok(Target::Path(target)),
        b'*' if method == b"OPTIONS" && target.len() == 1 => return Ok(Target::Path(target)),
        b'*' => return Err(INVALID_URL),
        _ => {}
    }
    let Some(colon) = target.iter().position(|b| *b == b':') else { return Err(CODEC_ERROR) };
    let scheme = &target[..colon];
    let Some(rest) = target[colon..].strip_prefix(b"://") else { return Err(CODEC_ERROR) };
    if !is_scheme(scheme) {
        return Err(CODEC_ERROR);
    }
    let (authority, path) = rest.split_at(rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len()));
    if path.first() == Some(&b'#') {
        return Err(CODEC_ERROR);
    }
    if !allow_absolute_url {
        return Ok(Target::Path(target));
    }
    let https = scheme.eq_ignore_ascii_case(b"https");
    if !https && !scheme.eq_ignore_ascii_case(b"http") {
        return Err(INVALID_SCHEME);
    }
    if !is_host_and_port(authority, false) {
        return Err(INVALID_URL);
    }
    Ok(Target::Absolute { https, authority, path: if path.is_empty() { b"/" } else { path } })
}

/// Whether `text` is a URL with scheme, plain authority, and perhaps a path and a query.
pub(crate) fn is_absolute_url(text: &[u8]) -> bool {
    let Some(colon) = text.iter().position(|b| *b == b':') else { return false };
    let Some(rest) = text[colon..].strip_prefix(b"://") else { return false };
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    is_scheme(&text[..colon]) && is_host_and_port(&rest[..end], false)
}

fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Whether `text` is a host name, an IPv4 address or a bracketed IPv6 address, with a port that fits.
fn is_host_and_port(text: &[u8], needs_port: bool) -> bool {
    let host_end = match text {
        [b'[', ..] => match text.iter().position(|b| *b == b']') {
            Some(end) if end > 2 && text[1..end].iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) => end + 1,
            _ => return false,
        },
        _ => text.iter().position(|b| *b == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_end);
    let host_is_valid =
        host.first().is_some_and(|b| *b == b'[') || host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if host.is_empty() || !host_is_valid {
        return false;
    }
    match port {
        [] => !needs_port,
        [b':', digits @ ..] => digits.len() <= 5 && chars::decimal(digits).is_some_and(|port| port <= 65535),
        _ => false,
    }
}
