//! The conditions of a route: path, headers, query parameters, gRPC, runtime fraction.

use super::pattern::{Pattern, StringMatch};
use crate::http::header::{HeaderList, HeaderName, Known};

/// How a route matches the path; query and fragment never take part.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// `prefix`
    Prefix(Box<[u8]>),
    /// `prefix` with `case_sensitive: false`; held in lower case.
    PrefixIgnoreCase(Box<[u8]>),
    /// `path`
    Exact(Box<[u8]>),
    /// `path` with `case_sensitive: false`; held in lower case.
    ExactIgnoreCase(Box<[u8]>),
    /// `path_separated_prefix`: the path itself, or anything below it.
    Separated(Box<[u8]>),
    /// `path_separated_prefix` with `case_sensitive: false`; held in lower case.
    SeparatedIgnoreCase(Box<[u8]>),
    /// `safe_regex`
    Regex(Pattern),
}

impl PathMatch {
    /// Whether `path`, without query and fragment, matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let begins = |wanted: &[u8]| path.get(..wanted.len()).is_some_and(|p| p.eq_ignore_ascii_case(wanted));
        let separated = |wanted: &[u8]| path.len() == wanted.len() || path.get(wanted.len()) == Some(&b'/');
        match self {
            PathMatch::Prefix(wanted) => path.starts_with(wanted),
            PathMatch::PrefixIgnoreCase(wanted) => begins(wanted),
            PathMatch::Exact(wanted) => path == &**wanted,
            PathMatch::ExactIgnoreCase(wanted) => path.eq_ignore_ascii_case(wanted),
            PathMatch::Separated(wanted) => path.starts_with(wanted) && separated(wanted),
            PathMatch::SeparatedIgnoreCase(wanted) => begins(wanted) && separated(wanted),
            PathMatch::Regex(pattern) => pattern.matches(path),
        }
    }

    /// How much of `path` a prefix rewrite replaces.
    pub(super) fn matched_len(&self, path: &[u8]) -> usize {
        match self {
            PathMatch::Prefix(p)
            | PathMatch::PrefixIgnoreCase(p)
            | PathMatch::Exact(p)
            | PathMatch::ExactIgnoreCase(p)
            | PathMatch::Separated(p)
            | PathMatch::SeparatedIgnoreCase(p) => p.len().min(path.len()),
            PathMatch::Regex(_) => without_query(path).len(),
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

fn parameter<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let query = &path[memchr::memchr(b'?', path)? + 1..];
    let query = &query[..memchr::memchr(b'#', query).unwrap_or(query.len())];
    query.split(|b| *b == b'&').find_map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) if pair[..at] == *name => Some(&pair[at + 1..]),
        None if pair == name => Some(&pair[pair.len()..]),
        _ => None,
    })
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

/// Whether a request is gRPC by its content type.
pub(super) fn is_grpc(headers: &HeaderList) -> bool {
    headers.get(Known::ContentType).and_then(|v| v.strip_prefix(b"application/grpc")).is_some_and(|rest| rest.is_empty() || rest[0] == b'+')
}
