//! Compiles header matchers, and header additions and removals.

use plenipo_api::{
    IssueCode,
    proto::envoy::config::{
        core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction},
        route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    },
};

use super::{
    issues::{At, Issues},
    value,
};
use crate::{
    format::Program,
    http::header::HeaderName,
    route::{AppendAction, HeaderAddition, HeaderMatch, HeaderMutations, HeaderTest, HeaderValue, StringMatch},
};

/// Compiles a list of header matchers; `at` is the list's place.
pub fn matchers(list: &[HeaderMatcher], at: &At<'_>, issues: &mut Issues) -> Vec<HeaderMatch> {
    list.iter().enumerate().filter_map(|(i, matcher)| one_matcher(matcher, &at.index(i), issues)).collect()
}

/// Compiles one header matcher.
pub fn one_matcher(matcher: &HeaderMatcher, at: &At<'_>, issues: &mut Issues) -> Option<HeaderMatch> {
    #[allow(deprecated)]
    let test = match &matcher.header_match_specifier {
        None => HeaderTest::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderTest::Present(*present),
        Some(HeaderMatchSpecifier::ExactMatch(text)) => HeaderTest::Text(StringMatch::exact(text, false)),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => HeaderTest::Text(StringMatch::prefix(text, false)),
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => HeaderTest::Text(StringMatch::suffix(text, false)),
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => HeaderTest::Text(StringMatch::contains(text, false)),
        Some(HeaderMatchSpecifier::SafeRegexMatch(matcher)) => {
            HeaderTest::Text(StringMatch::Regex(value::regex(matcher, &at.field("safe_regex_match"), issues)?))
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            HeaderTest::Text(value::string_match(matcher, &at.field("string_match"), issues)?)
        }
        Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderTest::Range { start: range.start, end: range.end },
    };
    Some(HeaderMatch {
        name: HeaderName::of_request(&matcher.name),
        test,
        invert: matcher.invert_match,
        missing_is_empty: matcher.treat_missing_header_as_empty,
    })
}

/// Compiles `…_headers_to_add` and `…_headers_to_remove` of one level; `direction` is `request` or `response`.
pub fn mutations(
    add: &[HeaderValueOption],
    remove: &[String],
    (add_field, remove_field): (&str, &str),
    at: &At<'_>,
    issues: &mut Issues,
) -> HeaderMutations {
    let add_at = at.field(add_field);
    let remove_at = at.field(remove_field);
    let mut mutations = HeaderMutations::default();
    mutations.add.extend(add.iter().enumerate().filter_map(|(i, option)| addition(option, &add_at.index(i), issues)));
    for (i, name) in remove.iter().enumerate() {
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            issues.push(remove_at.index(i).invalid(":-prefixed or host headers may not be removed").got(name));
        } else {
            mutations.remove.push(HeaderName::new(name));
        }
    }
    mutations
}

/// Compiles one header to add.
pub fn addition(option: &HeaderValueOption, at: &At<'_>, issues: &mut Issues) -> Option<HeaderAddition> {
    let Some(header) = &option.header else {
        issues.push(at.field("header").invalid("a header is missing"));
        return None;
    };
    let header_at = at.field("header");
    if header.key.starts_with(':') || header.key.eq_ignore_ascii_case("host") {
        issues.push(header_at.field("key").invalid(":-prefixed or host headers may not be modified").got(&*header.key));
        return None;
    }
    #[allow(deprecated)]
    let action = match (&option.append, HeaderAppendAction::try_from(option.append_action)) {
        (Some(_), Ok(action)) if action != HeaderAppendAction::AppendIfExistsOrAdd => {
            issues.push(at.invalid("both append and append_action are specified").expected("only append_action"));
            return None;
        }
        (Some(false), _) => AppendAction::OverwriteIfExistsOrAdd,
        (_, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => AppendAction::AppendIfExistsOrAdd,
        (_, Ok(HeaderAppendAction::AddIfAbsent)) => AppendAction::AddIfAbsent,
        (_, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => AppendAction::OverwriteIfExistsOrAdd,
        (_, Ok(HeaderAppendAction::OverwriteIfExists)) => AppendAction::OverwriteIfExists,
        (_, Err(_)) => {
            issues.push(at.field("append_action").invalid("unknown value").got(option.append_action.to_string()));
            return None;
        }
    };
    let value = header_value(&header.value, &header_at.field("value"), issues)?;
    Some(HeaderAddition { name: HeaderName::new(&header.key), value, action, keep_empty: option.keep_empty_value })
}

/// Compiles a header's value with its operators.
pub fn header_value(text: &str, at: &At<'_>, issues: &mut Issues) -> Option<HeaderValue> {
    let program = program(text, true, at, issues)?;
    Some(match program.as_literal() {
        Some(literal) => HeaderValue::Literal(literal.into()),
        None => HeaderValue::Format(program),
    })
}

/// Compiles text with operators; with `omit_empty` what is absent is left out, else it is `-`.
pub fn program(text: &str, omit_empty: bool, at: &At<'_>, issues: &mut Issues) -> Option<Program> {
    match Program::compile(text, omit_empty) {
        Ok(program) => Some(program),
        Err(error) => {
            let unsupported = error.message.contains("not implemented");
            let code = if unsupported { IssueCode::Unsupported } else { IssueCode::ConfigInvalid };
            issues.push(at.error(code, error.to_string()).got(text));
            None
        }
    }
}
