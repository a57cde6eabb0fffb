//! Envoy's own headers: what the connection manager and the router write into requests and answers, and what they take out. Pure.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    client_address,
    client_certificate::{self, ForwardClientCert},
    h1,
    header::{HeaderList, HeaderName, Known},
    local_reply::LocalReply,
    settings::{ClientAddress, ConnectionManager, Scheme, SchemeHeader, ServerHeader},
};
use crate::stream_info::ConnectionInfo;

/// What request headers are edited by, beside the request.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// The connection manager.
    pub settings: &'a ConnectionManager,
    /// The connection that the request came in on.
    pub connection: &'a ConnectionInfo,
    /// This machine's own address, which `x-forwarded-for` gets for a client on the loopback interface.
    pub local_address: IpAddr,
    /// `internal_only_headers` of the route table.
    pub internal_only: &'a [HeaderName],
}

/// What became clear about a request while its headers were edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address: the peer's, or what a trusted `x-forwarded-for` says (with port 0).
    pub client: SocketAddr,
    /// The request comes from an address that counts as internal.
    pub internal: bool,
}

/// Edits the headers of a request as Envoy's `mutateRequestHeaders` does, before it is routed.
///
/// `random` gives 64 random bits a call; it is asked for a request id only. `Err` is the answer where the client must be known and is not.
pub fn edit_request(headers: &mut HeaderList, context: RequestContext, random: impl FnMut() -> u64) -> Result<Origin, LocalReply> {
    let RequestContext { settings, connection, .. } = context;
    let present = Present::of(headers);
    if present.has(Known::Te) {
        h1::keep_trailers_only(headers, |entry| entry == b"trailers");
    }
    if (present.has(Known::Connection) || present.has(Known::Upgrade)) && !h1::is_upgrade(headers) {
        present.remove(headers, const { mask(&[Known::Connection, Known::Upgrade]) });
    }
    present.remove(headers, const { mask(&[Known::EnvoyInternal, Known::KeepAlive, Known::ProxyConnection, Known::TransferEncoding]) });
    if present.has(Known::Referer) && !headers.get(Known::Referer).is_none_or(is_referer) {
        headers.remove(Known::Referer);
    }

    let found = client_address::find(headers, &settings.client_address, connection.remote, context.local_address)?;
    let scheme = if connection.tls.is_some() { Scheme::Https } else { Scheme::Http };
    // Behind a balancer that ends TLS, the port that the client connected to tells.
    let announced = settings.forward_proto.as_ref().filter(|_| connection.local_restored).and_then(|by| by.of(connection.local.port()));
    let (scheme, spoken) = (scheme.as_str().as_bytes(), announced.unwrap_or(scheme).as_str().as_bytes());
    // What nobody in front of this proxy could be trusted with is written over.
    let (at_edge, overwrite) = match settings.client_address {
        ClientAddress::Peer { trusted_hops, .. } => (true, trusted_hops == 0),
        ClientAddress::Detected(_) => (false, false),
    };
    if overwrite || !present.has(Known::ForwardedProto) {
        headers.set(Known::ForwardedProto, spoken);
    }
    if settings.append_x_forwarded_port && (overwrite || !present.has(Known::ForwardedPort)) {
        set_number(headers, Known::ForwardedPort, u64::from(connection.local.port()));
    }
    match (settings.scheme_header, headers.get(Known::Scheme)) {
        (SchemeHeader::Overwrite(scheme), _) => {
            headers.set(Known::Scheme, scheme.as_str().as_bytes());
            headers.set(Known::ForwardedProto, scheme.as_str().as_bytes());
        }
        (_, None) => {
            let forwarded = headers.get(Known::ForwardedProto).unwrap_or_default();
            let scheme = [&b"http"[..], b"https"].into_iter().find(|known| forwarded.eq_ignore_ascii_case(known)).unwrap_or(scheme);
            headers.append_known(Known::Scheme, scheme);
        }
        (_, Some(scheme)) if scheme.iter().any(u8::is_ascii_uppercase) => {
            let scheme = scheme.to_ascii_lowercase();
            headers.set(Known::Scheme, &scheme);
        }
        _ => {}
    }

    let internal = found.trusted && found.address.is_some_and(|client| settings.internal_addresses.contains(client.ip()));
    let client = found.address.unwrap_or(connection.remote);
    let edge = at_edge && !internal;
    if internal {
        headers.append_known(Known::EnvoyInternal, b"true");
    } else {
        if edge {
            present.remove(headers, EDGE);
        }
        present.remove(headers, EXTERNAL);
        for name in context.internal_only {
            headers.remove_name(name);
        }
    }
    if let Some(agent) = &settings.user_agent {
        headers.set(Known::EnvoyDownstreamServiceCluster, agent.as_bytes());
        if headers.get(Known::UserAgent).is_none_or(<[u8]>::is_empty) {
            headers.set(Known::UserAgent, agent.as_bytes());
        }
        if !settings.node_name.is_empty() {
            headers.set(Known::EnvoyDownstreamServiceNode, settings.node_name.as_bytes());
        }
    }
    append_via(headers, &settings.via);
    if edge {
        headers.set(Known::EnvoyExternalAddress, Text::of(client.ip()).as_bytes());
    }
    if settings.generate_request_id {
        set_request_id(headers, edge, settings, random);
    }
    if settings.forward_client_cert != ForwardClientCert::Sanitize || present.has(Known::ForwardedClientCert) {
        client_certificate::edit(headers, settings.forward_client_cert, connection.tls.as_ref());
    }
    Ok(Origin { client, internal })
}

