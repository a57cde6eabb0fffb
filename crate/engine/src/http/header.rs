//! The one header list of both protocols: ordered, with duplicates, in one arena, pseudo-headers included.
//!
//! A request's method, path, authority and scheme, and an answer's status, are entries too (`:method` and so on, as
//! in Envoy), so that matchers and formatters need no second way to read them. Names are lower case; the case that
//! arrived can go with them for codecs that must give it back ([`Casing`]).

use std::fmt;

use super::casing::Casing;

macro_rules! known_headers {
    ($($variant:ident => $name:literal,)*) => {
        /// Headers that the engine itself reads or writes; every other name is [`Known::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known { Other, $($variant,)* }

        impl Known {
            /// The variant of a lower-case name.
            pub fn of(name: &[u8]) -> Known {
                const ALL: &[Known] = &[Known::Other, $(Known::$variant,)*];
                const NAMES: &[&str] = &["", $($name,)*];
                const SLOTS: [u8; 512] = super::slots(NAMES);
                if name.is_empty() {
                    return Known::Other;
                }
                let mut slot = super::slot(name);
                loop {
                    // A zero ends the run of a slot, and the table is never full, so that the loop ends.
                    let at = SLOTS[slot] as usize;
                    if at == 0 || NAMES[at].as_bytes() == name {
                        return ALL[at];
                    }
                    slot = (slot + 1) % SLOTS.len();
                }
            }

            /// The lower-case name; empty for `Other`.
            pub const fn name(self) -> &'static str {
                match self { Known::Other => "", $(Known::$variant => $name,)* }
            }
        }
    };
}

/// The hash of a name in the table of known ones: its length and three of its bytes tell them apart well enough.
const fn slot(name: &[u8]) -> usize {
    let n = name.len();
    (n * 73 + name[0] as usize * 31 + name[n - 1] as usize * 7 + name[n / 2] as usize * 193) % 512
}

/// Open addressing with linear probing, laid out by the compiler.
const fn slots(names: &[&str]) -> [u8; 512] {
    let mut slots = [0; 512];
    let mut at = 1;
    while at < names.len() {
        let mut slot = slot(names[at].as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % 512;
        }
        slots[slot] = at as u8;
        at += 1;
    }
    slots
}

