//! What the heads and trailers of HTTP/3 may say: field sections to header lists, refused where they could be read in two ways.
//!
//! What is refused, and whether the stream or the connection ends with it, is as in Envoy.

use super::{Code, qpack};
use crate::http::{
    h1::{is_host, is_joined_in_request, is_token},
    header::{HeaderList, Known},
};

/// Why a field section is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It cannot be decoded: the connection ends with this code.
    Undecodable(Code),
    /// It is not valid: the connection ends, unless `override_stream_error_on_invalid_http_message` says that only the stream does.
    Invalid,
    /// It is not valid, and the stream is reset with this code.
    Reset(Code),
    /// It has more fields than allowed.
    TooMany,
    /// It has more bytes than allowed.
    TooLarge,
}

/// What a section may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of all names and values.
    pub bytes: usize,
    /// Fields.
    pub count: usize,
    /// Extended CONNECT is spoken (RFC 9220).
    pub extended_connect: bool,
}

/// A request's head. Extended CONNECT becomes the upgrade that it is in HTTP/1; several cookies become one.
pub fn request(section: &[u8], bounds: Bounds) -> Result<HeaderList, BadHead> {
    let mut headers = HeaderList::with_capacity(16, section.len() * 2);
    let mut fields = Fields::new(bounds);
    let mut protocol = None;
    fields.decode(section, |known, name, value, pseudo_over| {
        if name.first() != Some(&b':') {
            return regular(&mut headers, known, name, value);
        }
        if pseudo_over {
            return Err(BadHead::Reset(Code::GENERAL_PROTOCOL_ERROR));
        }
        match known {
            Known::Method | Known::Path | Known::Authority | Known::Scheme if !headers.contains(known) => {
                headers.append_known(known, value)
            }
            Known::Method => return Err(BadHead::Reset(Code::NO_ERROR)),
            Known::Path => return Err(BadHead::Reset(Code::GENERAL_PROTOCOL_ERROR)),
            _ if name == b":protocol" && protocol.is_none() => protocol = Some(value.to_vec()),
            _ => return Err(BadHead::Invalid),
        }
        Ok(())
    })?;
    complete_request(&mut headers, protocol, bounds)?;
    Ok(headers)
}

