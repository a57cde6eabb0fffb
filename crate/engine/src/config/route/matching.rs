//! Compiles `RouteMatch`: the conditions of a route.

use plenipo_api::proto::envoy::{
    config::route::v3::{self as proto, query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier},
    extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig,
    r#type::matcher::v3::{FilterStateMatcher, filter_state_matcher},
};

use super::{
    super::{any, headers, issues::At, metadata, value},
    Compiler,
};
use crate::route::{Case, Conditions, CookieMatch, FilterStateMatch, PathMatch, QueryMatch, Template, TlsMatch};

impl Compiler<'_, '_> {
    pub(super) fn conditions(&mut self, config: &proto::RouteMatch, at: &At<'_>) -> Option<Conditions> {
        let path = self.path(config, at);
        let headers = headers::matchers(&config.headers, &at.field("headers"), self.issues);
        let query = self.query(&config.query_parameters, &at.field("query_parameters"));
        let fraction = config.runtime_fraction.as_ref().map(value::fraction);
        let cookies = self.cookies(&config.cookies, &at.field("cookies"));
        let metadata_at = at.field("dynamic_metadata");
        let metadata = config.dynamic_metadata.iter().enumerate();
        let metadata = metadata.filter_map(|(i, m)| metadata::matcher(m, &metadata_at.index(i), self.issues)).collect();
        let filter_state = self.filter_state(&config.filter_state, &at.field("filter_state"));
        Some(Conditions {
            path: path?,
            headers,
            query,
            grpc: config.grpc.is_some(),
            fraction,
            cookies,
            tls: config.tls_context.as_ref().map(|tls| TlsMatch { presented: tls.presented, validated: tls.validated }),
            metadata,
            filter_state,
        })
    }

    fn path(&mut self, config: &proto::RouteMatch, at: &At<'_>) -> Option<PathMatch> {
        let case = Case::ignored(!config.case_sensitive.unwrap_or(true));
        Some(match &config.path_specifier {
            Some(PathSpecifier::Prefix(text)) => PathMatch::prefix(text, case),
            Some(PathSpecifier::Path(text)) => PathMatch::exact(text, case),
            Some(PathSpecifier::PathSeparatedPrefix(text)) => PathMatch::separated(text, case),
            Some(PathSpecifier::SafeRegex(matcher)) => PathMatch::Regex(value::regex(matcher, &at.field("safe_regex"), self.issues)?),
            Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
            Some(PathSpecifier::PathMatchPolicy(policy)) => {
                let at = at.field("path_match_policy");
                let config: UriTemplateMatchConfig = any::extension(policy.typed_config.as_ref(), &at, self.issues)?;
                let text = config.path_template;
                let invalid = |e| at.field("typed_config").field("path_template").invalid(format!("is invalid: {e}")).got(&*text);
                PathMatch::Template(Template::new(&text).map_err(|e| self.issues.push(invalid(e))).ok()?)
            }
            None => {
                let issue = at.invalid("a match needs a path condition");
                self.issues.push(issue.expected("prefix, path, safe_regex or path_separated_prefix"));
                return None;
            }
        })
    }

    fn query(&mut self, list: &[proto::QueryParameterMatcher], at: &At<'_>) -> Vec<QueryMatch> {
        let mut one = |(i, matcher): (usize, &proto::QueryParameterMatcher)| {
            let (test, absent) = match &matcher.query_parameter_match_specifier {
                Some(QueryParameterMatchSpecifier::StringMatch(test)) => {
                    (Some(value::string_match(test, &at.index(i).field("string_match"), self.issues)?), false)
                }
                Some(QueryParameterMatchSpecifier::PresentMatch(present)) => (None, !present),
                None => (None, false),
            };
            Some(QueryMatch { name: matcher.name.as_bytes().into(), test, absent })
        };
        list.iter().enumerate().filter_map(&mut one).collect()
    }

    fn cookies(&mut self, list: &[proto::CookieMatcher], at: &At<'_>) -> Vec<CookieMatch> {
        let mut one = |(i, matcher): (usize, &proto::CookieMatcher)| {
            let at = at.index(i);
            let Some(test) = &matcher.string_match else {
                self.issues.push(at.field("string_match").invalid("a cookie matcher needs one"));
                return None;
            };
            let test = value::string_match(test, &at.field("string_match"), self.issues)?;
            Some(CookieMatch { name: matcher.name.as_bytes().into(), test, invert: matcher.invert_match })
        };
        list.iter().enumerate().filter_map(&mut one).collect()
    }

    fn filter_state(&mut self, list: &[FilterStateMatcher], at: &At<'_>) -> Vec<FilterStateMatch> {
        let mut one = |(i, matcher): (usize, &FilterStateMatcher)| {
            let at = at.index(i);
            match &matcher.matcher {
                Some(filter_state_matcher::Matcher::StringMatch(test)) => {
                    let test = value::string_match(test, &at.field("string_match"), self.issues)?;
                    Some(FilterStateMatch { key: matcher.key.as_str().into(), test })
                }
                Some(filter_state_matcher::Matcher::AddressMatch(_)) => {
                    self.issues.push(at.field("address_match").unsupported("no filter leaves addresses in its state"));
                    None
                }
                None => {
                    self.issues.push(at.invalid("a filter state matcher is empty").expected("string_match"));
                    None
                }
            }
        };
        list.iter().enumerate().filter_map(&mut one).collect()
    }
}
