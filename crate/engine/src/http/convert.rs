//! Header lists to and from the types of the HTTP/2 library; the only place that knows both.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};

use super::{
    h1::{self, is_joined_in_request},
    header::{HeaderList, Known},
};

/// A request's head for the library; `None` where it cannot be expressed in HTTP/2.
pub fn request_to_http(headers: &HeaderList) -> Option<Request<()>> {
    let mut request = Request::new(());
    let upgrade = if h1::is_upgrade(headers) { headers.get_str(Known::Upgrade) } else { None };
    *request.method_mut() = if upgrade.is_some() { Method::CONNECT } else { Method::from_bytes(headers.method()).ok()? };
    *request.version_mut() = http::Version::HTTP_2;
    let mut uri = Uri::builder();
    let connect = headers.method() == b"CONNECT";
    if let Some(authority) = headers.get(Known::Authority).filter(|a| !a.is_empty()) {
        uri = uri.authority(authority);
        if !connect {
            uri = uri.scheme(headers.get(Known::Scheme).unwrap_or(b"http"));
        }
    }
    if !connect {
        uri = uri.path_and_query(headers.path());
    }
    *request.uri_mut() = uri.build().ok()?;
    *request.headers_mut() = to_map(headers);
    if let Some(kind) = upgrade {
        request.extensions_mut().insert(h2::ext::Protocol::from(kind));
        remove_no_length(request.headers_mut());
    }
    Some(request)
}

/// What tells that there is no body says nothing of a tunnel.
fn remove_no_length(map: &mut HeaderMap) {
    if map.get(http::header::CONTENT_LENGTH).is_some_and(|length| length == "0") {
        map.remove(http::header::CONTENT_LENGTH);
    }
}

/// An answer's head for the library; a switch of protocols is a success there (RFC 8441).
pub fn response_to_http(headers: &HeaderList) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(headers.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = to_map(headers);
    if headers.status() == 101 {
        *response.status_mut() = StatusCode::OK;
        remove_no_length(response.headers_mut());
    }
    response
}

/// Headers or trailers for the library: without pseudo-headers and those that HTTP/2 forbids.
pub fn to_map(headers: &HeaderList) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (known, name, value) in headers.iter() {
        if name.first() == Some(&b':') || is_connection_header(known) || (known == Known::Te && value != b"trailers") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// Whether HTTP/2 forbids the header.
pub fn is_connection_header(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::Host
            | Known::Http2Settings
    )
}

/// A request's head from the library, pseudo-headers first, as Envoy orders them. A `host` header takes the place of a
/// missing `:authority`; several cookies become one, which stands last. Extended CONNECT (RFC 8441) becomes the upgrade that it is in HTTP/1.
pub fn request_from_http(head: &http::request::Parts) -> HeaderList {
    let mut headers = HeaderList::with_capacity(head.headers.len() + 4, 256);
    let authority = head.uri.authority().map(|a| a.as_str().as_bytes()).or_else(|| head.headers.get("host").map(HeaderValue::as_bytes));
    let protocol = head.extensions.get::<h2::ext::Protocol>();
    headers.append_known(Known::Method, if protocol.is_some() { b"GET" } else { head.method.as_str().as_bytes() });
    if let Some(path) = head.uri.path_and_query() {
        headers.append_known(Known::Path, path.as_str().as_bytes());
    }
    if let Some(authority) = authority {
        headers.append_known(Known::Authority, authority);
    }
    if let Some(scheme) = head.uri.scheme_str() {
        headers.append_known(Known::Scheme, scheme.as_bytes());
    }
    for (name, value) in &head.headers {
        match Known::of(name.as_str().as_bytes()) {
            Known::Host | Known::Cookie => {}
            known if is_joined_in_request(known) => headers.join(known, b",", value.as_bytes()),
            _ => headers.append(name.as_str().as_bytes(), value.as_bytes()),
        }
    }
    for cookie in head.headers.get_all(http::header::COOKIE).iter().filter(|c| !c.is_empty()) {
        headers.join(Known::Cookie, b"; ", cookie.as_bytes());
    }
    if let Some(protocol) = protocol {
        headers.append_known(Known::Upgrade, protocol.as_str().as_bytes());
        headers.append_known(Known::Connection, b"upgrade");
    }
    headers
}

