//! Compiles `RouteMatch`: the conditions of a route.

use plenipo_api::proto::envoy::config::route::v3::{
    self as proto, query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};

use super::{
    super::{headers, issues::At, value},
    Compiler,
};
use crate::route::{Case, Conditions, PathMatch, QueryMatch};

impl Compiler<'_, '_> {
    pub(super) fn conditions(&mut self, config: &proto::RouteMatch, at: &At<'_>) -> Option<Conditions> {
        let path = self.path(config, at);
        let headers = headers::matchers(&config.headers, &at.field("headers"), self.issues);
        let query = self.query(&config.query_parameters, &at.field("query_parameters"));
        let fraction = config.runtime_fraction.as_ref().map(value::fraction);
        Some(Conditions { path: path?, headers, query, grpc: config.grpc.is_some(), fraction })
    }

    fn path(&mut self, config: &proto::RouteMatch, at: &At<'_>) -> Option<PathMatch> {
        let case = Case::ignored(!config.case_sensitive.unwrap_or(true));
        Some(match &config.path_specifier {
            Some(PathSpecifier::Prefix(text)) => PathMatch::prefix(text, case),
            Some(PathSpecifier::Path(text)) => PathMatch::exact(text, case),
            Some(PathSpecifier::PathSeparatedPrefix(text)) => PathMatch::separated(text, case),
            Some(PathSpecifier::SafeRegex(matcher)) => PathMatch::Regex(value::regex(matcher, &at.field("safe_regex"), self.issues)?),
            Some(PathSpecifier::ConnectMatcher(_)) => {
                self.issues.push(at.field("connect_matcher").unsupported("CONNECT is not implemented"));
                return None;
            }
            Some(PathSpecifier::PathMatchPolicy(_)) => {
                self.issues.push(at.field("path_match_policy").unsupported("path match extensions are not implemented"));
                return None;
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
}