/// An answer's head.
pub fn response(section: &[u8], bounds: Bounds) -> Result<HeaderList, BadHead> {
    let mut headers = HeaderList::with_capacity(16, section.len() * 2);
    Fields::new(bounds).decode(section, |known, name, value, pseudo_over| {
        if name.first() != Some(&b':') {
            if is_of_connection(known, value) {
                return Err(BadHead::Invalid);
            }
            headers.append(name, value);
            return Ok(());
        }
        let is_status = matches!(value, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']);
        if pseudo_over || known != Known::Status || headers.contains(Known::Status) || !is_status {
            return Err(BadHead::Invalid);
        }
        headers.append_known(known, value);
        Ok(())
    })?;
    if headers.contains(Known::Status) { Ok(headers) } else { Err(BadHead::Invalid) }
}

/// Trailers of either side.
pub fn trailers(section: &[u8], bounds: Bounds) -> Result<HeaderList, BadHead> {
    let mut trailers = HeaderList::with_capacity(4, section.len() * 2);
    Fields::new(bounds).decode(section, |known, name, value, _| {
        if name.first() == Some(&b':') || is_of_connection(known, value) {
            return Err(BadHead::Invalid);
        }
        trailers.append(name, value);
        Ok(())
    })?;
    Ok(trailers)
}

/// Reads the fields of a section within its bounds.
struct Fields {
    bounds: Bounds,
    bytes: usize,
    count: usize,
    pseudo_over: bool,
}

impl Fields {
    fn new(bounds: Bounds) -> Fields {
        Fields { bounds, bytes: 0, count: 0, pseudo_over: false }
    }

    /// Hands on each field that is well formed, and whether a regular one came before.
    fn decode(&mut self, section: &[u8], mut each: impl FnMut(Known, &[u8], &[u8], bool) -> Result<(), BadHead>) -> Result<(), BadHead> {
        let mut bad = Ok(());
        let decoded = qpack::decode(section, self.bounds.bytes, |name, value| {
            if bad.is_ok() {
                bad = self.take(name, value).and_then(|pseudo_over| each(Known::of(name), name, value, pseudo_over));
            }
        });
        bad?;
        decoded.map_err(|qpack::Malformed| BadHead::Undecodable(Code::DECOMPRESSION_FAILED))
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<bool, BadHead> {
        self.bytes += name.len() + value.len();
        self.count += 1;
        if self.bytes > self.bounds.bytes {
            return Err(BadHead::TooLarge);
        }
        if self.count > self.bounds.count {
            return Err(BadHead::TooMany);
        }
        let regular = name.strip_prefix(b":").unwrap_or(name);
        let lower = regular.iter().all(|byte| !byte.is_ascii_uppercase()) && is_token(regular);
        if !lower || !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err(BadHead::Invalid);
        }
        let pseudo_over = self.pseudo_over;
        self.pseudo_over |= regular.len() == name.len();
        Ok(pseudo_over)
    }
}

/// Whether the header is about one connection, which has no meaning here.
fn is_of_connection(known: Known, value: &[u8]) -> bool {
    match known {
        Known::Connection | Known::KeepAlive | Known::ProxyConnection | Known::TransferEncoding | Known::Upgrade => true,
        Known::Te => value != b"trailers",
        _ => false,
    }
}

fn regular(headers: &mut HeaderList, known: Known, name: &[u8], value: &[u8]) -> Result<(), BadHead> {
    match known {
        _ if is_of_connection(known, value) => return Err(BadHead::Invalid),
        Known::Cookie if value.is_empty() => {}
        Known::Cookie => headers.join(known, b"; ", value),
        // Twice the same is twice too often: whoever reads it next may take another one for the last.
        Known::ContentLength if headers.contains(known) || value.is_empty() || !value.iter().all(u8::is_ascii_digit) => {
            return Err(BadHead::Invalid);
        }
        Known::Host if headers.contains(known) => return Err(BadHead::Invalid),
        known if is_joined_in_request(known) => headers.join(known, b",", value),
        _ => headers.append(name, value),
    }
    Ok(())
}

fn complete_request(headers: &mut HeaderList, protocol: Option<Vec<u8>>, bounds: Bounds) -> Result<(), BadHead> {
    let authority = headers.get(Known::Authority).ok_or(BadHead::Invalid)?;
    let method = headers.get(Known::Method).ok_or(BadHead::Invalid)?;
    if authority.is_empty() || !is_host(authority) || !is_token(method) {
        return Err(BadHead::Invalid);
    }
    if headers.get(Known::Host).is_some_and(|host| host != authority) {
        return Err(BadHead::Invalid);
    }
    let connect = method == b"CONNECT";
    if connect && protocol.is_none() {
        if headers.contains(Known::Path) || headers.contains(Known::Scheme) {
            return Err(BadHead::Invalid);
        }
    } else {
        let path = headers.get(Known::Path).filter(|path| !path.is_empty()).ok_or(BadHead::Invalid)?;
        if headers.get(Known::Scheme).is_none_or(<[u8]>::is_empty) || path.iter().any(|byte| !matches!(byte, b'!'..=b'~')) {
            return Err(BadHead::Invalid);
        }
        if path[0] != b'/' && !(path == b"*" && method == b"OPTIONS") {
            return Err(BadHead::Reset(Code::NO_ERROR));
        }
    }
    if let Some(protocol) = protocol {
        if !connect || !bounds.extended_connect || protocol.is_empty() {
            return Err(BadHead::Invalid);
        }
        headers.set(Known::Method, b"GET");
        headers.append_known(Known::Upgrade, &protocol);
        headers.append_known(Known::Connection, b"upgrade");
    }
    headers.remove(Known::Host);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1000, count: 20, extended_connect: true };
    const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")];

    fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = qpack::Encoder::new(&mut out);
        fields.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value.as_bytes()));
        out
    }

    fn read(fields: &[(&str, &str)]) -> Result<Vec<(String, String)>, BadHead> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        request(&section(fields), BOUNDS).map(|list| list.iter().map(|(_, name, value)| (text(name), text(value))).collect())
    }

    fn with(more: &[(&str, &str)]) -> Result<Vec<(String, String)>, BadHead> {
        read(&[&GET[..], more].concat())
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_head_keeps_its_order_and_cookies_become_one() {
        let more = [("cookie", "a=1"), ("x", "1"), ("te", "trailers"), ("x", "2"), ("cookie", "b=2"), ("host", "a.test")];
        let wanted = [("cookie", "a=1; b=2"), ("x", "1"), ("te", "trailers"), ("x", "2")];
        let found = with(&more).unwrap();
        assert_eq!(found, pairs(&[&GET[..], &wanted[..]].concat()));
    }

    #[test]
    fn extended_connect_is_an_upgrade() {
        let ask = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "a"), (":path", "/w")];
        let wanted = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/w")];
        assert_eq!(read(&ask).unwrap(), pairs(&[&wanted[..], &[("upgrade", "websocket"), ("connection", "upgrade")]].concat()));
        let off = Bounds { extended_connect: false, ..BOUNDS };
        assert!(matches!(request(&section(&ask), off), Err(BadHead::Invalid)));
        assert_eq!(read(&[(":method", "CONNECT"), (":authority", "a:80")]).unwrap().len(), 2);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let invalid: &[&[(&str, &str)]] = &[
            &[(":authority", "b.test")],
            &[(":foo", "1")],
            &[(":status", "200")],
            &[("host", "b.test")],
            &[("X-Up", "1")],
            &[("x a", "1")],
            &[("", "1")],
            &[("x", "a\0b")],
            &[("x", "a\r\nb: c")],
            &[("x", "\u{e9}")],
            &[("connection", "close")],
            &[("keep-alive", "1")],
            &[("te", "gzip")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "websocket")],
            &[("proxy-connection", "close")],
            &[("content-length", "x")],
            &[("content-length", "")],
            &[("content-length", "5"), ("content-length", "6")],
            &[(":protocol", "websocket")],
        ];
        for more in invalid {
            assert_eq!(with(more), Err(BadHead::Invalid), "{more:?}");
        }
        assert_eq!(with(&[(":path", "/y")]), Err(BadHead::Reset(Code::GENERAL_PROTOCOL_ERROR)));
        assert_eq!(with(&[("x", "1"), (":authority", "a.test")]), Err(BadHead::Reset(Code::GENERAL_PROTOCOL_ERROR)));
        assert_eq!(with(&[(":method", "POST")]), Err(BadHead::Reset(Code::NO_ERROR)));
        for left_out in 0..4 {
            let rest: Vec<_> = GET.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, f)| *f).collect();
            assert_eq!(read(&rest), Err(BadHead::Invalid), "{rest:?}");
        }
        for (path, wanted) in [("", BadHead::Invalid), ("/a b", BadHead::Invalid), ("*", BadHead::Reset(Code::NO_ERROR))] {
            assert_eq!(read(&[GET[0], GET[1], GET[2], (":path", path)]), Err(wanted), "{path}");
        }
    }

    #[test]
    fn bounds_hold() {
        let many = vec![("x", "1"); 17];
        assert_eq!(with(&many), Err(BadHead::TooMany));
        assert!(with(&many[1..]).is_ok());
        let long = "y".repeat(960);
        assert_eq!(with(&[("x", &long)]), Err(BadHead::TooLarge));
        assert!(with(&[("x", &long[..900])]).is_ok());
        assert!(matches!(request(b"\x00\x00\x80", BOUNDS), Err(BadHead::Undecodable(Code::DECOMPRESSION_FAILED))));
    }

    #[test]
    fn trailers_and_answers_have_rules_of_their_own() {
        assert!(matches!(trailers(&section(&[(":path", "/")]), BOUNDS), Err(BadHead::Invalid)));
        assert!(matches!(trailers(&section(&[("connection", "close")]), BOUNDS), Err(BadHead::Invalid)));
        assert_eq!(trailers(&section(&[("x-t", "1")]), BOUNDS).unwrap().len(), 1);
        assert_eq!(response(&section(&[(":status", "404"), ("x", "1")]), BOUNDS).unwrap().status(), 404);
        for bad in [&[("x", "1")][..], &[(":status", "20")], &[(":status", "200"), (":status", "200")], &[("x", "1"), (":status", "200")]] {
            assert!(matches!(response(&section(bad), BOUNDS), Err(BadHead::Invalid)), "{bad:?}");
        }
    }
}