mod known {
    known_headers! {
        Method => ":method", Path => ":path", Authority => ":authority", Scheme => ":scheme", Protocol => ":protocol", Status => ":status",
        Accept => "accept", AcceptEncoding => "accept-encoding", Authorization => "authorization", CacheControl => "cache-control",
        Connection => "connection", ContentEncoding => "content-encoding", ContentLength => "content-length", ContentType => "content-type", Cookie => "cookie",
        Date => "date", Expect => "expect", ForwardedClientCert => "x-forwarded-client-cert", GrpcMessage => "grpc-message",
        GrpcStatus => "grpc-status", GrpcTimeout => "grpc-timeout", GrpcAcceptEncoding => "grpc-accept-encoding", Host => "host", Http2Settings => "http2-settings",
        KeepAlive => "keep-alive", Location => "location", Origin => "origin", ProxyAuthenticate => "proxy-authenticate",
        ProxyAuthorization => "proxy-authorization", ProxyConnection => "proxy-connection", ProxyStatus => "proxy-status", Referer => "referer", RetryAfter => "retry-after",
        Server => "server", SetCookie => "set-cookie", Te => "te", Trailer => "trailer", TransferEncoding => "transfer-encoding", Upgrade => "upgrade",
        UserAgent => "user-agent", Via => "via", ForwardedFor => "x-forwarded-for", ForwardedHost => "x-forwarded-host", ForwardedPort => "x-forwarded-port",
        ForwardedProto => "x-forwarded-proto", RequestId => "x-request-id", ClientTraceId => "x-client-trace-id", EnvoyAttemptCount => "x-envoy-attempt-count",
        EnvoyDegraded => "x-envoy-degraded", EnvoyDecoratorOperation => "x-envoy-decorator-operation", EnvoyDownstreamServiceCluster => "x-envoy-downstream-service-cluster",
        EnvoyDownstreamServiceNode => "x-envoy-downstream-service-node", EnvoyExpectedRqTimeoutMs => "x-envoy-expected-rq-timeout-ms",
        EnvoyExternalAddress => "x-envoy-external-address", EnvoyForceTrace => "x-envoy-force-trace", EnvoyHedgeOnPerTryTimeout => "x-envoy-hedge-on-per-try-timeout",
        EnvoyImmediateHealthCheckFail => "x-envoy-immediate-health-check-fail", EnvoyInternal => "x-envoy-internal", EnvoyIpTags => "x-envoy-ip-tags",
        EnvoyIsTimeoutRetry => "x-envoy-is-timeout-retry", EnvoyMaxRetries => "x-envoy-max-retries", EnvoyOriginalHost => "x-envoy-original-host", EnvoyOriginalPath => "x-envoy-original-path",
        EnvoyOriginalUrl => "x-envoy-original-url", EnvoyOverloaded => "x-envoy-overloaded", EnvoyRateLimited => "x-envoy-ratelimited",
        EnvoyRetriableHeaderNames => "x-envoy-retriable-header-names", EnvoyRetriableStatusCodes => "x-envoy-retriable-status-codes", EnvoyRetryGrpcOn => "x-envoy-retry-grpc-on",
        EnvoyRetryOn => "x-envoy-retry-on", EnvoyUpstreamAltStatName => "x-envoy-upstream-alt-stat-name", EnvoyUpstreamCanary => "x-envoy-upstream-canary",
        EnvoyUpstreamHealthCheckedCluster => "x-envoy-upstream-healthchecked-cluster", EnvoyUpstreamRqPerTryTimeoutMs => "x-envoy-upstream-rq-per-try-timeout-ms",
        EnvoyUpstreamRqTimeoutAltResponse => "x-envoy-upstream-rq-timeout-alt-response", EnvoyUpstreamRqTimeoutMs => "x-envoy-upstream-rq-timeout-ms",
        AccessControlAllowCredentials => "access-control-allow-credentials", AccessControlAllowHeaders => "access-control-allow-headers",
        AccessControlAllowMethods => "access-control-allow-methods", AccessControlAllowPrivateNetwork => "access-control-allow-private-network",
        AccessControlExposeHeaders => "access-control-expose-headers", AccessControlMaxAge => "access-control-max-age",
        AccessControlRequestPrivateNetwork => "access-control-request-private-network",
        AccessControlAllowOrigin => "access-control-allow-origin", AccessControlRequestHeaders => "access-control-request-headers",
        AccessControlRequestMethod => "access-control-request-method", Age => "age", CdnLoop => "cdn-loop", Etag => "etag", Expires => "expires",
        IfModifiedSince => "if-modified-since", IfMatch => "if-match", IfNoneMatch => "if-none-match", IfRange => "if-range", LastModified => "last-modified", Pragma => "pragma", Vary => "vary",
        EnvoyUpstreamServiceTime => "x-envoy-upstream-service-time", EnvoyUpstreamStreamDurationMs => "x-envoy-upstream-stream-duration-ms",
    }
}
pub use known::Known;

/// A header name of a configuration: lower case, its [`Known`] variant resolved once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderName {
    known: Known,
    text: Box<str>,
}

impl HeaderName {
    /// Lower-cases `name`.
    pub fn new(name: &str) -> HeaderName {
        let text = name.to_ascii_lowercase().into_boxed_str();
        HeaderName { known: Known::of(text.as_bytes()), text }
    }

    /// As [`HeaderName::new`], for looking into requests: what a configuration calls `host` is `:authority` there.
    pub fn of_request(name: &str) -> HeaderName {
        if name.eq_ignore_ascii_case("host") { HeaderName::from(Known::Authority) } else { HeaderName::new(name) }
    }

    /// The variant, or `Other`.
    pub fn known(&self) -> Known {
        self.known
    }

    /// The lower-case name.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<Known> for HeaderName {
    fn from(known: Known) -> HeaderName {
        HeaderName { known, text: known.name().into() }
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Copy)]
struct Entry {
    known: Known,
    name_len: u16,
    name: u32,
    value: u32,
    value_len: u32,
}

/// Headers in order of arrival, duplicates kept.
#[derive(Clone, Default)]
pub struct HeaderList {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    casing: Option<Box<Casing>>,
}

impl HeaderList {
    /// An empty list.
    pub fn new() -> HeaderList {
        HeaderList::default()
    }

    /// An empty list with room for `headers` entries and `bytes` of text.
    pub fn with_capacity(headers: usize, bytes: usize) -> HeaderList {
        HeaderList { arena: Vec::with_capacity(bytes), entries: Vec::with_capacity(headers), casing: None }
    }

