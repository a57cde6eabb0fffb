//! Compiles `VirtualHost.matcher`: a tree of matchers whose actions are routes.

use std::ops::Range;

use plenipo_api::proto::{
    envoy::{
        config::route::v3::{self as proto, RouteList},
        extensions::matching::common_inputs::network::v3::FilterStateInput,
        r#type::matcher::v3::HttpRequestHeaderMatchInput,
    },
    xds::{
        core::v3::TypedExtensionConfig,
        r#type::matcher::v3::{
            Matcher, ServerNameMatcher,
            matcher::{
                self, MatcherType,
                matcher_list::{
                    self,
                    predicate::{MatchType, single_predicate},
                },
                matcher_tree::{MatchMap, TreeType},
                on_match,
            },
        },
    },
};
use prost::Name;

use super::{
    super::{any, issues::At, value},
    Compiler, Inherited,
};
use crate::{
    http::header::HeaderName,
    route::{Input, Map, OnMatch, Parts, Predicate, Route, Tree},
};

impl Compiler<'_, '_> {
    /// Compiles a matcher; the routes of its actions are added to `routes`.
    pub(super) fn tree(&mut self, config: &Matcher, inherited: &Inherited, routes: &mut Vec<Route>, at: &At<'_>) -> Option<Tree> {
        let otherwise = match config.on_no_match.as_deref() {
            Some(on_match) => Some(self.on_match(Some(on_match), inherited, routes, &at.field("on_no_match"))?),
            None => None,
        };
        let parts = match &config.matcher_type {
            None => None,
            Some(MatcherType::MatcherList(list)) => {
                let list_at = at.field("matcher_list");
                let matchers_at = list_at.field("matchers");
                let mut compiled = Vec::with_capacity(list.matchers.len());
                for (i, one) in list.matchers.iter().enumerate() {
                    let at = matchers_at.index(i);
                    let predicate = self.predicate(one.predicate.as_ref(), &at.field("predicate"));
                    let on_match = self.on_match(one.on_match.as_ref(), inherited, routes, &at.field("on_match"));
                    compiled.push((predicate?, on_match?));
                }
                Some(Parts::List(compiled))
            }
            Some(MatcherType::MatcherTree(tree)) => {
                let at = at.field("matcher_tree");
                let input = self.input(tree.input.as_ref(), &at.field("input"))?;
                let mut map = Map::default();
                match &tree.tree_type {
                    Some(TreeType::ExactMatchMap(entries)) => {
                        self.entries(entries, Map::exact, &mut map, inherited, routes, &at.field("exact_match_map"))?;
                    }
                    Some(TreeType::PrefixMatchMap(entries)) => {
                        self.entries(entries, Map::prefix, &mut map, inherited, routes, &at.field("prefix_match_map"))?;
                    }
                    Some(TreeType::CustomMatch(custom)) => {
                        self.domains(custom, &mut map, inherited, routes, &at.field("custom_match"))?;
                    }
                    None => {
                        self.issues.push(at.invalid("a matcher tree needs a map"));
                        return None;
                    }
                }
                Some(Parts::Map(input, map))
            }
        };
        Some(Tree { parts, otherwise })
    }

    fn entries(
        &mut self,
        entries: &MatchMap,
        add: fn(&mut Map, &str, OnMatch) -> Result<(), OnMatch>,
        map: &mut Map,
        inherited: &Inherited,
        routes: &mut Vec<Route>,
        at: &At<'_>,
    ) -> Option<()> {
        let at = at.field("map");
        for (key, on_match) in &entries.map {
            // The keys of a map are all different.
            let _ = add(map, key, self.on_match(Some(on_match), inherited, routes, &at.key(key))?);
        }
        Some(())
    }

    fn domains(
        &mut self,
        custom: &TypedExtensionConfig,
        map: &mut Map,
        inherited: &Inherited,
        routes: &mut Vec<Route>,
        at: &At<'_>,
    ) -> Option<()> {
        let config: ServerNameMatcher = any::extension(custom.typed_config.as_ref(), at, self.issues)?;
        let typed_at = at.field("typed_config");
        let matchers_at = typed_at.field("domain_matchers");
        for (i, matcher) in config.domain_matchers.iter().enumerate() {
            let at = matchers_at.index(i);
            let domains_at = at.field("domains");
            for (d, domain) in matcher.domains.iter().enumerate() {
                let at_domain = domains_at.index(d);
                // Each domain has what follows of its own; a list of many shares nothing but its text.
                let on_match = self.on_match(matcher.on_match.as_ref(), inherited, routes, &at.field("on_match"))?;
                let added = match domain.strip_prefix('*') {
                    Some("") => map.any(on_match),
                    Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => map.suffix(suffix, on_match),
                    None if !domain.is_empty() && !domain.contains('*') => map.exact(domain, on_match),
                    _ => {
                        let message = format!("Invalid wildcard domain format: {domain}. Only '*' and '*.domain' patterns are supported");
                        self.issues.push(at_domain.invalid(message));
                        return None;
                    }
                };
                if added.is_err() {
                    self.issues.push(at_domain.invalid(format!("Duplicate domain in ServerNameMatcher: {domain}")));
                    return None;
                }
            }
        }
        Some(())
    }

