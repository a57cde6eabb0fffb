//! Matcher trees (`xds.type.matcher.v3.Matcher`): which routes of a virtual host are tried, by headers and filter state.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use super::{matcher::Lookup, pattern::StringMatch};
use crate::http::header::HeaderName;

/// `Matcher`: the first of its parts that comes to routes.
#[derive(Debug)]
pub struct Tree {
    /// `matcher_list` or `matcher_tree`; absent where there is only `on_no_match`.
    pub parts: Option<Parts>,
    /// `on_no_match`
    pub otherwise: Option<OnMatch>,
}

/// What a matcher is made of.
#[derive(Debug)]
pub enum Parts {
    /// `matcher_list`: tried in turn.
    List(Vec<(Predicate, OnMatch)>),
    /// `matcher_tree`
    Map(Input, Map),
}

/// `Matcher.OnMatch`
#[derive(Debug)]
pub enum OnMatch {
    /// `matcher`
    Nested(Box<Tree>),
    /// `action`: a `Route` or `RouteList`, as numbers of routes of the virtual host.
    Routes(Range<usize>),
}

/// `MatcherList.Predicate`
#[derive(Debug)]
pub enum Predicate {
    /// `single_predicate` with a `value_match`; false where there is no value.
    Single(Input, StringMatch),
    /// `and_matcher`
    And(Vec<Predicate>),
    /// `or_matcher`
    Or(Vec<Predicate>),
    /// `not_matcher`
    Not(Box<Predicate>),
}

/// Where a value comes from.
#[derive(Debug)]
pub enum Input {
    /// `HttpRequestHeaderMatchInput`: all lines, joined with commas.
    Header(HeaderName),
    /// `FilterStateInput`: the text of an object.
    FilterState(Box<str>),
}

impl Input {
    fn value<'r>(&self, request: Lookup<'r>) -> Option<Cow<'r, [u8]>> {
        match self {
            Input::Header(name) => {
                let first = request.headers.get_name(name)?;
                let mut more = request.headers.get_all(name).skip(1).peekable();
                if more.peek().is_none() {
                    return Some(Cow::Borrowed(first));
                }
                let mut all = first.to_vec();
                more.for_each(|line| {
                    all.push(b',');
                    all.extend_from_slice(line);
                });
                Some(Cow::Owned(all))
            }
            Input::FilterState(key) => request.info.filter_state.as_ref()?.get(key)?.text(),
        }
    }
}

/// Maps of values to what follows: `exact_match_map`, `prefix_match_map`, and the domains of a `ServerNameMatcher`.
#[derive(Debug, Default)]
pub struct Map {
    exact: HashMap<Box<[u8]>, OnMatch>,
    /// Longest first.
    prefixes: Vec<(usize, HashMap<Box<[u8]>, OnMatch>)>,
    /// Longest first.
    suffixes: Vec<(usize, HashMap<Box<[u8]>, OnMatch>)>,
    any: Option<OnMatch>,
}

impl Map {
    /// What follows for this value alone. Gives it back where the map has that value.
    pub fn exact(&mut self, value: &str, on_match: OnMatch) -> Result<(), OnMatch> {
        insert(&mut self.exact, value, on_match)
    }

    /// What follows for values that begin so.
    pub fn prefix(&mut self, value: &str, on_match: OnMatch) -> Result<(), OnMatch> {
        insert(of_length(&mut self.prefixes, value.len()), value, on_match)
    }

    /// What follows for values that end so.
    pub fn suffix(&mut self, value: &str, on_match: OnMatch) -> Result<(), OnMatch> {
        insert(of_length(&mut self.suffixes, value.len()), value, on_match)
    }

    /// What follows for every value that is not empty.
    pub fn any(&mut self, on_match: OnMatch) -> Result<(), OnMatch> {
        match self.any {
            Some(_) => Err(on_match),
            None => {
                self.any = Some(on_match);
                Ok(())
            }
        }
    }

    /// All that a value can have, the most specific first.
    fn candidates<'m>(&'m self, value: &'m [u8]) -> impl Iterator<Item = &'m OnMatch> {
        let prefixes = self.prefixes.iter().filter_map(|(len, map)| map.get(value.get(..*len)?));
        let suffixes = self.suffixes.iter().filter_map(|(len, map)| map.get(&value[value.len().checked_sub(*len)?..]));
        let any = self.any.iter().filter(|_| !value.is_empty());
        self.exact.get(value).into_iter().chain(prefixes).chain(suffixes).chain(any)
    }
}

fn insert(map: &mut HashMap<Box<[u8]>, OnMatch>, key: &str, on_match: OnMatch) -> Result<(), OnMatch> {
    if map.contains_key(key.as_bytes()) {
        return Err(on_match);
    }
    map.insert(key.as_bytes().into(), on_match);
    Ok(())
}

fn of_length(maps: &mut Vec<(usize, HashMap<Box<[u8]>, OnMatch>)>, length: usize) -> &mut HashMap<Box<[u8]>, OnMatch> {
    let at = maps.partition_point(|(len, _)| *len > length);
    if maps.get(at).is_none_or(|(len, _)| *len != length) {
        maps.insert(at, (length, HashMap::new()));
    }
    &mut maps[at].1
}

