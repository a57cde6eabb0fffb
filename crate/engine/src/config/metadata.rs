//! Compiles metadata, and the matchers over it.

use plenipo_api::proto::envoy::{
    config::core::v3::Metadata as Proto,
    r#type::matcher::v3::{
        MetadataMatcher, ValueMatcher, double_matcher, list_matcher, metadata_matcher::path_segment::Segment, value_matcher::MatchPattern,
    },
};
use prost_types::value::Kind;

use super::{
    issues::{At, Issues},
    value,
};
use crate::metadata::{Metadata, MetadataMatch, Struct, Value, ValueMatch};

/// Compiles metadata; none and empty one are the same.
pub fn compile(config: Option<&Proto>) -> Option<std::sync::Arc<Metadata>> {
    let config = config.filter(|c| !c.filter_metadata.is_empty())?;
    Some(std::sync::Arc::new(Metadata(
        config.filter_metadata.iter().map(|(name, fields)| (name.as_str().into(), fields_of(fields))).collect(),
    )))
}

/// Compiles an object.
pub fn fields_of(config: &prost_types::Struct) -> Struct {
    Struct(config.fields.iter().map(|(key, value)| (key.as_str().into(), value_of(value))).collect())
}

fn value_of(config: &prost_types::Value) -> Value {
    match &config.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(*b),
        Some(Kind::NumberValue(n)) => Value::Number(*n),
        Some(Kind::StringValue(text)) => Value::String(text.as_str().into()),
        Some(Kind::StructValue(fields)) => Value::Struct(fields_of(fields)),
        Some(Kind::ListValue(list)) => Value::List(list.values.iter().map(value_of).collect()),
    }
}

/// Compiles a matcher of metadata.
pub fn matcher(config: &MetadataMatcher, at: &At<'_>, issues: &mut Issues) -> Option<MetadataMatch> {
    let path_at = at.field("path");
    let key = |(i, segment): (usize, &plenipo_api::proto::envoy::r#type::matcher::v3::metadata_matcher::PathSegment)| match &segment.segment
    {
        Some(Segment::Key(key)) => Some(key.as_str().into()),
        None => {
            issues.push(path_at.index(i).invalid("a key is missing"));
            None
        }
    };
    let path = config.path.iter().enumerate().filter_map(key).collect();
    let Some(value) = &config.value else {
        issues.push(at.field("value").invalid("a value matcher is missing"));
        return None;
    };
    let value = value_matcher(value, &at.field("value"), issues)?;
    Some(MetadataMatch { namespace: config.filter.as_str().into(), path, value, invert: config.invert })
}

/// Compiles a matcher of one value.
pub fn value_matcher(config: &ValueMatcher, at: &At<'_>, issues: &mut Issues) -> Option<ValueMatch> {
    Some(match &config.match_pattern {
        Some(MatchPattern::NullMatch(_)) => ValueMatch::Null,
        Some(MatchPattern::DoubleMatch(number)) => match &number.match_pattern {
            Some(double_matcher::MatchPattern::Range(range)) => ValueMatch::Range(range.start, range.end),
            Some(double_matcher::MatchPattern::Exact(number)) => ValueMatch::Number(*number),
            None => return missing(&at.field("double_match"), issues),
        },
        Some(MatchPattern::StringMatch(text)) => ValueMatch::String(value::string_match(text, &at.field("string_match"), issues)?),
        Some(MatchPattern::BoolMatch(wanted)) => ValueMatch::Bool(*wanted),
        Some(MatchPattern::PresentMatch(wanted)) => ValueMatch::Present(*wanted),
        Some(MatchPattern::ListMatch(list)) => match &list.match_pattern {
            Some(list_matcher::MatchPattern::OneOf(one)) => {
                let list_at = at.field("list_match");
                ValueMatch::OneOf(Box::new(value_matcher(one, &list_at.field("one_of"), issues)?))
            }
            None => return missing(&at.field("list_match"), issues),
        },
        Some(MatchPattern::OrMatch(any)) => {
            let any_at = at.field("or_match");
            let any_at = any_at.field("value_matchers");
            let compiled: Vec<_> =
                any.value_matchers.iter().enumerate().map(|(i, one)| value_matcher(one, &any_at.index(i), issues)).collect();
            ValueMatch::Or(compiled.into_iter().collect::<Option<_>>()?)
        }
        None => return missing(at, issues),
    })
}

fn missing<T>(at: &At<'_>, issues: &mut Issues) -> Option<T> {
    issues.push(at.invalid("a match pattern is missing"));
    None
}
