//! What is checked and rewritten of a request before it is routed: host, path, port of the authority; as Envoy does it.

use super::{
    header::{HeaderList, Known},
    local_reply::{LocalReply, is_grpc},
    settings::{ConnectionManager, EscapedSlashes, PathOptions, StripPort},
};

/// Checks a request and normalizes its path and authority; `Err` is the answer to it. `port` is the listener's.
pub fn normalize_request(headers: &mut HeaderList, settings: &ConnectionManager, port: u16) -> Result<(), LocalReply> {
    let Some(authority) = headers.get(Known::Authority) else {
        return Err(LocalReply::new(400, "", "missing_host_header"));
    };
    if authority.contains(&b'.') && settings.strip_trailing_host_dot || settings.strip_port != StripPort::None {
        normalize_authority(headers, settings, port);
    }
    let Some(path) = headers.get(Known::Path) else {
        // Only CONNECT has none.
        return if headers.method() == b"CONNECT" { Ok(()) } else { Err(LocalReply::new(404, "", "missing_path_rejected")) };
    };
    if path.first() != Some(&b'/') {
        return Err(LocalReply::new(404, "", "absolute_path_rejected"));
    }
    let rejected = || LocalReply::new(400, "", "path_normalization_failed");
    if path.contains(&b'#') {
        return Err(rejected());
    }
    if settings.path == PathOptions::default() {
        return Ok(());
    }
    let Normalized { path, verdict } = normalize_path(path, settings.path);
    if let Some(path) = path {
        headers.set(Known::Path, &path);
    }
    match verdict {
        PathVerdict::Forward => Ok(()),
        PathVerdict::Reject => Err(rejected()),
        // gRPC clients follow no redirects, and two slashes at the start would lead browsers to another host.
        PathVerdict::Redirect if is_grpc(headers) || headers.path().get(1).is_some_and(|b| is_slash(*b)) => Err(rejected()),
        PathVerdict::Redirect => Err(LocalReply::new(307, "", "path_normalization_failed").header(Known::Location, headers.path())),
    }
}

/// What becomes of a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Normalized {
    /// The path that stands in the request from now on, which access logs show too; `None` where it stays as it is.
    pub path: Option<Vec<u8>>,
    /// What is done with the request.
    pub verdict: PathVerdict,
}

/// What is done with a request because of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathVerdict {
    /// It goes on.
    Forward,
    /// The client is sent to the new path.
    Redirect,
    /// It is answered 400.
    Reject,
}

/// Normalizes a path with its query, which is left alone. The path starts with `/`.
pub fn normalize_path(target: &[u8], options: PathOptions) -> Normalized {
    let (path, query) = target.split_at(target.iter().position(|b| *b == b'?').unwrap_or(target.len()));
    let mut changed: Option<Vec<u8>> = None;
    let mut verdict = PathVerdict::Forward;
    if options.escaped_slashes != EscapedSlashes::Keep {
        changed = unescape_slashes(path);
        verdict = match options.escaped_slashes {
            _ if changed.is_none() => PathVerdict::Forward,
            EscapedSlashes::Reject => PathVerdict::Reject,
            EscapedSlashes::UnescapeAndRedirect => PathVerdict::Redirect,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::Keep => PathVerdict::Forward,
        };
    }
    if options.normalize && verdict != PathVerdict::Reject {
        match canonicalize(changed.as_deref().unwrap_or(path)) {
            Some(canonical) => changed = Some(canonical),
            None => verdict = PathVerdict::Reject,
        }
    }
    if options.merge_slashes
        && verdict != PathVerdict::Reject
        && let Some(merged) = merge_slashes(changed.as_deref().unwrap_or(path))
    {
        changed = Some(merged);
    }
    let path = changed.filter(|new| new != path).map(|mut new| {
        new.extend_from_slice(query);
        new
    });
    Normalized { path, verdict }
}

/// `%2F` and `%5C` in any case as `/` and `\`; `None` where there is none.
fn unescape_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let slash = |at: usize| match path.get(at..at + 3) {
        Some([b'%', b'2', b'f' | b'F']) => Some(b'/'),
        Some([b'%', b'5', b'c' | b'C']) => Some(b'\\'),
        _ => None,
    };
    let first = (0..path.len()).find(|at| slash(*at).is_some())?;
    let mut out = path[..first].to_vec();
    let mut at = first;
    while at < path.len() {
        match slash(at) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    Some(out)
}

