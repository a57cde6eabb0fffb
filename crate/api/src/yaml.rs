//! YAML text to a document, with scalars resolved as Envoy (yaml-cpp) does.
//!
//! What Envoy does and YAML 1.2 does not: `yes`, `on`, `y` are booleans; `010` is eight and `0x10` sixteen; a number with a point or an
//! exponent stays text; an integer beyond 32 bits becomes text in decimal form; `<<` is an ordinary key; a key tagged `!ignore` is left out.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::document::{Document, Input, MAX_DEPTH, NodeId};

type Result<T> = std::result::Result<T, (u32, String)>;

pub(crate) fn parse(input: Arc<Input>, text: &str) -> Result<Document> {
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { text, doc: Document::new(input), frames: Vec::new(), anchors: HashMap::new(), children: Vec::new() };
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| scan_error(&e, text))?;
        if let Some(root) = builder.event(event, &span)? {
            builder.doc.set_root(root);
            return Ok(builder.doc);
        }
    }
    let root = builder.doc.null(0);
    builder.doc.set_root(root);
    Ok(builder.doc)
}

fn scan_error(error: &ScanError, text: &str) -> (u32, String) {
    let marker = error.marker();
    let at = marker.byte_offset().unwrap_or_else(|| text.char_indices().nth(marker.index()).map_or(text.len(), |(i, _)| i));
    (at as u32, format!("invalid YAML: {}", error.info()))
}

struct Builder<'a> {
    text: &'a str,
    doc: Document,
    frames: Vec<Frame>,
    children: Vec<NodeId>,
    anchors: HashMap<usize, NodeId>,
}

/// A list or mapping that is being read.
struct Frame {
    at: usize,
    anchor: usize,
    base: usize,
    mapping: bool,
    /// The key that is being read, or whose value comes next, is tagged `!ignore`.
    ignore: bool,
}

impl Builder<'_> {
    /// Takes one event; returns the root once it is complete.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<Option<NodeId>> {
        let at = span.start.byte_offset().unwrap_or(0);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let end = span.end.byte_offset().unwrap_or(at);
                let key = self.expects_key();
                let id = if key { self.key(at, end, &text) } else { self.scalar(at, end, &text, style, tag.as_deref()) };
                if key {
                    self.mark_ignored(tag.as_deref());
                }
                self.anchor(anchor, id);
                Ok(self.add(id))
            }
            Event::SequenceStart(_, anchor, tag) => self.open(at, anchor, false, tag),
            Event::MappingStart(_, anchor, tag) => self.open(at, anchor, true, tag),
            Event::SequenceEnd | Event::MappingEnd => {
                // The parser pairs starts and ends.
                let Some(frame) = self.frames.pop() else { return Ok(None) };
                let children = &self.children[frame.base..];
                let id = if frame.mapping { self.doc.map(frame.at, children) } else { self.doc.seq(frame.at, children) };
                self.children.truncate(frame.base);
                self.anchor(frame.anchor, id);
                Ok(self.add(id))
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(id) => {
                    let id = *id;
                    if self.expects_key() {
                        self.mark_ignored(None);
                    }
                    Ok(self.add(id))
                }
                None => Err((at as u32, "invalid YAML: an alias inside the node that it names".to_owned())),
            },
            // An empty document: yaml-cpp gives a null.
            Event::DocumentEnd => {
                let id = self.doc.null(at);
                Ok(Some(id))
            }
            _ => Ok(None),
        }
    }

    fn open(&mut self, at: usize, anchor: usize, mapping: bool, tag: Option<Cow<'_, Tag>>) -> Result<Option<NodeId>> {
        if self.expects_key() {
            if !self.is_ignored(tag.as_deref()) {
                return Err((at as u32, "invalid YAML: a key must be a scalar".to_owned()));
            }
            self.mark_ignored(tag.as_deref());
        }
        if self.frames.len() >= MAX_DEPTH {
            return Err((at as u32, format!("invalid YAML: nested deeper than {MAX_DEPTH} levels")));
        }
        self.frames.push(Frame { at, anchor, base: self.children.len(), mapping, ignore: false });
        Ok(None)
    }

    fn expects_key(&self) -> bool {
        self.frames.last().is_some_and(|f| f.mapping && (self.children.len() - f.base).is_multiple_of(2))
    }

    fn is_ignored(&self, tag: Option<&Tag>) -> bool {
        tag.is_some_and(|t| t.handle() == "!" && t.suffix() == "ignore")
    }

    fn mark_ignored(&mut self, tag: Option<&Tag>) {
        let ignore = self.is_ignored(tag);
        if let Some(frame) = self.frames.last_mut() {
            frame.ignore = ignore;
        }
    }

    fn anchor(&mut self, anchor: usize, id: NodeId) {
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
    }

    fn add(&mut self, id: NodeId) -> Option<NodeId> {
        let Some(frame) = self.frames.last_mut() else { return Some(id) };
        self.children.push(id);
        if frame.mapping && frame.ignore && (self.children.len() - frame.base).is_multiple_of(2) {
            self.children.truncate(self.children.len() - 2);
            frame.ignore = false;
        }
        None
    }

    fn key(&mut self, at: usize, end: usize, text: &str) -> NodeId {
        self.string(at, end, text)
    }

    /// A string node that borrows from the source where it can.
    fn string(&mut self, at: usize, end: usize, text: &str) -> NodeId {
        for skip in [0, 1] {
            if at + skip + text.len() <= end && self.text.get(at + skip..at + skip + text.len()) == Some(text) {
                return self.doc.source_string(at, at + skip, text.len());
            }
        }
        self.doc.side_string(at, text)
    }

    fn scalar(&mut self, at: usize, end: usize, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> NodeId {
        // yaml-cpp gives quoted and block scalars the tag "!": always text.
        let literal = style != ScalarStyle::Plain && tag.is_none() || tag.is_some_and(|t| t.original() == "!");
        if literal {
            return self.string(at, end, text);
        }
        if style == ScalarStyle::Plain && tag.is_none() && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return self.doc.null(at);
        }
        if let Some(value) = boolean(text) {
            return self.doc.boolean(at, value);
        }
        match integer(text) {
            Some(n) => {
                let decimal = n.to_string();
                if i32::try_from(n).is_err() {
                    self.doc.side_string(at, &decimal)
                } else if decimal == text && self.text.get(at..at + text.len()) == Some(text) {
                    self.doc.source_number(at, text.len())
                } else {
                    self.doc.side_number(at, &decimal)
                }
            }
            None => self.string(at, end, text),
        }
    }
}

