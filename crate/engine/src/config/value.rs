//! Small values that many messages share: durations, data sources, regular expressions, string matchers, addresses.

// Deprecated fields are Envoy's, and are read as long as Envoy reads them.
#![allow(deprecated)]

use std::{net::SocketAddr, time::Duration};

use plenipo_api::proto::envoy::{
    config::core::v3::{
        CidrRange, DataSource, RuntimeFractionalPercent, SocketAddress,
        data_source::Specifier,
        socket_address::{PortSpecifier, Protocol},
    },
    r#type::{
        matcher::v3::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher, regex_matcher::EngineType, string_matcher::MatchPattern},
        v3::fractional_percent::DenominatorType,
    },
};
use plenipo_api::proto::xds::r#type::matcher::v3 as xds;

use super::issues::{At, Issues};
use crate::{
    cidr::Cidr,
    route::{Pattern, Rewrite, RuntimeFraction, StringMatch},
};

/// A duration; negative ones are refused.
pub fn duration(value: Option<&prost_types::Duration>, at: &At<'_>, issues: &mut Issues) -> Option<Duration> {
    let value = value?;
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(seconds, nanos)),
        _ => {
            issues.push(at.invalid("a duration cannot be negative").got(format!("{}s {}ns", value.seconds, value.nanos)));
            None
        }
    }
}

/// A duration of which 0 means that there is none; `default` where it is not set. In whole milliseconds, as in Envoy: less is 0.
pub fn limit(value: Option<&prost_types::Duration>, default: Option<Duration>, at: &At<'_>, issues: &mut Issues) -> Option<Duration> {
    match value {
        None => default,
        Some(_) => duration(value, at, issues).filter(|d| d.as_millis() > 0),
    }
}

/// The bytes of a data source. Files and environment variables are read now.
pub fn data_source(source: &DataSource, at: &At<'_>, issues: &mut Issues) -> Option<Vec<u8>> {
    match &source.specifier {
        Some(Specifier::InlineString(text)) => Some(text.clone().into_bytes()),
        Some(Specifier::InlineBytes(bytes)) => Some(bytes.clone()),
        Some(Specifier::Filename(file)) => match std::fs::read(file) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                issues.push(at.field("filename").invalid(format!("cannot read {file:?}: {error}")));
                None
            }
        },
        Some(Specifier::EnvironmentVariable(name)) => match std::env::var_os(name) {
            Some(value) => Some(value.into_encoded_bytes()),
            None => {
                issues.push(at.field("environment_variable").invalid(format!("environment variable {name:?} is not set")));
                None
            }
        },
        None => {
            issues.push(at.invalid("a data source is empty").expected("filename, inline_string, inline_bytes or environment_variable"));
            None
        }
    }
}

/// A regular expression in RE2's syntax.
pub fn regex(matcher: &RegexMatcher, at: &At<'_>, issues: &mut Issues) -> Option<Pattern> {
    let known = match &matcher.engine_type {
        None | Some(EngineType::GoogleRe2(_)) => Pattern::new(&matcher.regex),
    };
    known.map_err(|e| issues.push(at.field("regex").invalid(format!("not a regular expression: {e}")).got(&*matcher.regex))).ok()
}

/// A regular expression and what takes the place of its matches.
pub fn rewrite(rewrite: &RegexMatchAndSubstitute, at: &At<'_>, issues: &mut Issues) -> Option<Rewrite> {
    let Some(pattern) = &rewrite.pattern else {
        issues.push(at.field("pattern").invalid("a pattern is missing"));
        return None;
    };
    let pattern = regex(pattern, &at.field("pattern"), issues)?;
    let invalid = |e: String| at.field("substitution").invalid(e).got(&*rewrite.substitution);
    Rewrite::new(pattern, &rewrite.substitution).map_err(|e| issues.push(invalid(e))).ok()
}

/// A string matcher.
pub fn string_match(matcher: &StringMatcher, at: &At<'_>, issues: &mut Issues) -> Option<StringMatch> {
    let ignore_case = matcher.ignore_case;
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Some(StringMatch::exact(text, ignore_case)),
        Some(MatchPattern::Prefix(text)) => Some(StringMatch::prefix(text, ignore_case)),
        Some(MatchPattern::Suffix(text)) => Some(StringMatch::suffix(text, ignore_case)),
        Some(MatchPattern::Contains(text)) => Some(StringMatch::contains(text, ignore_case)),
        Some(MatchPattern::SafeRegex(matcher)) => regex(matcher, &at.field("safe_regex"), issues).map(StringMatch::Regex),
        Some(MatchPattern::Custom(_)) => {
            issues.push(at.field("custom").unsupported("string matcher extensions are not implemented"));
            None
        }
        None => {
            issues.push(at.invalid("a string matcher is empty").expected("exact, prefix, suffix, contains or safe_regex"));
            None
        }
    }
}

