//! What the `connection` header of a request asks for: headers to remove, an upgrade, an end of the connection.

use super::{CONNECTION_REJECTED, Reject, chars};
use crate::{
    http::header::{HeaderList, HeaderName, Known},
    route::StringMatch,
};

/// More names in `connection` than this, less one, are refused.
const MAX_NOMINATED: usize = 10;
/// A `te` header that `connection` names and that is as long as this is refused.
const MAX_TE: usize = 256;

/// Whether these headers ask for, or grant, an upgrade.
pub fn is_upgrade(headers: &HeaderList) -> bool {
    headers.get(Known::Connection).is_some_and(|value| chars::has_token(value, b"upgrade")) && headers.contains(Known::Upgrade)
}

/// Takes `upgrade: h2c` and what belongs to it away; Envoy does not offer it.
pub fn remove_h2c(headers: &mut HeaderList) -> bool {
    if !headers.get(Known::Upgrade).is_some_and(|kind| kind.eq_ignore_ascii_case(b"h2c")) {
        return false;
    }
    headers.remove(Known::Upgrade);
    headers.remove(Known::Http2Settings);
    keep_tokens(headers, |token| !token.eq_ignore_ascii_case(b"upgrade") && !token.eq_ignore_ascii_case(b"http2-settings"));
    true
}

/// Takes upgrades away that are to be ignored (`ignore_http_11_upgrade`); says whether none is left.
pub fn remove_ignored(headers: &mut HeaderList, ignored: &[StringMatch]) -> bool {
    let Some(kinds) = headers.get(Known::Upgrade).filter(|_| !ignored.is_empty()) else { return false };
    let is_ignored = |kind: &[u8]| ignored.iter().any(|i| i.matches(kind));
    let left = chars::list(kinds).filter(|kind| !is_ignored(kind)).collect::<Vec<_>>().join(&b","[..]);
    if !left.is_empty() {
        headers.set(Known::Upgrade, &left);
        return false;
    }
    headers.remove(Known::Upgrade);
    keep_tokens(headers, |token| !token.eq_ignore_ascii_case(b"upgrade"));
    true
}

/// Removes the headers that `connection` names. Names whose removal would deceive whoever reads the request later are refused.
pub fn sanitize(headers: &mut HeaderList) -> Result<(), Reject> {
    let Some(value) = headers.get(Known::Connection) else { return Ok(()) };
    // Nearly every request that has the header says only this.
    if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
        return Ok(());
    }
    let value = value.to_vec();
    if chars::list(&value).count() >= MAX_NOMINATED {
        return Err(CONNECTION_REJECTED);
    }
    let mut removed = false;
    for token in chars::list(&value) {
        if [&b"close"[..], b"keep-alive", b"upgrade", b"http2-settings"].iter().any(|own| token.eq_ignore_ascii_case(own)) {
            continue;
        }
        removed = true;
        let Ok(text) = std::str::from_utf8(token) else { continue };
        let name = HeaderName::new(text);
        match name.known() {
            Known::ForwardedFor | Known::ForwardedHost | Known::ForwardedProto => return Err(CONNECTION_REJECTED),
            _ if text.starts_with(':') => return Err(CONNECTION_REJECTED),
            // The codec writes `host` from this entry; without it the request has no host, as in Envoy.
            Known::Host => drop(headers.remove(Known::Authority)),
            Known::Connection => {}
            Known::Te => {
                if headers.get(Known::Te).is_some_and(|te| te.len() >= MAX_TE) {
                    return Err(CONNECTION_REJECTED);
                }
                // Envoy looks in any case of letters here, and in lower case where it is not named.
                keep_trailers_only(headers, |entry| entry.eq_ignore_ascii_case(b"trailers"));
            }
            _ => drop(headers.remove_name(&name)),
        }
    }
    if removed {
        keep_tokens(headers, |token| {
            [&b"close"[..], b"keep-alive", b"upgrade", b"http2-settings"].iter().any(|own| token.eq_ignore_ascii_case(own))
        });
    }
    Ok(())
}

/// Reduces `te` to `trailers`, or removes it where no entry of it `says` that, without parameters.
pub fn keep_trailers_only(headers: &mut HeaderList, says: impl Fn(&[u8]) -> bool) {
    let Some(value) = headers.get(Known::Te) else { return };
    if chars::list(value).any(|part| says(chars::trim(part))) {
        headers.set(Known::Te, b"trailers");
    } else {
        headers.remove(Known::Te);
    }
}

fn keep_tokens(headers: &mut HeaderList, keep: impl Fn(&[u8]) -> bool) {
    let Some(value) = headers.get(Known::Connection) else { return };
    let kept = chars::list(value).filter(|token| keep(token)).collect::<Vec<_>>().join(&b","[..]);
    if kept.is_empty() {
        headers.remove(Known::Connection);
    } else {
        headers.set(Known::Connection, &kept);
    }
}
