//! The conditions of a route: path, headers, query parameters, gRPC, runtime fraction.

use super::{
    pattern::{Case, Pattern, StringMatch},
    template::Template,
};
use crate::{
    http::{
        grpc,
        header::{HeaderList, HeaderName, Known},
    },
    metadata::MetadataMatch,
    stream_info::StreamInfo,
};

/// `RouteMatch`: what a request must be for a route; all that is said must hold.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// `prefix` and its siblings
    pub path: PathMatch,
    /// `headers`
    pub headers: Vec<HeaderMatch>,
    /// `query_parameters`
    pub query: Vec<QueryMatch>,
    /// `grpc`
    pub grpc: bool,
    /// `runtime_fraction`
    pub fraction: Option<RuntimeFraction>,
    /// `cookies`
    pub cookies: Vec<CookieMatch>,
    /// `tls_context`
    pub tls: Option<TlsMatch>,
    /// `dynamic_metadata`
    pub metadata: Vec<MetadataMatch>,
    /// `filter_state`
    pub filter_state: Vec<FilterStateMatch>,
}

/// What a route is looked up by.
#[derive(Clone, Copy)]
pub struct Lookup<'r> {
    /// The request's headers, pseudo-headers and `x-forwarded-proto` among them.
    pub headers: &'r HeaderList,
    /// What is known of the stream.
    pub info: &'r StreamInfo,
    /// One number a stream, of which every random choice is made.
    pub random: u64,
}

impl Conditions {
    /// This path and nothing else.
    pub fn new(path: PathMatch) -> Conditions {
        Conditions {
            path,
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
            fraction: None,
            cookies: Vec::new(),
            tls: None,
            metadata: Vec::new(),
            filter_state: Vec::new(),
        }
    }

    /// Whether a request matches. `path` is as the table wants it: without query, maybe without parameters; absent for
    /// CONNECT.
    pub(super) fn hold(&self, path: Option<&[u8]>, request: Lookup<'_>) -> bool {
        self.path.matches(path, request.headers)
            && self.fraction.is_none_or(|f| f.matches(request.random))
            && (!self.grpc || grpc::is_grpc(request.headers))
            && self.headers.iter().all(|m| m.matches(request.headers))
            && self.query.iter().all(|m| m.matches(request.headers.path()))
            && self.cookies.iter().all(|m| m.matches(request.headers))
            && self.tls.is_none_or(|m| m.matches(request.info))
            && self.metadata.iter().all(|m| m.matches(request.info.metadata.as_deref()))
            && self.filter_state.iter().all(|m| m.matches(request.info))
    }
}

/// How a route matches the path; query and fragment never take part.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// `prefix`; in lower case where case is ignored, as the next two.
    Prefix(Box<[u8]>, Case),
    /// `path`
    Exact(Box<[u8]>, Case),
    /// `path_separated_prefix`: the path itself, or anything below it.
    Separated(Box<[u8]>, Case),
    /// `safe_regex`
    Regex(Pattern),
    /// `path_match_policy`: case and path parameters always count.
    Template(Template),
    /// `connect_matcher`: any CONNECT request.
    Connect,
}

/// What the index files a path condition under.
pub(super) enum Key<'m> {
    /// Only this path can match.
    Whole(&'m [u8], Case),
    /// Only paths that begin so can match.
    Beginning(&'m [u8], Case),
    /// Only this path and those below it can match.
    Segments(&'m [u8], Case),
    /// Any request can.
    None,
}

impl PathMatch {
    /// `prefix`
    pub fn prefix(text: &str, case: Case) -> PathMatch {
        PathMatch::Prefix(case.fold(text), case)
    }

    /// `path`
    pub fn exact(text: &str, case: Case) -> PathMatch {
        PathMatch::Exact(case.fold(text), case)
    }

    /// `path_separated_prefix`
    pub fn separated(text: &str, case: Case) -> PathMatch {
        PathMatch::Separated(case.fold(text), case)
    }

    fn matches(&self, path: Option<&[u8]>, headers: &HeaderList) -> bool {
        let Some(path) = path else { return matches!(self, PathMatch::Connect) && headers.method() == b"CONNECT" };
        match self {
            PathMatch::Prefix(wanted, case) => case.begins(path, wanted),
            PathMatch::Exact(wanted, case) => case.equal(path, wanted),
            PathMatch::Separated(wanted, case) => case.begins(path, wanted) && matches!(path.get(wanted.len()), None | Some(b'/')),
            PathMatch::Regex(pattern) => pattern.matches(path),
            PathMatch::Template(template) => template.matches(without_query(headers.path())),
            PathMatch::Connect => headers.method() == b"CONNECT",
        }
    }

    pub(super) fn key(&self) -> Key<'_> {
        match self {
            PathMatch::Exact(text, case) => Key::Whole(text, *case),
            PathMatch::Prefix(text, case) => Key::Beginning(text, *case),
            PathMatch::Separated(text, case) => Key::Segments(text, *case),
            PathMatch::Template(template) => Key::Beginning(template.beginning(), Case::Sensitive),
            PathMatch::Regex(_) | PathMatch::Connect => Key::None,
        }
    }

    /// How much of `path` a prefix rewrite replaces.
    pub(super) fn matched_len(&self, path: &[u8]) -> usize {
        match self {
            PathMatch::Prefix(text, _) | PathMatch::Exact(text, _) | PathMatch::Separated(text, _) => text.len().min(path.len()),
            PathMatch::Regex(_) | PathMatch::Template(_) | PathMatch::Connect => without_query(path).len(),
        }
    }
}

/// The part of `:path` before `?` or `#`.
pub(super) fn without_query(path: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', path).unwrap_or(path.len());
    &path[..end]
}

/// `HeaderMatcher`: one of several values of the name is enough, or with `invert_match` none may match; without any value
/// nothing but presence matches. As seen on Envoy 1.40, which does not join lines for this.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// The header.
    pub name: HeaderName,
    /// What its value must be.
    pub test: HeaderTest,
    /// `invert_match`
    pub invert: bool,
    /// `treat_missing_header_as_empty`
    pub missing_is_empty: bool,
}