/// An answer's head from the library.
pub fn response_from_http(status: StatusCode, map: &HeaderMap) -> HeaderList {
    let mut headers = HeaderList::with_capacity(map.len() + 8, 256);
    headers.append_known(Known::Status, status.as_str().as_bytes());
    append_map(map, &mut headers);
    headers
}

/// Trailers from the library.
pub fn from_map(map: &HeaderMap) -> HeaderList {
    let mut headers = HeaderList::with_capacity(map.len(), 64);
    append_map(map, &mut headers);
    headers
}

fn append_map(map: &HeaderMap, headers: &mut HeaderList) {
    for (name, value) in map {
        headers.append(name.as_str().as_bytes(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(headers: &[(&str, &str)]) -> HeaderList {
        let mut list = HeaderList::new();
        headers.iter().for_each(|(name, value)| list.append(name.as_bytes(), value.as_bytes()));
        list
    }

    fn pairs(list: &HeaderList) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        list.iter().map(|(_, name, value)| (text(name), text(value))).collect()
    }

    fn wanted(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_request_goes_to_the_library_and_comes_back() {
        let head =
            [(":method", "POST"), (":path", "/a?b=c"), (":authority", "a.com:8080"), (":scheme", "https"), ("x-a", "1"), ("x-a", "2")];
        let request = request_to_http(&list(&head)).unwrap();
        assert_eq!(request.uri().to_string(), "https://a.com:8080/a?b=c");
        assert_eq!(pairs(&request_from_http(&request.into_parts().0)), wanted(&head));
    }

    #[test]
    fn what_http2_forbids_stays_behind() {
        let headers = list(&[
            ("connection", "x-a"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "a"),
            ("te", "gzip"),
            ("x-a", "kept"),
        ]);
        assert_eq!(pairs(&from_map(&to_map(&headers))), wanted(&[("x-a", "kept")]));
        assert_eq!(pairs(&from_map(&to_map(&list(&[("te", "trailers")])))), wanted(&[("te", "trailers")]));
    }

    #[test]
    fn host_stands_in_for_the_authority_and_cookies_become_one() {
        let request = Request::builder().uri("/").header("host", "a.com").header("cookie", "a=1").header("x", "y").header("cookie", "b=2");
        let headers = request_from_http(&request.body(()).unwrap().into_parts().0);
        let same = [(":method", "GET"), (":path", "/"), (":authority", "a.com"), ("x", "y"), ("cookie", "a=1; b=2")];
        assert_eq!(pairs(&headers), wanted(&same));
    }

    #[test]
    fn connect_has_an_authority_only_unless_it_names_a_protocol() {
        let plain = request_to_http(&list(&[(":method", "CONNECT"), (":authority", "a.com:443")])).unwrap();
        assert_eq!((plain.uri().to_string(), plain.uri().scheme()), ("a.com:443".to_owned(), None));
        let head = [(":method", "GET"), (":path", "/chat"), (":authority", "a.com"), (":scheme", "http")];
        let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
        let mut request = list(&[&head[..], &upgrade[..]].concat());
        let extended = request_to_http(&request).unwrap();
        assert_eq!((extended.method(), extended.uri().to_string()), (&Method::CONNECT, "http://a.com/chat".to_owned()));
        assert_eq!(extended.extensions().get::<h2::ext::Protocol>().map(|p| p.as_str()), Some("websocket"));
        assert_eq!(pairs(&request_from_http(&extended.into_parts().0)), wanted(&[&head[..], &upgrade[..]].concat()));
        request.append(b"content-length", b"0");
        assert!(request_to_http(&request).unwrap().headers().is_empty());
        assert_eq!(response_to_http(&list(&[(":status", "101"), ("upgrade", "websocket")])).status(), 200);
    }

    #[test]
    fn a_head_that_http2_cannot_say_is_refused() {
        assert!(request_to_http(&list(&[(":method", "G T"), (":path", "/"), (":authority", "a")])).is_none());
        assert!(request_to_http(&list(&[(":method", "GET"), (":path", "/"), (":authority", "a b")])).is_none());
    }

    #[test]
    fn an_answer_goes_to_the_library_and_comes_back() {
        let head = [(":status", "404"), ("x-a", "1")];
        let (parts, ()) = response_to_http(&list(&head)).into_parts();
        assert_eq!(pairs(&response_from_http(parts.status, &parts.headers)), wanted(&head));
        assert_eq!(response_to_http(&HeaderList::new()).status(), 502);
    }
}