impl Tree {
    /// The routes that a request comes to. A nested matcher that comes to none leaves the choice to what would have been
    /// next, as in Envoy.
    pub(super) fn find(&self, request: Lookup<'_>) -> Option<Range<usize>> {
        let found = match &self.parts {
            None => None,
            Some(Parts::List(list)) => {
                list.iter().filter(|(predicate, _)| predicate.holds(request)).find_map(|(_, on_match)| on_match.find(request))
            }
            Some(Parts::Map(input, map)) => {
                input.value(request).and_then(|value| map.candidates(&value).find_map(|on_match| on_match.find(request)))
            }
        };
        found.or_else(|| self.otherwise.as_ref()?.find(request))
    }
}

impl OnMatch {
    fn find(&self, request: Lookup<'_>) -> Option<Range<usize>> {
        match self {
            OnMatch::Nested(tree) => tree.find(request),
            OnMatch::Routes(routes) => Some(routes.clone()),
        }
    }
}

impl Predicate {
    fn holds(&self, request: Lookup<'_>) -> bool {
        match self {
            Predicate::Single(input, test) => input.value(request).is_some_and(|value| test.matches(&value)),
            Predicate::And(all) => all.iter().all(|p| p.holds(request)),
            Predicate::Or(any) => any.iter().any(|p| p.holds(request)),
            Predicate::Not(inner) => !inner.holds(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::info, *};
    use crate::{filter_state::StringObject, http::header::HeaderList};

    fn to(route: usize) -> OnMatch {
        OnMatch::Routes(route..route + 1)
    }

    fn header(name: &str) -> Input {
        Input::Header(HeaderName::new(name))
    }

    fn find(tree: &Tree, lines: &[(&str, &str)]) -> Option<usize> {
        let mut headers = HeaderList::new();
        lines.iter().for_each(|(name, value)| headers.append(name.as_bytes(), value.as_bytes()));
        tree.find(Lookup { headers: &headers, info: &info(), random: 0 }).map(|routes| routes.start)
    }

    #[test]
    fn the_most_specific_entry_that_comes_to_routes_counts() {
        let mut inner = Map::default();
        inner.exact("1", to(5)).unwrap();
        let nested = |map| OnMatch::Nested(Box::new(Tree { parts: Some(Parts::Map(header("x-in"), map)), otherwise: None }));
        let mut map = Map::default();
        map.exact("a.b.c", nested(inner)).unwrap();
        map.suffix(".c", to(1)).unwrap();
        map.suffix(".b.c", to(2)).unwrap();
        map.prefix("q", to(3)).unwrap();
        map.any(to(4)).unwrap();
        assert!(map.exact("a.b.c", to(0)).is_err() && map.suffix(".c", to(0)).is_err() && map.any(to(0)).is_err());
        let tree = Tree { parts: Some(Parts::Map(header("x-d"), map)), otherwise: Some(to(9)) };
        for (value, want) in [("a.b.c", 2), ("b.c", 1), (".c", 1), ("c", 4), ("q.b.c", 3), ("A.B.C", 4), ("", 9)] {
            assert_eq!(find(&tree, &[("x-d", value)]), Some(want), "{value}");
        }
        assert_eq!(find(&tree, &[("x-d", "a.b.c"), ("x-in", "1")]), Some(5));
        assert_eq!(find(&tree, &[]), Some(9));
    }

    #[test]
    fn predicates_are_combined_and_lines_joined() {
        let is = |name: &str, text: &str| Predicate::Single(header(name), StringMatch::exact(text, false));
        let list = vec![
            (Predicate::And(vec![is("a", "1"), is("b", "2")]), to(1)),
            (Predicate::Or(vec![is("a", "1,1"), is("b", "3")]), to(2)),
            (Predicate::Not(Box::new(is("c", "4"))), to(3)),
        ];
        let tree = Tree { parts: Some(Parts::List(list)), otherwise: None };
        assert_eq!(find(&tree, &[("a", "1"), ("b", "2")]), Some(1));
        assert_eq!(find(&tree, &[("a", "1"), ("a", "1"), ("c", "4")]), Some(2));
        assert_eq!(find(&tree, &[]), Some(3));
        assert_eq!(find(&tree, &[("c", "4")]), None);
    }

    #[test]
    fn filter_state_is_an_input() {
        let mut map = Map::default();
        map.exact("v", to(1)).unwrap();
        let tree = Tree { parts: Some(Parts::Map(Input::FilterState("k".into()), map)), otherwise: None };
        let (headers, mut info) = (HeaderList::new(), info());
        assert_eq!(tree.find(Lookup { headers: &headers, info: &info, random: 0 }), None);
        info.filter_state_mut().set("k", std::rc::Rc::new(StringObject(b"v".to_vec())));
        assert_eq!(tree.find(Lookup { headers: &headers, info: &info, random: 0 }), Some(1..2));
    }
}
