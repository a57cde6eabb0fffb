//! What of a request decides which host it goes to, where hosts are chosen by hash (`hash_policy`).

use std::fmt::Write as _;

use xxhash_rust::xxh64::xxh64;

use super::{
    matcher::{cookie, parameter},
    pattern::Rewrite,
};
use crate::{
    http::header::{HeaderList, HeaderName, Known},
    stream_info::StreamInfo,
};

/// A list of `RouteAction.HashPolicy`.
#[derive(Clone, Debug)]
pub struct HashPolicy(pub Vec<HashRule>);

/// `RouteAction.HashPolicy`
#[derive(Clone, Debug)]
pub struct HashRule {
    /// What is hashed.
    pub source: HashSource,
    /// `terminal`: where there is a hash by now, the rules behind this one have no say.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// `header`: all lines of it, whatever their order; each rewritten where that is asked for.
    Header(HeaderName, Option<Rewrite>),
    /// `cookie`
    Cookie(HashCookie),
    /// `connection_properties.source_ip`: the client's address.
    SourceIp,
    /// `query_parameter`: the first of this name.
    QueryParameter(Box<[u8]>),
    /// `filter_state`: an object of this name that can be hashed.
    FilterState(Box<str>),
}

/// `RouteAction.HashPolicy.Cookie`
#[derive(Clone, Debug)]
pub struct HashCookie {
    /// `name`
    pub name: Box<str>,
    /// `ttl` in seconds, 0 for as long as the client likes; where it is set, clients without the cookie get one.
    pub ttl: Option<u64>,
    /// `path`
    pub path: Box<str>,
    /// `attributes`: names and values.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

impl HashPolicy {
    /// The hash of a request. `give` is told of cookies that the client is to get, and what is in them; without it, none is made.
    pub fn hash(&self, headers: &HeaderList, info: &StreamInfo, mut give: Option<&mut dyn FnMut(&HashCookie, &str)>) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for rule in &self.0 {
            if let Some(new) = rule.source.hash(headers, info, &mut give) {
                // Turned, so that two equal ones do not cancel each other out.
                hash = Some(hash.map_or(0, |old| old.rotate_left(1)) ^ new);
            }
            if rule.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

impl HashSource {
    fn hash(&self, headers: &HeaderList, info: &StreamInfo, give: &mut Option<&mut dyn FnMut(&HashCookie, &str)>) -> Option<u64> {
        match self {
            HashSource::Header(name, rewrite) => {
                let mut lines: smallvec::SmallVec<[_; 1]> = headers
                    .get_all(name)
                    .map(|line| rewrite.as_ref().map_or(std::borrow::Cow::Borrowed(line), |rewrite| rewrite.apply(line)))
                    .collect();
                lines.sort();
                (!lines.is_empty()).then(|| lines.iter().fold(0, |seed, line| xxh64(line, seed)))
            }
            HashSource::Cookie(wanted) => {
                if let Some(value) = cookie(headers, wanted.name.as_bytes()).filter(|value| !value.is_empty()) {
                    return Some(xxh64(value, 0));
                }
                wanted.ttl?;
                let give = give.as_mut()?;
                let value = connection_value(info);
                give(wanted, &value);
                Some(xxh64(value.as_bytes(), 0))
            }
            HashSource::SourceIp => Some(xxh64(info.client.ip().to_string().as_bytes(), 0)),
            HashSource::QueryParameter(name) => Some(xxh64(parameter(headers.get(Known::Path)?, name)?, 0)),
            HashSource::FilterState(key) => info.filter_state.as_ref()?.get(key)?.hash(),
        }
    }
}

/// The same for all requests of a connection, so that those that race get the same cookie.
fn connection_value(info: &StreamInfo) -> String {
    let text = format!("{}{}", info.connection.remote, info.connection.local);
    format!("{:016x}", xxh64(text.as_bytes(), 0))
}

impl HashCookie {
    /// The value of `set-cookie`.
    pub fn set(&self, value: &str) -> String {
        let mut text = format!("{}=\"{value}\"", self.name);
        // Writing into a String does not fail.
        if let Some(ttl) = self.ttl.filter(|ttl| *ttl > 0) {
            let _ = write!(text, "; Max-Age={ttl}");
        }
        if !self.path.is_empty() {
            let _ = write!(text, "; Path={}", self.path);
        }
        for (name, value) in &self.attributes {
            let _ = if value.is_empty() { write!(text, "; {name}") } else { write!(text, "; {name}={value}") };
        }
        text.push_str("; HttpOnly");
        text
    }
}