/// As browsers canonicalize paths: `\` is `/`, dot segments are resolved (`%2e` is a dot there), escapes of unreserved characters are undone, what may
/// not stand in a path is escaped. `None` for `%00`.
fn canonicalize(path: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(path.len() + 8);
    // Where in `out` the last `%` stands that begins no escape.
    let mut bare = None;
    let mut at = 0;
    while at < path.len() {
        let byte = path[at];
        if is_slash(byte) {
            out.push(b'/');
            at += 1;
            // Dot segments start right behind a slash.
            while let Some(length) = dot_segment(&path[at..]) {
                let (dots, used) = length;
                if dots == 2 {
                    // `out` ends in the slash before the dots; back to the one before that.
                    let keep = out[..out.len() - 1].iter().rposition(|b| *b == b'/').map_or(1, |slash| slash + 1);
                    out.truncate(keep);
                    bare = bare.filter(|percent| *percent < keep);
                }
                at += used;
            }
            continue;
        }
        match (byte, path.get(at + 1).and_then(hex), path.get(at + 2).and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                match high << 4 | low {
                    0 => return None,
                    plain if plain.is_ascii_alphanumeric() || matches!(plain, b'-' | b'.' | b'_' | b'~') => {
                        out.push(plain);
                        // `%4%41` must not become `%4A`, which the next reader would take for an escape.
                        let digits = bare.map_or(&[][..], |percent| &out[percent + 1..]);
                        let next = path.get(at + 3).copied();
                        if completes_escape(digits, next)
                            && let Some(percent) = bare
                        {
                            out.splice(percent + 1..percent + 1, *b"25");
                        }
                    }
                    _ => out.extend_from_slice(&path[at..at + 3]),
                }
                at += 3;
                continue;
            }
            (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | ..=b' ' | 0x7f.., ..) => {
                out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            (b'%', ..) => {
                bare = Some(out.len());
                out.push(byte);
            }
            _ => out.push(byte),
        }
        at += 1;
    }
    Some(out)
}

/// Whether what stands behind a bare `%`, the last of it just undone, makes an escape of it, perhaps with the byte that follows.
fn completes_escape(behind: &[u8], next: Option<u8>) -> bool {
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    match behind {
        [one] => is_hex(one) && next.as_ref().is_some_and(is_hex),
        [one, two] => is_hex(one) && is_hex(two),
        _ => false,
    }
}

/// How many dots the segment at the start of `path` is made of, if of one or two only, and its length with the slash behind it. Parameters (`..;a`) do
/// not count, as there are servers that drop them before they look.
fn dot_segment(path: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut dots = 0;
    loop {
        match &path[at..] {
            [b'.', ..] => at += 1,
            [b'%', b'2', b'e' | b'E', ..] => at += 3,
            [slash, ..] if is_slash(*slash) && dots > 0 => return Some((dots, at + 1)),
            [b';', parameters @ ..] if dots > 0 => {
                let end = parameters.iter().position(|b| is_slash(*b)).map_or(parameters.len(), |slash| slash + 1);
                return Some((dots, at + 1 + end));
            }
            [] if dots > 0 => return Some((dots, at)),
            _ => return None,
        }
        dots += 1;
        if dots > 2 {
            return None;
        }
    }
}

fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

fn hex(digit: &u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Runs of slashes as one, except that of a path of slashes alone two are left, as in Envoy; `None` where there is none.
fn merge_slashes(path: &[u8]) -> Option<Vec<u8>> {
    if path.len() > 1 && path.iter().all(|b| *b == b'/') {
        return Some(b"//".to_vec());
    }
    path.windows(2).any(|pair| pair == b"//").then(|| {
        let mut out = path.to_vec();
        out.dedup_by(|a, b| *a == b'/' && *b == b'/');
        out
    })
}

fn normalize_authority(headers: &mut HeaderList, settings: &ConnectionManager, listener_port: u16) {
    let Some(authority) = headers.get(Known::Authority) else { return };
    let mut new = authority.to_vec();
    if settings.strip_trailing_host_dot
        && let Some(dot) = memchr::memrchr(b'.', &new)
        && matches!(new.get(dot + 1), None | Some(b':'))
    {
        new.remove(dot);
    }
    if let Some(colon) = port_start(&new) {
        let port = std::str::from_utf8(&new[colon + 1..]).ok().and_then(|port| port.parse::<u32>().ok());
        let strip = match settings.strip_port {
            StripPort::None => false,
            StripPort::Matching => port == Some(listener_port.into()),
            StripPort::Any => port.is_some(),
        };
        if strip {
            new.truncate(colon);
        }
    }
    if new != authority {
        headers.set(Known::Authority, &new);
    }
}

/// Where the colon of a port stands in an authority: the last one, unless it is inside of brackets. As in Envoy what follows need not be a number.
pub fn port_start(authority: &[u8]) -> Option<usize> {
    let colon = authority.iter().rposition(|b| *b == b':')?;
    (!authority[colon..].contains(&b']')).then_some(colon)
}

#[cfg(test)]
#[path = "normalize_tests.rs"]
mod tests;