    fn predicate(&mut self, config: Option<&matcher_list::Predicate>, at: &At<'_>) -> Option<Predicate> {
        let mut list = |list: &matcher_list::predicate::PredicateList, at: At<'_>| -> Option<Vec<Predicate>> {
            let at = at.field("predicate");
            list.predicate.iter().enumerate().map(|(i, p)| self.predicate(Some(p), &at.index(i))).collect()
        };
        match config.and_then(|c| c.match_type.as_ref()) {
            Some(MatchType::AndMatcher(all)) => Some(Predicate::And(list(all, at.field("and_matcher"))?)),
            Some(MatchType::OrMatcher(any)) => Some(Predicate::Or(list(any, at.field("or_matcher"))?)),
            Some(MatchType::NotMatcher(inner)) => Some(Predicate::Not(Box::new(self.predicate(Some(inner), &at.field("not_matcher"))?))),
            Some(MatchType::SinglePredicate(single)) => {
                let at = at.field("single_predicate");
                let input = self.input(single.input.as_ref(), &at.field("input"))?;
                match &single.matcher {
                    Some(single_predicate::Matcher::ValueMatch(test)) => {
                        Some(Predicate::Single(input, value::xds_string_match(test, &at.field("value_match"), self.issues)?))
                    }
                    Some(single_predicate::Matcher::CustomMatch(custom)) => {
                        let issue = at.field("custom_match").unsupported("matcher extensions are not implemented");
                        self.issues.push(issue.got(&*custom.name).expected("value_match"));
                        None
                    }
                    None => {
                        self.issues.push(at.invalid("a predicate needs a matcher").expected("value_match"));
                        None
                    }
                }
            }
            None => {
                self.issues.push(at.invalid("a predicate is missing"));
                None
            }
        }
    }

    fn input(&mut self, config: Option<&TypedExtensionConfig>, at: &At<'_>) -> Option<Input> {
        let any = config.and_then(|c| c.typed_config.as_ref());
        let typed_at = at.field("typed_config");
        match any {
            Some(any) if any::type_name(any) == HttpRequestHeaderMatchInput::full_name() => {
                let config: HttpRequestHeaderMatchInput = any::decode(any, &typed_at, self.issues)?;
                Some(Input::Header(HeaderName::of_request(&config.header_name)))
            }
            Some(any) if any::type_name(any) == FilterStateInput::full_name() => {
                let config: FilterStateInput = any::decode(any, &typed_at, self.issues)?;
                Some(Input::FilterState(config.key.as_str().into()))
            }
            Some(any) => {
                let message = format!("Route table can only match on request headers, saw {}", any.type_url);
                self.issues.push(typed_at.invalid(message));
                None
            }
            None => {
                self.issues.push(typed_at.invalid("an input is missing").expected(HttpRequestHeaderMatchInput::full_name()));
                None
            }
        }
    }

    fn on_match(
        &mut self,
        config: Option<&matcher::OnMatch>,
        inherited: &Inherited,
        routes: &mut Vec<Route>,
        at: &At<'_>,
    ) -> Option<OnMatch> {
        if config.is_some_and(|c| c.keep_matching) {
            self.issues.push(at.field("keep_matching").invalid("keep_matching is not supported in this context"));
            return None;
        }
        match config.and_then(|c| c.on_match.as_ref()) {
            Some(on_match::OnMatch::Matcher(matcher)) => {
                Some(OnMatch::Nested(Box::new(self.tree(matcher, inherited, routes, &at.field("matcher"))?)))
            }
            Some(on_match::OnMatch::Action(action)) => {
                let at = at.field("action");
                self.routes_of(action, inherited, routes, &at).map(OnMatch::Routes)
            }
            None => {
                self.issues.push(at.invalid("what follows a match is missing").expected("matcher or action"));
                None
            }
        }
    }

    /// Adds the routes of an action; gives their numbers.
    fn routes_of(
        &mut self,
        action: &TypedExtensionConfig,
        inherited: &Inherited,
        routes: &mut Vec<Route>,
        at: &At<'_>,
    ) -> Option<Range<usize>> {
        let typed_at = at.field("typed_config");
        let start = routes.len();
        match action.typed_config.as_ref() {
            Some(any) if any::type_name(any) == RouteList::full_name() => {
                let list: RouteList = any::decode(any, &typed_at, self.issues)?;
                let list_at = typed_at.field("routes");
                for (i, route) in list.routes.iter().enumerate() {
                    routes.push(self.route(route, inherited, &list_at.index(i))?);
                }
            }
            any => {
                let route: proto::Route = any::extension(any, at, self.issues)?;
                routes.push(self.route(&route, inherited, &typed_at)?);
            }
        }
        Some(start..routes.len())
    }
}
