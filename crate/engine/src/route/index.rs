//! Finds the first of many routes by path without trying each.

use smallvec::SmallVec;

use super::{
    matcher::{Key, PathMatch},
    pattern::Case,
};

/// Fewer routes than this are tried one by one.
const WORTHWHILE: usize = 16;

/// Numbers of routes by what their path condition needs. Each list is ascending, so that the first match is kept.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    case_counts: Trie,
    /// Of texts in lower case.
    case_ignored: Trie,
    /// Routes that no text tells: regular expressions and CONNECT.
    others: Vec<u32>,
}

impl PathIndex {
    /// An index of these conditions, or nothing where trying each is as good.
    pub(super) fn new<'m>(routes: impl ExactSizeIterator<Item = &'m PathMatch>) -> Option<PathIndex> {
        if routes.len() < WORTHWHILE {
            return None;
        }
        let mut index = PathIndex::default();
        for (number, path) in routes.enumerate() {
            let number = number as u32;
            match path.key() {
                Key::Whole(text, case) => index.trie(case).node(text).whole.push(number),
                Key::Beginning(text, case) => index.trie(case).node(text).beginning.push(number),
                Key::Segments(text, case) => index.trie(case).node(text).segments.push(number),
                Key::None => index.others.push(number),
            }
        }
        Some(index)
    }

    fn trie(&mut self, case: Case) -> &mut Trie {
        match case {
            Case::Sensitive => &mut self.case_counts,
            Case::Ignored => &mut self.case_ignored,
        }
    }

    /// The first route, in order, of those whose path can match, that `accept` takes. A request without a path (CONNECT)
    /// has only those that no text tells.
    pub(super) fn find(&self, path: Option<&[u8]>, mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut candidates = Candidates::default();
        candidates.push(&self.others);
        if let Some(path) = path {
            self.case_counts.walk(path, &mut candidates);
            if !self.case_ignored.is_empty() {
                let lower: SmallVec<[u8; 256]> = path.iter().map(u8::to_ascii_lowercase).collect();
                self.case_ignored.walk(&lower, &mut candidates);
            }
        }
        while let Some(number) = candidates.next() {
            if accept(number as usize) {
                return Some(number as usize);
            }
        }
        None
    }
}

/// Texts by their beginnings. All nodes are in one list, so that no depth of nesting is one of the stack.
#[derive(Debug)]
struct Trie {
    /// The first is the root, with no text.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// What stands here behind the texts of the nodes above.
    text: Box<[u8]>,
    /// By the first byte of their text, in its order.
    children: Vec<(u8, u32)>,
    /// Routes for paths that end here.
    whole: Vec<u32>,
    /// Routes for paths that begin so.
    beginning: Vec<u32>,
    /// Routes for paths that end here or go on with a slash.
    segments: Vec<u32>,
}

impl Default for Trie {
    fn default() -> Trie {
        Trie { nodes: vec![Node::default()] }
    }
}

impl Trie {
    fn is_empty(&self) -> bool {
        let root = &self.nodes[0];
        root.children.is_empty() && root.whole.is_empty() && root.beginning.is_empty() && root.segments.is_empty()
    }

    /// The node of this text; made where there is none.
    fn node(&mut self, text: &[u8]) -> &mut Node {
        let (mut at, mut rest) = (0, text);
        while let Some(first) = rest.first() {
            match self.nodes[at].children.binary_search_by_key(first, |(byte, _)| *byte) {
                Ok(child) => {
                    at = self.nodes[at].children[child].1 as usize;
                    let common = self.nodes[at].text.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    if common < self.nodes[at].text.len() {
                        self.split(at, common);
                    }
                    rest = &rest[common..];
                }
                Err(child) => {
                    let new = self.nodes.len();
                    self.nodes[at].children.insert(child, (*first, new as u32));
                    self.nodes.push(Node { text: rest.into(), ..Node::default() });
                    (at, rest) = (new, b"");
                }
            }
        }
        &mut self.nodes[at]
    }

    /// Leaves the first `length` bytes of a node's text there, and moves all else into a child.
    fn split(&mut self, at: usize, length: usize) {
        let child = (self.nodes[at].text[length], self.nodes.len() as u32);
        let head = Node { text: self.nodes[at].text[..length].into(), children: vec![child], ..Node::default() };
        let mut tail = std::mem::replace(&mut self.nodes[at], head);
        tail.text = tail.text[length..].into();
        self.nodes.push(tail);
    }

    /// Gives the routes that this path can have.
    fn walk<'t>(&'t self, path: &[u8], candidates: &mut Candidates<'t>) {
        let (mut node, mut rest) = (&self.nodes[0], path);
        loop {
            candidates.push(&node.beginning);
            if matches!(rest.first(), None | Some(b'/')) {
                candidates.push(&node.segments);
            }
            let Some(first) = rest.first() else { return candidates.push(&node.whole) };
            let Ok(child) = node.children.binary_search_by_key(first, |(byte, _)| *byte) else { return };
            node = &self.nodes[node.children[child].1 as usize];
            match rest.strip_prefix(&*node.text) {
                Some(behind) => rest = behind,
                None => return,
            }
        }
    }
}

/// Ascending lists of numbers, read as one: a heap of lists, the one with the least number first.
#[derive(Default)]
struct Candidates<'t>(SmallVec<[&'t [u32]; 16]>);

impl<'t> Candidates<'t> {
    fn push(&mut self, list: &'t [u32]) {
        if list.is_empty() {
            return;
        }
        self.0.push(list);
        let mut at = self.0.len() - 1;
        while at > 0 && self.0[at][0] < self.0[(at - 1) / 2][0] {
            self.0.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn next(&mut self) -> Option<u32> {
        let first = *self.0.first()?;
        match &first[1..] {
            [] => drop(self.0.swap_remove(0)),
            rest => self.0[0] = rest,
        }
        let mut at = 0;
        loop {
            let least = [at, 2 * at + 1, 2 * at + 2].into_iter().filter(|i| *i < self.0.len()).min_by_key(|i| self.0[*i][0]);
            match least {
                Some(least) if least != at => {
                    self.0.swap(at, least);
                    at = least;
                }
                _ => return Some(first[0]),
            }
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