/// Taken from every request that is not internal, before it is routed.
const EXTERNAL: u128 = mask(&[
    Known::EnvoyRetriableStatusCodes,
    Known::EnvoyRetriableHeaderNames,
    Known::EnvoyRetryOn,
    Known::EnvoyRetryGrpcOn,
    Known::EnvoyMaxRetries,
    Known::EnvoyUpstreamAltStatName,
    Known::EnvoyUpstreamRqTimeoutMs,
    Known::EnvoyUpstreamRqPerTryTimeoutMs,
    Known::EnvoyUpstreamRqTimeoutAltResponse,
    Known::EnvoyUpstreamStreamDurationMs,
    Known::EnvoyExpectedRqTimeoutMs,
    Known::EnvoyForceTrace,
    Known::EnvoyIpTags,
    Known::EnvoyOriginalUrl,
    Known::EnvoyHedgeOnPerTryTimeout,
]);

/// Taken also where this proxy is the first one.
const EDGE: u128 = mask(&[
    Known::EnvoyDecoratorOperation,
    Known::EnvoyDownstreamServiceCluster,
    Known::EnvoyDownstreamServiceNode,
    Known::EnvoyOriginalPath,
    Known::EnvoyOriginalHost,
]);

/// The router reads these before the route's header edits, and never sends a client's upstream.
const CONTROLS: u128 = mask(&[
    Known::EnvoyUpstreamAltStatName,
    Known::EnvoyUpstreamRqTimeoutMs,
    Known::EnvoyUpstreamRqPerTryTimeoutMs,
    Known::EnvoyUpstreamRqTimeoutAltResponse,
    Known::EnvoyUpstreamStreamDurationMs,
    Known::EnvoyHedgeOnPerTryTimeout,
]);

/// The router reads these behind the route's header edits, and never sends them upstream.
const RETRY_CONTROLS: u128 = mask(&[
    Known::EnvoyRetryOn,
    Known::EnvoyRetryGrpcOn,
    Known::EnvoyMaxRetries,
    Known::EnvoyRetriableStatusCodes,
    Known::EnvoyRetriableHeaderNames,
    Known::EnvoyHedgeOnPerTryTimeout,
    Known::EnvoyUpstreamRqPerTryTimeoutMs,
]);

/// Takes the control headers of a request out, except those about retries, and calls `set` with each.
///
/// With `respect_expected`, `x-envoy-expected-rq-timeout-ms` is one of them; it stays, and so does then `x-envoy-upstream-rq-timeout-ms`,
/// which is not read.
pub fn take_controls(headers: &mut HeaderList, respect_expected: bool, mut set: impl FnMut(Known, &[u8])) {
    let present = Present::of(headers);
    let mut taken = CONTROLS;
    if respect_expected && let Some(expected) = headers.get(Known::EnvoyExpectedRqTimeoutMs) {
        set(Known::EnvoyExpectedRqTimeoutMs, expected);
        taken &= !mask(&[Known::EnvoyUpstreamRqTimeoutMs]);
    }
    if present.0 & taken != 0 {
        headers.iter().filter(|(known, ..)| taken & 1 << *known as u8 != 0).for_each(|(known, _, value)| set(known, value));
        present.remove(headers, taken);
    }
}