/// A string matcher of the xDS API, which is Envoy's under another name.
pub fn xds_string_match(matcher: &xds::StringMatcher, at: &At<'_>, issues: &mut Issues) -> Option<StringMatch> {
    let ignore_case = matcher.ignore_case;
    match &matcher.match_pattern {
        Some(xds::string_matcher::MatchPattern::Exact(text)) => Some(StringMatch::exact(text, ignore_case)),
        Some(xds::string_matcher::MatchPattern::Prefix(text)) => Some(StringMatch::prefix(text, ignore_case)),
        Some(xds::string_matcher::MatchPattern::Suffix(text)) => Some(StringMatch::suffix(text, ignore_case)),
        Some(xds::string_matcher::MatchPattern::Contains(text)) => Some(StringMatch::contains(text, ignore_case)),
        Some(xds::string_matcher::MatchPattern::SafeRegex(matcher)) => {
            let invalid = |e| at.field("safe_regex").field("regex").invalid(format!("not a regular expression: {e}")).got(&*matcher.regex);
            Pattern::new(&matcher.regex).map(StringMatch::Regex).map_err(|e| issues.push(invalid(e))).ok()
        }
        Some(xds::string_matcher::MatchPattern::Custom(_)) => {
            issues.push(at.field("custom").unsupported("string matcher extensions are not implemented"));
            None
        }
        None => {
            issues.push(at.invalid("a string matcher is empty").expected("exact, prefix, suffix, contains or safe_regex"));
            None
        }
    }
}

/// The port of a socket address; named ports are Envoy's, but only with resolvers that nobody has.
pub fn port(address: &SocketAddress, at: &At<'_>, issues: &mut Issues) -> Option<u16> {
    if address.protocol() == Protocol::Udp {
        issues.push(at.field("protocol").unsupported("only a listener may be for datagrams").got("UDP"));
    }
    match &address.port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            let invalid = || at.field("port_value").invalid("not a port").expected("0 to 65535").got(port.to_string());
            u16::try_from(*port).map_err(|_| issues.push(invalid())).ok()
        }
        Some(PortSpecifier::NamedPort(_)) => {
            issues.push(at.field("named_port").unsupported("named ports are not implemented").hint("use port_value"));
            None
        }
        None => {
            issues.push(at.field("port_value").invalid("a port is missing"));
            None
        }
    }
}

/// The address literal and port of a socket address; a name is an error.
pub fn socket_address(address: &SocketAddress, at: &At<'_>, issues: &mut Issues) -> Option<SocketAddr> {
    let port = port(address, at, issues);
    let ip = address.address.parse().map_err(|_| {
        let issue = at.field("address").invalid("malformed IP address").expected("an IPv4 or IPv6 address").got(&*address.address);
        issues.push(issue.hint("a cluster of type STRICT_DNS or LOGICAL_DNS takes names"));
    });
    Some(SocketAddr::new(ip.ok()?, port?))
}

/// A list of address ranges; `at` is the list's place.
pub fn ranges(list: &[CidrRange], at: &At<'_>, issues: &mut Issues) -> Vec<Cidr> {
    let mut ranges = Vec::with_capacity(list.len());
    for (i, range) in list.iter().enumerate() {
        match range.address_prefix.parse() {
            Ok(address) => ranges.push(Cidr::new(address, range.prefix_len.unwrap_or(0))),
            Err(_) => issues.push(at.index(i).field("address_prefix").invalid("not an IP address").got(&*range.address_prefix)),
        }
    }
    ranges
}

/// A share of requests; there is no runtime, so that its default value holds.
pub fn fraction(config: &RuntimeFractionalPercent) -> RuntimeFraction {
    let value = config.default_value.unwrap_or_default();
    RuntimeFraction {
        numerator: value.numerator.into(),
        denominator: match DenominatorType::try_from(value.denominator) {
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
            Ok(DenominatorType::Hundred) | Err(_) => 100,
        },
    }
}