/// yaml-cpp's booleans: all lower, all upper, or capitalised.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text.len() > 5 {
        return None;
    }
    let rest = text.get(1..)?;
    let flexible = rest.bytes().all(|b| b.is_ascii_lowercase()) || text.bytes().all(|b| b.is_ascii_uppercase());
    if !flexible {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// A C++ stream's integer with base detection: `017` octal, `0x1f` hexadecimal, else decimal; a sign is allowed.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if digits.is_empty() || !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::View;

    fn text(yaml: &str) -> String {
        let doc = Document::parse(Arc::new(Input::yaml(yaml))).map_err(|e| e.to_string());
        match doc {
            Ok(doc) => render(&doc, doc.root()),
            Err(e) => e,
        }
    }

    fn render(doc: &Document, id: NodeId) -> String {
        match doc.view(id) {
            View::Null => "null".into(),
            View::Bool(b) => b.to_string(),
            View::Number(n) => n.into(),
            View::String(s) => format!("'{s}'"),
            View::Seq(items) => format!("[{}]", items.iter().map(|i| render(doc, *i)).collect::<Vec<_>>().join(",")),
            View::Map(entries) => {
                format!("{{{}}}", entries.iter().map(|(k, v)| format!("{}:{}", doc.key(k), render(doc, v))).collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn scalars_resolve_as_in_yaml_cpp() {
        for (yaml, want) in [
            ("yes", "true"),
            ("Yes", "true"),
            ("YES", "true"),
            ("yEs", "'yEs'"),
            ("n", "false"),
            ("off", "false"),
            ("010", "8"),
            ("08", "'08'"),
            ("0x1F", "31"),
            ("1.50", "'1.50'"),
            ("1e3", "'1e3'"),
            ("+5", "5"),
            ("-7", "-7"),
            ("2147483647", "2147483647"),
            ("2147483648", "'2147483648'"),
            ("99999999999999999999", "'99999999999999999999'"),
            ("1_000", "'1_000'"),
            ("~", "null"),
            ("Null", "null"),
            ("nUll", "'nUll'"),
            ("'10'", "'10'"),
            ("\"yes\"", "'yes'"),
            ("! 10", "'10'"),
            ("!!str 10", "10"),
            ("{a: , b: ''}", "{a:null,b:''}"),
            ("|\n 10\n", "'10\n'"),
        ] {
            assert_eq!(text(yaml), want, "{yaml}");
        }
    }

    #[test]
    fn structure_follows_envoy() {
        for (yaml, want) in [
            ("!ignore x: &a {n: 1}\ny: *a", "{y:{n:1}}"),
            ("!ignore x: &a {n: 1}\ny: {<<: *a}", "{y:{<<:{n:1}}}"),
            ("a: 1\n---\nb: [", "{a:1}"),
            ("", "null"),
            ("---\n", "null"),
            ("1: a\ntrue: b\n~: c", "{1:'a',true:'b',~:'c'}"),
            ("- a\n- [b]", "['a',['b']]"),
        ] {
            assert_eq!(text(yaml), want, "{yaml}");
        }
        assert!(text("a: &a [*a]").contains("alias"), "{}", text("a: &a [*a]"));
        assert!(text("? [a]\n: b").contains("key must be a scalar"));
        assert!(text("a: [").contains("invalid YAML"));
    }
}