/// Whether a request has control headers about retries.
pub fn has_retry_controls(headers: &HeaderList) -> bool {
    Present::of(headers).0 & RETRY_CONTROLS != 0
}

/// Removes the control headers about retries.
pub fn remove_retry_controls(headers: &mut HeaderList) {
    Present(RETRY_CONTROLS).remove(headers, RETRY_CONTROLS);
}

/// Writes a number as a header's value in place of what is there.
pub fn set_number(headers: &mut HeaderList, name: Known, value: u64) {
    headers.set(name, Decimal::new(value).as_bytes());
}

/// Replaces `:path`, and keeps the first one that a request had in `x-envoy-original-path`.
pub fn rewrite_path(headers: &mut HeaderList, path: &[u8]) {
    let original = headers.path().to_vec();
    headers.set(Known::EnvoyOriginalPath, &original);
    headers.set(Known::Path, path);
}

/// What the headers of an answer are edited by, beside the answer.
#[derive(Clone, Copy)]
pub struct ResponseContext<'a> {
    /// The connection manager.
    pub settings: &'a ConnectionManager,
    /// The request's headers; `None` where it could not be read.
    pub request: Option<&'a HeaderList>,
    /// The date to write, from [`DateCache`].
    pub date: &'a [u8],
}

/// Edits the headers of an answer as Envoy's connection manager does before it goes to the client: `date`, `server`, hop-by-hop headers,
/// `x-request-id`, `via`. What the connection itself says ([`set_connection`]) comes behind.
pub fn edit_response(headers: &mut HeaderList, context: ResponseContext) {
    let settings = context.settings;
    let present = Present::of(headers);
    if !present.has(Known::Date) {
        headers.append_known(Known::Date, context.date);
    }
    match settings.server_header {
        ServerHeader::Overwrite if present.has(Known::Server) => headers.set(Known::Server, settings.server_name.as_bytes()),
        ServerHeader::AppendIfAbsent | ServerHeader::Overwrite if !present.has(Known::Server) => {
            headers.append_known(Known::Server, settings.server_name.as_bytes());
        }
        _ => {}
    }
    let upgrade = present.has(Known::Upgrade) && context.request.is_some_and(h1::is_upgrade) && h1::is_upgrade(headers);
    if upgrade {
        if !(100..200).contains(&headers.status()) && !present.has(Known::ContentLength) && !present.has(Known::TransferEncoding) {
            headers.append_known(Known::ContentLength, b"0");
        }
    } else {
        present.remove(headers, const { mask(&[Known::Connection, Known::Upgrade]) });
    }
    present.remove(headers, const { mask(&[Known::TransferEncoding, Known::KeepAlive, Known::ProxyConnection]) });
    if let Some(request) = context.request
        && (settings.always_set_request_id_in_response || request.contains(Known::EnvoyForceTrace))
        && let Some(id) = request.get(Known::RequestId)
    {
        headers.set(Known::RequestId, id);
    }
    append_via(headers, &settings.via);
}

/// Writes `connection: close`, or `keep-alive` for an HTTP/1.0 client that asked for it.
pub fn set_connection(headers: &mut HeaderList, close: bool) {
    headers.set(Known::Connection, if close { b"close" } else { b"keep-alive" });
}