    /// Removes everything and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.casing = None;
    }

    /// Number of entries, pseudo-headers included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sum of the lengths of all names and values, which Envoy's limits and `%..._HEADERS_BYTES%` count.
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|e| e.name_len as usize + e.value_len as usize).sum()
    }

    /// Adds an entry at the end; `name` may have any case, only its lower-case form is kept.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let at = self.arena.len();
        self.arena.extend_from_slice(name);
        self.arena[at..].make_ascii_lowercase();
        let known = Known::of(&self.arena[at..]);
        let value_at = self.push_text(value);
        self.push(known, at, name.len(), value_at, value.len());
    }

    /// Adds an entry of a known name at the end.
    pub fn append_known(&mut self, known: Known, value: &[u8]) {
        debug_assert!(known != Known::Other);
        let at = self.push_text(known.name().as_bytes());
        let value_at = self.push_text(value);
        self.push(known, at, known.name().len(), value_at, value.len());
    }

    /// Adds an entry of a configured name at the end.
    pub fn append_name(&mut self, name: &HeaderName, value: &[u8]) {
        let at = self.push_text(name.text.as_bytes());
        let value_at = self.push_text(value);
        self.push(name.known, at, name.text.len(), value_at, value.len());
    }

    /// The first value of a known name.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        debug_assert!(known != Known::Other);
        self.entries.iter().find(|e| e.known == known).map(|e| self.value(e))
    }

    /// The first value as text; `None` where absent or not UTF-8.
    pub fn get_str(&self, known: Known) -> Option<&str> {
        self.get(known).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// The first value of a configured name.
    pub fn get_name(&self, name: &HeaderName) -> Option<&[u8]> {
        self.entries.iter().find(|e| self.is(e, name)).map(|e| self.value(e))
    }

    /// All values of a configured name, in order.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.entries.iter().filter(|e| self.is(e, name)).map(|e| self.value(e))
    }

    /// All values of a known name, in order.
    pub fn get_all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        debug_assert!(known != Known::Other);
        self.entries.iter().filter(move |e| e.known == known).map(|e| self.value(e))
    }

    /// Whether a known name is there.
    pub fn contains(&self, known: Known) -> bool {
        self.entries.iter().any(|e| e.known == known)
    }

    /// Replaces the first value where it stands and removes further ones, or adds the entry at the end.
    pub fn set(&mut self, known: Known, value: &[u8]) {
        match self.entries.iter().position(|e| e.known == known) {
            Some(at) => {
                self.replace_value(at, value);
                let mut seen = false;
                self.entries.retain(|e| e.known != known || !std::mem::replace(&mut seen, true));
            }
            None => self.append_known(known, value),
        }
    }

    /// As Envoy's `setCopy`: removes every entry of the name, then adds one at the end.
    pub fn set_name(&mut self, name: &HeaderName, value: &[u8]) {
        if name.text.starts_with(':') {
            return self.set(name.known, value);
        }
        self.remove_name(name);
        self.append_name(name, value);
    }

    /// Appends `value` to the first value behind `separator`, or adds the entry at the end.
    pub fn join(&mut self, known: Known, separator: &[u8], value: &[u8]) {
        match self.entries.iter().position(|e| e.known == known) {
            Some(at) => {
                let (from, len) = (self.entries[at].value as usize, self.entries[at].value_len as usize);
                let start = self.arena.len();
                self.arena.extend_from_within(from..from + len);
                self.arena.extend_from_slice(separator);
                self.arena.extend_from_slice(value);
                self.entries[at].value = start as u32;
                self.entries[at].value_len = (self.arena.len() - start) as u32;
            }
            None => self.append_known(known, value),
        }
    }

    /// Removes every entry of a known name; says whether there was one.
    pub fn remove(&mut self, known: Known) -> bool {
        debug_assert!(known != Known::Other);
        let before = self.entries.len();
        self.entries.retain(|e| e.known != known);
        self.entries.len() != before
    }

    /// Removes every entry of a configured name; says whether there was one.
    pub fn remove_name(&mut self, name: &HeaderName) -> bool {
        let before = self.entries.len();
        if name.known != Known::Other {
            self.entries.retain(|e| e.known != name.known);
        } else {
            let arena = &self.arena;
            self.entries.retain(|e| e.known != Known::Other || text(arena, e.name, e.name_len as u32) != name.text.as_bytes());
        }
        self.entries.len() != before
    }

    /// Removes every entry for which `keep` is false; it is given the variant, the lower-case name and the value.
    pub fn retain(&mut self, mut keep: impl FnMut(Known, &[u8], &[u8]) -> bool) {
        let arena = &self.arena;
        self.entries.retain(|e| keep(e.known, text(arena, e.name, e.name_len as u32), text(arena, e.value, e.value_len)));
    }

    /// Every entry in order: variant, lower-case name, value. Pseudo-headers are included.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.entries.iter().map(|e| (e.known, text(&self.arena, e.name, e.name_len as u32), self.value(e)))
    }

    /// How the names arrived, where that is to be kept.
    pub fn casing(&self) -> Option<&Casing> {
        self.casing.as_deref()
    }

    /// Says how the names arrived.
    pub fn set_casing(&mut self, casing: Option<Casing>) {
        self.casing = casing.map(Box::new);
    }

    /// `:path`, or nothing.
    pub fn path(&self) -> &[u8] {
        self.get(Known::Path).unwrap_or_default()
    }

    /// `:method`, or nothing.
    pub fn method(&self) -> &[u8] {
        self.get(Known::Method).unwrap_or_default()
    }

    /// `:authority`, or nothing.
    pub fn authority(&self) -> &[u8] {
        self.get(Known::Authority).unwrap_or_default()
    }

    /// `:status` as a number; 0 where absent or not a number.
    pub fn status(&self) -> u16 {
        self.get_str(Known::Status).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// Writes `:status`.
    pub fn set_status(&mut self, status: u16) {
        let digits = [b'0' + (status / 100 % 10) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8];
        self.set(Known::Status, &digits);
    }

    fn push_text(&mut self, text: &[u8]) -> usize {
        let at = self.arena.len();
        self.arena.extend_from_slice(text);
        at
    }

    fn push(&mut self, known: Known, name: usize, name_len: usize, value: usize, value_len: usize) {
        // Codecs bound a header block to far less than 4 GiB and a name to 64 KiB before they add it.
        debug_assert!(name_len <= usize::from(u16::MAX) && value + value_len <= u32::MAX as usize);
        let entry = Entry { known, name_len: name_len as u16, name: name as u32, value: value as u32, value_len: value_len as u32 };
        self.entries.push(entry);
    }

    fn replace_value(&mut self, at: usize, value: &[u8]) {
        let entry = &mut self.entries[at];
        if value.len() <= entry.value_len as usize {
            let from = entry.value as usize;
            self.arena[from..from + value.len()].copy_from_slice(value);
        } else {
            entry.value = self.arena.len() as u32;
            self.arena.extend_from_slice(value);
        }
        self.entries[at].value_len = value.len() as u32;
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        text(&self.arena, entry.value, entry.value_len)
    }

    fn is(&self, entry: &Entry, name: &HeaderName) -> bool {
        entry.known == name.known
            && (name.known != Known::Other || text(&self.arena, entry.name, entry.name_len as u32) == name.text.as_bytes())
    }
}

