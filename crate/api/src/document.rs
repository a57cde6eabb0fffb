//! The parsed document: a compact tree of nodes that remember where in the text they stand.

use std::sync::Arc;

use crate::issue::{Issue, IssueCode};

/// Deepest nesting of lists and mappings in a document.
/// Envoy's JSON reader stops at the same depth.
pub(crate) const MAX_DEPTH: usize = 100;

/// Longest text that is read: positions are 32-bit offsets.
pub(crate) const MAX_BYTES: usize = 1 << 30;

/// How the bytes of an [`Input`] are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML as yaml-cpp reads it; the first document counts.
    Yaml,
    /// JSON; also what JavaScript objects become.
    Json,
    /// A protobuf message in its binary form.
    Binary,
}

/// One text to read, with the name that issues report.
#[derive(Debug)]
pub struct Input {
    pub(crate) bytes: Vec<u8>,
    pub(crate) format: Format,
    pub(crate) file: Option<String>,
    places: bool,
}

impl Input {
    /// YAML text.
    pub fn yaml(text: impl Into<Vec<u8>>) -> Input {
        Input { bytes: text.into(), format: Format::Yaml, file: None, places: true }
    }

    /// JSON text.
    pub fn json(text: impl Into<Vec<u8>>) -> Input {
        Input { bytes: text.into(), format: Format::Json, file: None, places: true }
    }

    /// A JavaScript object as JSON text: issues get a path, but no line and column, since nobody wrote that text.
    pub fn object(text: impl Into<Vec<u8>>) -> Input {
        Input { bytes: text.into(), format: Format::Json, file: None, places: false }
    }

    /// A binary protobuf message.
    pub fn binary(bytes: impl Into<Vec<u8>>) -> Input {
        Input { bytes: bytes.into(), format: Format::Binary, file: None, places: false }
    }

    /// The content of a file, in the format that Envoy takes from its name: `.json`, `.yaml`, `.yml` and `.pb`.
    /// Another ending is read as YAML, of which JSON is a part; the text formats `.pb_text` and `.prototxt` are refused.
    pub fn file(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Input, Vec<Issue>> {
        let format = match name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).as_deref() {
            Some("json") => Format::Json,
            Some("pb") => Format::Binary,
            Some(ending @ ("pb_text" | "prototxt" | "textproto")) => {
                let mut issue = Issue::error(IssueCode::Unsupported, "", format!("protobuf text files (.{ending}) are not read"))
                    .hint("write it as YAML, JSON or binary protobuf (.pb)");
                issue.file = Some(name.to_owned());
                return Err(vec![issue]);
            }
            _ => Format::Yaml,
        };
        Ok(Input { bytes: bytes.into(), format, file: Some(name.to_owned()), places: format != Format::Binary })
    }

    /// The same input under a name for issues to report.
    pub fn named(mut self, file: impl Into<String>) -> Input {
        self.file = Some(file.into());
        self
    }

    pub(crate) fn has_places(&self) -> bool {
        self.places
    }

    /// Line and column (both from 1, columns in characters) of a byte offset.
    pub(crate) fn line_column(&self, at: u32) -> (u32, u32) {
        let before = &self.bytes[..(at as usize).min(self.bytes.len())];
        let line = before.iter().filter(|b| **b == b'\n').count();
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
        let column = before[start..].iter().filter(|b| **b & 0xc0 != 0x80).count();
        (line as u32 + 1, column as u32 + 1)
    }

    /// Adds file, line and column to an issue.
    pub(crate) fn place(&self, issue: &mut Issue, at: u32) {
        issue.file.clone_from(&self.file);
        if self.places {
            let (line, column) = self.line_column(at);
            issue.line = Some(line);
            issue.column = Some(column);
        }
    }
}

/// Index of a node in its document.
pub(crate) type NodeId = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Null,
    False,
    True,
    /// Text in the source.
    Number,
    String,
    /// Text in the side buffer: it had escapes or was put in another form.
    SideNumber,
    SideString,
    /// A range of `links`: elements, or keys and values in turn.
    Seq,
    Map,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    at: u32,
    a: u32,
    b: u32,
    tag: Tag,
}

/// A parsed document.
#[derive(Debug)]
pub(crate) struct Document {
    input: Arc<Input>,
    nodes: Vec<Node>,
    links: Vec<NodeId>,
    side: String,
    root: NodeId,
}