/// Writes `x-envoy-upstream-service-time`, which Envoy puts behind the upstream's own headers.
pub fn set_upstream_service_time(headers: &mut HeaderList, time: Duration) {
    set_number(headers, Known::EnvoyUpstreamServiceTime, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
}

/// One look at which known headers there are, so that those that are not there cost nothing.
#[derive(Clone, Copy)]
struct Present(u128);

impl Present {
    fn of(headers: &HeaderList) -> Present {
        Present(headers.iter().fold(0, |seen, (known, ..)| seen | 1 << known as u8))
    }

    fn has(self, known: Known) -> bool {
        self.0 & 1 << known as u8 != 0
    }

    /// Removes the names of a [`mask`].
    fn remove(self, headers: &mut HeaderList, mask: u128) {
        if self.0 & mask != 0 {
            headers.retain(|known, _, _| mask & 1 << known as u8 == 0);
        }
    }
}

/// One bit for each name.
const fn mask(names: &[Known]) -> u128 {
    let mut mask = 0;
    let mut at = 0;
    while at < names.len() {
        mask |= 1 << names[at] as u8;
        at += 1;
    }
    mask
}

fn append_via(headers: &mut HeaderList, via: &str) {
    if !via.is_empty() {
        append_value(headers, Known::Via, b", ", via.as_bytes());
    }
}

/// Appends to the value of a header that is kept once; no separator stands beside an empty value.
pub fn append_value(headers: &mut HeaderList, name: Known, separator: &[u8], value: &[u8]) {
    match headers.get(name) {
        Some(_) if value.is_empty() => {}
        Some([]) => headers.set(name, value),
        _ => headers.join(name, separator, value),
    }
}

/// Position of the digit in a request id that says whether and why the request is traced; `4`, a UUID's version, says that it is not.
const TRACE_DIGIT: usize = 14;

fn set_request_id(headers: &mut HeaderList, edge: bool, settings: &ConnectionManager, mut random: impl FnMut() -> u64) {
    match headers.get(Known::RequestId) {
        Some(id) if !id.is_empty() && !edge => {}
        Some(id) if !id.is_empty() && settings.preserve_external_request_id => {
            // A client outside must not decide that it is traced.
            if settings.pack_trace_reason && id.len() == 36 && id[TRACE_DIGIT] != b'4' {
                let mut id = id.to_vec();
                id[TRACE_DIGIT] = b'4';
                headers.set(Known::RequestId, &id);
            }
        }
        _ => headers.set(Known::RequestId, &uuid(random(), random())),
    }
}

/// A version 4 UUID of 128 random bits, as text.
pub fn uuid(high: u64, low: u64) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = (u128::from(high) << 64 | u128::from(low)) & !(0xf000 << 64) & !(0xc << 60) | 0x4000 << 64 | 0x8 << 60;
    let bytes = bits.to_be_bytes();
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// Whether Envoy lets a `referer` pass: an absolute URL with a plain authority, or a relative one; without fragment.
fn is_referer(value: &[u8]) -> bool {
    if value.iter().any(|b| *b <= b' ' || *b >= 0x7f) {
        return false;
    }
    let fragment = value.iter().position(|b| *b == b'#');
    match value.iter().find(|b| matches!(b, b':' | b'/')) {
        // Envoy lets an empty fragment pass behind an absolute URL only.
        Some(b':') => match fragment {
            Some(at) => at + 1 == value.len() && h1::is_absolute_url(&value[..at]),
            None => h1::is_absolute_url(value),
        },
        _ => fragment.is_none(),
    }
}

/// The `date` of answers: made once a second.
#[derive(Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; 29],
}

impl Default for DateCache {
    fn default() -> DateCache {
        DateCache { second: 0, text: http_date(0) }
    }
}

impl DateCache {
    /// The text for this moment, such as `Tue, 24 Nov 2026 08:51:33 GMT`.
    pub fn at(&mut self, now: SystemTime) -> &[u8; 29] {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.text = http_date(second);
        }
        &self.text
    }
}

fn http_date(second: u64) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let days = second / 86400;
    // Days are counted from 1 March of year 0, so that the leap day is a year's last (Hinnant's civil_from_days).
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    // Four digits are written; a clock past the year 9999 is wrong anyway.
    let year = (year_of_era + shifted / 146_097 * 400 + u64::from(month <= 2)) % 10_000;

    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    let name = (month as usize - 1) * 3;
    text[8..11].copy_from_slice(&MONTHS[name..name + 3]);
    let time = second % 86400;
    for (at, number) in [(5, day), (12, year / 100), (14, year % 100), (17, time / 3600), (20, time / 60 % 60), (23, time % 60)] {
        text[at] = b'0' + (number / 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
    text
}

/// A number's decimal digits without an allocation.
pub struct Decimal {
    digits: [u8; 20],
    from: usize,
}

impl Decimal {
    /// The digits of `number`.
    pub fn new(mut number: u64) -> Decimal {
        let mut decimal = Decimal { digits: [b'0'; 20], from: 20 };
        loop {
            decimal.from -= 1;
            decimal.digits[decimal.from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[self.from..]
    }
}

/// The text of an address without an allocation.
pub(super) struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    pub(super) fn of(address: IpAddr) -> Text {
        let mut text = Text { bytes: [0; 48], length: 0 };
        // The longest address has 45 characters, so that this cannot fail.
        let _ = write!(text, "{address}");
        text
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