/// What a header's value must be.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// `present_match`, or nothing but a name.
    Present(bool),
    /// `string_match`, `exact_match` and the other kinds of text.
    Text(StringMatch),
    /// `range_match`: a decimal number, `start` included and `end` not.
    Range {
        /// The least number.
        start: i64,
        /// One above the greatest.
        end: i64,
    },
}

impl HeaderMatch {
    /// Whether the headers match.
    pub fn matches(&self, headers: &HeaderList) -> bool {
        let mut values = headers.get_all(&self.name).peekable();
        if let HeaderTest::Present(present) = self.test {
            let there = values.peek().is_some() || self.missing_is_empty;
            return (there == present) != self.invert;
        }
        let matched = match values.peek() {
            None if !self.missing_is_empty => return false,
            None => self.test(b""),
            Some(_) => values.any(|value| self.test(value)),
        };
        matched != self.invert
    }

    fn test(&self, value: &[u8]) -> bool {
        match &self.test {
            HeaderTest::Present(present) => *present,
            HeaderTest::Text(text) => text.matches(value),
            HeaderTest::Range { start, end } => {
                let number = std::str::from_utf8(value).ok().and_then(|v| v.trim_ascii().parse::<i64>().ok());
                number.is_some_and(|n| *start <= n && n < *end)
            }
        }
    }
}

/// `QueryParameterMatcher`: the first parameter of that name; nothing is percent-decoded.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// The parameter.
    pub name: Box<[u8]>,
    /// What its value must be; nothing means that it is there.
    pub test: Option<StringMatch>,
    /// `present_match: false`: the parameter must be absent. Used where there is no `test`.
    pub absent: bool,
}

impl QueryMatch {
    /// Whether the query of `path` matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let value = parameter(path, &self.name);
        match &self.test {
            None => value.is_some() != self.absent,
            Some(test) => value.is_some_and(|v| test.matches(v)),
        }
    }
}

pub(super) fn parameter<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let query = &path[memchr::memchr(b'?', path)? + 1..];
    let query = &query[..memchr::memchr(b'#', query).unwrap_or(query.len())];
    query.split(|b| *b == b'&').find_map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) if pair[..at] == *name => Some(&pair[at + 1..]),
        None if pair == name => Some(&pair[pair.len()..]),
        _ => None,
    })
}

/// `CookieMatcher`: the first cookie of that name, without the quotes around its value. An absent one matches only what is
/// inverted.
#[derive(Clone, Debug)]
pub struct CookieMatch {
    /// The cookie; case counts.
    pub name: Box<[u8]>,
    /// What its value must be.
    pub test: StringMatch,
    /// `invert_match`
    pub invert: bool,
}

impl CookieMatch {
    /// Whether the request's cookies match.
    pub fn matches(&self, headers: &HeaderList) -> bool {
        cookie(headers, &self.name).is_some_and(|value| self.test.matches(value)) != self.invert
    }
}

pub(super) fn cookie<'h>(headers: &'h HeaderList, name: &[u8]) -> Option<&'h [u8]> {
    let lines = headers.get_all_known(Known::Cookie);
    let value = lines.flat_map(|line| line.split(|b| *b == b';')).find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        (pair[..at].trim_ascii_start() == name).then_some(&pair[at + 1..])
    })?;
    Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
}

/// `tls_context`: whether the client showed a certificate. One that was not found valid ends the handshake, so that both
/// questions are one.
#[derive(Clone, Copy, Debug)]
pub struct TlsMatch {
    /// `presented`
    pub presented: Option<bool>,
    /// `validated`
    pub validated: Option<bool>,
}

impl TlsMatch {
    /// Whether the connection matches.
    pub fn matches(self, info: &StreamInfo) -> bool {
        let shown = info.connection.tls.as_ref().is_some_and(|tls| !tls.peer.is_empty());
        [self.presented, self.validated].into_iter().flatten().all(|wanted| wanted == shown)
    }
}

/// `FilterStateMatcher` with a `string_match`: an object that is there and has a text.
#[derive(Clone, Debug)]
pub struct FilterStateMatch {
    /// `key`
    pub key: Box<str>,
    /// What its text must be.
    pub test: StringMatch,
}

impl FilterStateMatch {
    /// Whether the stream's filter state matches.
    pub fn matches(&self, info: &StreamInfo) -> bool {
        let object = info.filter_state.as_ref().and_then(|state| state.get(&self.key));
        object.and_then(|object| object.text()).is_some_and(|text| self.test.matches(&text))
    }
}

/// `runtime_fraction`: the share of requests that match, by the stream's random number.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeFraction {
    /// How many of `denominator`.
    pub numerator: u64,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u64,
}

impl RuntimeFraction {
    /// Whether the stream with this random number belongs to the share.
    pub fn matches(self, random: u64) -> bool {
        random % self.denominator < self.numerator
    }
}
