//! Finds the first of many routes by path without trying each.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::matcher::PathMatch;

/// Fewer routes than this are tried one by one.
const WORTHWHILE: usize = 16;

/// Numbers of routes by what their path condition needs; each list is ascending, so that the first match is kept.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: HashMap<Box<[u8]>, Vec<u32>>,
    /// By length of the prefix, then by the prefix.
    prefixes: Vec<(usize, HashMap<Box<[u8]>, Vec<u32>>)>,
    /// Routes that no key tells: regular expressions and those that ignore case.
    others: Vec<u32>,
}

impl PathIndex {
    /// An index of these conditions, or nothing where trying each is as good.
    pub(super) fn new<'m>(routes: impl ExactSizeIterator<Item = &'m PathMatch>) -> Option<PathIndex> {
        if routes.len() < WORTHWHILE {
            return None;
        }
        let mut index = PathIndex::default();
        for (at, path) in routes.enumerate() {
            let at = at as u32;
            match path {
                PathMatch::Exact(path) => index.exact.entry(path.clone()).or_default().push(at),
                PathMatch::Prefix(prefix) | PathMatch::Separated(prefix) => {
                    let slot = match index.prefixes.iter().position(|(len, _)| *len == prefix.len()) {
                        Some(slot) => slot,
                        None => {
                            index.prefixes.push((prefix.len(), HashMap::new()));
                            index.prefixes.len() - 1
                        }
                    };
                    index.prefixes[slot].1.entry(prefix.clone()).or_default().push(at);
                }
                _ => index.others.push(at),
            }
        }
        Some(index)
    }

    /// The first route, in order, of those whose path can match, that `accept` takes.
    pub(super) fn find(&self, path: &[u8], mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut lists: SmallVec<[&[u32]; 16]> = SmallVec::new();
        lists.extend(self.exact.get(path).map(Vec::as_slice));
        lists.extend(self.prefixes.iter().filter_map(|(len, map)| map.get(path.get(..*len)?).map(Vec::as_slice)));
        if !self.others.is_empty() {
            lists.push(&self.others);
        }
        loop {
            let list = lists.iter_mut().filter(|l| !l.is_empty()).min_by_key(|l| l[0])?;
            let at = list[0] as usize;
            *list = &list[1..];
            if accept(at) {
                return Some(at);
            }
        }
    }
}