/// What a node is, borrowed from the document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    Null,
    Bool(bool),
    /// A number in JSON's form.
    Number(&'a str),
    String(&'a str),
    Seq(&'a [NodeId]),
    Map(Entries<'a>),
}

/// Keys and values of a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'a>(&'a [NodeId]);

impl<'a> Entries<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = (NodeId, NodeId)> + 'a {
        self.0.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    pub(crate) fn len(self) -> usize {
        self.0.len() / 2
    }
}

impl Document {
    pub(crate) fn parse(input: Arc<Input>) -> Result<Document, Box<Issue>> {
        let mut issue = Issue::error(IssueCode::ConfigInvalid, "", "");
        if input.bytes.len() > MAX_BYTES {
            issue.message = format!("the text is longer than {MAX_BYTES} bytes");
            issue.file.clone_from(&input.file);
            return Err(Box::new(issue));
        }
        let bytes = Arc::clone(&input);
        let text = match std::str::from_utf8(&bytes.bytes) {
            Ok(text) => text,
            Err(error) => {
                issue.message = "the text is not UTF-8".to_owned();
                input.place(&mut issue, error.valid_up_to() as u32);
                return Err(Box::new(issue));
            }
        };
        let result = match input.format {
            Format::Json => crate::json::parse(Arc::clone(&input), text),
            _ => crate::yaml::parse(Arc::clone(&input), text),
        };
        result.map_err(|(at, message)| {
            issue.message = message;
            input.place(&mut issue, at);
            Box::new(issue)
        })
    }

    pub(crate) fn new(input: Arc<Input>) -> Document {
        Document { input, nodes: Vec::new(), links: Vec::new(), side: String::new(), root: 0 }
    }

    pub(crate) fn input(&self) -> &Arc<Input> {
        &self.input
    }

    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    pub(crate) fn set_root(&mut self, root: NodeId) {
        self.root = root;
    }

    /// How many nodes are written in the text.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn at(&self, id: NodeId) -> u32 {
        self.nodes[id as usize].at
    }

    pub(crate) fn view(&self, id: NodeId) -> View<'_> {
        let node = self.nodes[id as usize];
        let range = node.a as usize..(node.a + node.b) as usize;
        // Offsets were taken at character boundaries of a text known to be UTF-8, so `source` cannot come out empty by mistake.
        let source = || self.input.bytes.get(range.clone()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
        match node.tag {
            Tag::Null => View::Null,
            Tag::False => View::Bool(false),
            Tag::True => View::Bool(true),
            Tag::Number => View::Number(source()),
            Tag::String => View::String(source()),
            Tag::SideNumber => View::Number(&self.side[range]),
            Tag::SideString => View::String(&self.side[range]),
            Tag::Seq => View::Seq(&self.links[range]),
            Tag::Map => View::Map(Entries(&self.links[range])),
        }
    }

    /// The text of a mapping's key.
    pub(crate) fn key(&self, id: NodeId) -> &str {
        match self.view(id) {
            View::String(s) | View::Number(s) => s,
            View::Bool(true) => "true",
            View::Bool(false) => "false",
            _ => "null",
        }
    }

    fn push(&mut self, at: usize, tag: Tag, a: usize, b: usize) -> NodeId {
        self.nodes.push(Node { at: at as u32, a: a as u32, b: b as u32, tag });
        (self.nodes.len() - 1) as NodeId
    }

    pub(crate) fn null(&mut self, at: usize) -> NodeId {
        self.push(at, Tag::Null, 0, 0)
    }

    pub(crate) fn boolean(&mut self, at: usize, value: bool) -> NodeId {
        self.push(at, if value { Tag::True } else { Tag::False }, 0, 0)
    }

    /// A string that stands in the source as it is.
    pub(crate) fn source_string(&mut self, at: usize, start: usize, len: usize) -> NodeId {
        self.push(at, Tag::String, start, len)
    }

    /// A number that stands in the source as it is.
    pub(crate) fn source_number(&mut self, at: usize, len: usize) -> NodeId {
        self.push(at, Tag::Number, at, len)
    }

    pub(crate) fn side_string(&mut self, at: usize, text: &str) -> NodeId {
        let start = self.side.len();
        self.side.push_str(text);
        self.push(at, Tag::SideString, start, text.len())
    }

    pub(crate) fn side_number(&mut self, at: usize, text: &str) -> NodeId {
        let start = self.side.len();
        self.side.push_str(text);
        self.push(at, Tag::SideNumber, start, text.len())
    }

    pub(crate) fn seq(&mut self, at: usize, children: &[NodeId]) -> NodeId {
        let start = self.links.len();
        self.links.extend_from_slice(children);
        self.push(at, Tag::Seq, start, children.len())
    }

    /// `children` holds keys and values in turn.
    pub(crate) fn map(&mut self, at: usize, children: &[NodeId]) -> NodeId {
        let start = self.links.len();
        self.links.extend_from_slice(children);
        self.push(at, Tag::Map, start, children.len())
    }

    /// A short account of a node for `got`.
    pub(crate) fn describe(&self, id: NodeId) -> String {
        match self.view(id) {
            View::Null => "null".to_owned(),
            View::Bool(b) => b.to_string(),
            View::Number(n) => crate::issue::show(n).trim_matches('"').to_owned(),
            View::String(s) => crate::issue::show(s),
            View::Seq(_) => "a list".to_owned(),
            View::Map(_) => "a mapping".to_owned(),
        }
    }
}
