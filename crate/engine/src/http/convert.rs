//! Header lists to and from the types of the HTTP/2 library; the only place that knows both.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};

use super::header::{HeaderList, Known};

/// A request's head for the library; `None` where it cannot be expressed in HTTP/2.
pub fn request_to_http(headers: &HeaderList) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(headers.method()).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    let mut uri = Uri::builder();
    let connect = headers.method() == b"CONNECT" && !headers.contains(Known::Protocol);
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
    if let Some(protocol) = headers.get_str(Known::Protocol) {
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    *request.headers_mut() = to_map(headers);
    Some(request)
}

/// An answer's head for the library.
pub fn response_to_http(headers: &HeaderList) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(headers.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = to_map(headers);
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
/// missing `:authority`; several cookies become one, which stands last.
pub fn request_from_http(head: &http::request::Parts) -> HeaderList {
    let mut headers = HeaderList::with_capacity(head.headers.len() + 4, 256);
    let authority = head.uri.authority().map(|a| a.as_str().as_bytes()).or_else(|| head.headers.get("host").map(HeaderValue::as_bytes));
    headers.append_known(Known::Method, head.method.as_str().as_bytes());
    if let Some(path) = head.uri.path_and_query() {
        headers.append_known(Known::Path, path.as_str().as_bytes());
    }
    if let Some(authority) = authority {
        headers.append_known(Known::Authority, authority);
    }
    if let Some(scheme) = head.uri.scheme_str() {
        headers.append_known(Known::Scheme, scheme.as_bytes());
    }
    if let Some(protocol) = head.extensions.get::<h2::ext::Protocol>() {
        headers.append_known(Known::Protocol, protocol.as_str().as_bytes());
    }
    for (name, value) in &head.headers {
        match Known::of(name.as_str().as_bytes()) {
            Known::Host | Known::Cookie => {}
            _ => headers.append(name.as_str().as_bytes(), value.as_bytes()),
        }
    }
    for cookie in head.headers.get_all(http::header::COOKIE) {
        headers.join(Known::Cookie, b"; ", cookie.as_bytes());
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