impl fmt::Debug for HeaderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v)))).finish()
    }
}

fn text(arena: &[u8], at: u32, len: u32) -> &[u8] {
    &arena[at as usize..(at + len) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_duplicates() {
        let mut list = HeaderList::new();
        list.append_known(Known::Path, b"/a");
        list.append(b"X-One", b"1");
        list.append(b"Cookie", b"a=b");
        list.append(b"x-one", b"2");
        let one = HeaderName::new("X-One");
        assert_eq!(list.get_all(&one).collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(list.get(Known::Cookie), Some(&b"a=b"[..]));
        assert!(list.remove_name(&one));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn set_replaces_in_place_and_join_appends() {
        let mut list = HeaderList::new();
        list.append_known(Known::Server, b"x");
        list.append_known(Known::ForwardedFor, b"1.1.1.1");
        list.append_known(Known::Server, b"y");
        list.set(Known::Server, b"envoy");
        list.join(Known::ForwardedFor, b",", b"2.2.2.2");
        let all: Vec<_> = list.iter().map(|(_, n, v)| (n.to_vec(), v.to_vec())).collect();
        assert_eq!(all, [(b"server".to_vec(), b"envoy".to_vec()), (b"x-forwarded-for".to_vec(), b"1.1.1.1,2.2.2.2".to_vec())]);
    }

    #[test]
    fn every_known_name_is_found_again() {
        for name in [":path", "host", "x-envoy-upstream-service-time"] {
            assert_eq!(Known::of(name.as_bytes()).name(), name);
        }
        assert_eq!(Known::of(b"x-other"), Known::Other);
    }
}
