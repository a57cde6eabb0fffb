//! Finds where in its file a field path stands.
//!
//! Nothing is kept for it but the text itself: the document is parsed again when a place is first asked for, which only happens for issues.

use std::sync::{Arc, OnceLock};

use crate::{
    document::{Document, Format, Input, NodeId, View},
    issue::Issue,
    path::{self, TextStep},
};

/// The texts that a configuration was read from.
#[derive(Debug, Default)]
pub struct Places {
    inputs: Vec<Arc<Input>>,
    documents: OnceLock<Vec<Document>>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File name as given by the caller.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Places {
    pub(crate) fn new(inputs: Vec<Arc<Input>>) -> Places {
        Places { inputs, documents: OnceLock::new() }
    }

    /// Where a field path such as `static_resources.clusters[3].name` stands, or the nearest part of it that is written in the file.
    /// `None` for binary input and JavaScript objects.
    pub fn locate(&self, path: &str) -> Option<Place> {
        let (input, at) = self.find(path)?;
        let (line, column) = input.line_column(at);
        Some(Place { file: input.file.clone(), line, column })
    }

    /// Adds file, line and column to an issue that has none.
    pub fn annotate(&self, issue: &mut Issue) {
        if issue.line.is_some() {
            return;
        }
        match self.find(&issue.path) {
            Some((input, at)) => input.place(issue, at),
            None => issue.file = issue.file.take().or_else(|| self.inputs.first().and_then(|i| i.file.clone())),
        }
    }

    /// [`Places::annotate`] for each.
    pub fn annotate_all(&self, issues: &mut [Issue]) {
        for issue in issues {
            self.annotate(issue);
        }
    }

    /// Which input an issue is of, for sorting.
    pub(crate) fn index(&self, issue: &Issue) -> usize {
        self.inputs.iter().position(|i| i.file == issue.file).unwrap_or(0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// How many elements the list at this path has.
    pub(crate) fn count(&self, path: &str) -> usize {
        let documents = self.documents();
        let mut candidates: Vec<(usize, NodeId)> = documents.iter().enumerate().map(|(i, d)| (i, d.root())).collect();
        for step in path::parse(path) {
            candidates = step_into(documents, &candidates, &step).into_iter().map(|(d, n, _)| (d, n)).collect();
        }
        candidates.iter().map(|(d, n)| flatten(&documents[*d], *n).len()).sum()
    }

    fn documents(&self) -> &[Document] {
        self.documents.get_or_init(|| {
            self.inputs.iter().filter(|i| i.format != Format::Binary).filter_map(|i| Document::parse(Arc::clone(i)).ok()).collect()
        })
    }

    fn find(&self, path: &str) -> Option<(&Input, u32)> {
        let documents = self.documents();
        // Several inputs are merged: a list's elements are counted through all of them.
        let mut candidates: Vec<(usize, NodeId)> = documents.iter().enumerate().map(|(i, d)| (i, d.root())).collect();
        let (mut doc, mut at) = candidates.first().map(|(i, n)| (*i, documents[*i].at(*n)))?;
        for step in path::parse(path) {
            let next = step_into(documents, &candidates, &step);
            let Some((d, _, key_at)) = next.first() else { break };
            (doc, at) = (*d, *key_at);
            candidates = next.into_iter().map(|(d, n, _)| (d, n)).collect();
        }
        let input = documents[doc].input();
        input.has_places().then(|| (&**input, at))
    }
}

/// Follows one step in every candidate: (document, node, offset to report).
fn step_into(documents: &[Document], candidates: &[(usize, NodeId)], step: &TextStep<'_>) -> Vec<(usize, NodeId, u32)> {
    let mut out = Vec::new();
    match step {
        TextStep::Index(index) => {
            let mut left = *index;
            for (d, node) in candidates {
                let doc = &documents[*d];
                let elements = flatten(doc, *node);
                match elements.get(left) {
                    Some(element) => {
                        out.push((*d, *element, doc.at(*element)));
                        return out;
                    }
                    None => left -= elements.len(),
                }
            }
        }
        TextStep::Name(_) | TextStep::Key(_) => {
            for (d, node) in candidates {
                let doc = &documents[*d];
                let View::Map(entries) = doc.view(*node) else { continue };
                let same = |key: &str| match step {
                    TextStep::Name(name) => same_field(key, name),
                    TextStep::Key(name) => key == name,
                    TextStep::Index(_) => false,
                };
                out.extend(entries.iter().filter(|(k, _)| same(doc.key(*k))).map(|(k, v)| (*d, v, doc.at(k))));
            }
            // The last of the writers counts.
            out.reverse();
            let documents_first: Vec<usize> = candidates.iter().map(|c| c.0).collect();
            out.sort_by_key(|(d, ..)| documents_first.iter().position(|f| f == d));
        }
    }
    out
}

/// The elements that Envoy makes of a list field's value: lists within lists are one list, a single value is a list of one.
fn flatten(doc: &Document, node: NodeId) -> Vec<NodeId> {
    let mut out = Vec::new();
    let mut stack = vec![node];
    while let Some(node) = stack.pop() {
        match doc.view(node) {
            View::Seq(items) => stack.extend(items.iter().rev()),
            View::Null if node == doc.root() => {}
            _ => out.push(node),
        }
        if out.len() + stack.len() > 10_000_000 {
            break;
        }
    }
    out
}

/// Whether a key is the proto name or the JSON name of a field.
fn same_field(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    let plain = |s: &str| s.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase()).collect::<Vec<u8>>();
    plain(key) == plain(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(places: &Places, path: &str) -> String {
        places.locate(path).map_or("none".to_owned(), |p| format!("{}:{}:{}", p.file.unwrap_or_default(), p.line, p.column))
    }

    #[test]
    fn paths_are_found_in_yaml() {
        let yaml = "staticResources:\n  clusters:\n  - name: a\n    metadata: {filter_metadata: {\"x.y\": {z: 1}}}\n  - [{name: b}]\n";
        let places = Places::new(vec![Arc::new(Input::yaml(yaml).named("f"))]);
        for (path, want) in [
            ("", "f:1:1"),
            ("static_resources", "f:1:1"),
            ("static_resources.clusters[0].name", "f:3:5"),
            ("static_resources.clusters[0].connect_timeout", "f:3:5"),
            ("static_resources.clusters[1].name", "f:5:7"),
            ("static_resources.clusters[0].metadata.filter_metadata[\"x.y\"].z", "f:4:42"),
            ("static_resources.clusters[9]", "f:2:3"),
            ("nothing.at.all", "f:1:1"),
        ] {
            assert_eq!(at(&places, path), want, "{path}");
        }
    }

    #[test]
    fn merged_inputs_count_through() {
        let a = Input::yaml("static_resources: {clusters: [{name: a}, {name: b}]}").named("a");
        let b = Input::json("{\"static_resources\":\n {\"clusters\": [{\"name\": \"c\"}], \"listeners\": {}}}").named("b");
        let places = Places::new(vec![Arc::new(a), Arc::new(b)]);
        assert_eq!(at(&places, "static_resources.clusters[1].name"), "a:1:43");
        assert_eq!(at(&places, "static_resources.clusters[2].name"), "b:2:17");
        assert_eq!(at(&places, "static_resources.listeners[0]"), "b:2:45");
    }
}
