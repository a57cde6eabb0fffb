//! JSON text to a document, in one pass that keeps offsets.
//!
//! Takes what Envoy takes beyond the standard: single quotes, bare words as keys, a comma after the last element, raw control characters in text.

use std::sync::Arc;

use crate::document::{Document, Input, MAX_DEPTH, NodeId};

type Result<T> = std::result::Result<T, (u32, String)>;

pub(crate) fn parse(input: Arc<Input>, text: &str) -> Result<Document> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, doc: Document::new(input), scratch: String::new(), stack: Vec::new() };
    if text.starts_with('\u{feff}') {
        parser.at = 3;
    }
    parser.space();
    let root = parser.value(0)?;
    parser.space();
    if parser.at < parser.text.len() {
        return parser.fail("text after the end of the JSON value");
    }
    parser.doc.set_root(root);
    Ok(parser.doc)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    doc: Document,
    scratch: String,
    stack: Vec<NodeId>,
}

impl Parser<'_> {
    fn fail<T>(&self, message: &str) -> Result<T> {
        Err((self.at as u32, format!("invalid JSON: {message}")))
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        // Offsets are only moved past whole ASCII tokens, so this is the start of a character.
        match std::str::from_utf8(&self.text[self.at..]).ok().and_then(|rest| rest.chars().next()) {
            Some(c) => self.fail(&format!("expected {wanted}, got '{}'", c.escape_debug())),
            None => self.fail(&format!("expected {wanted}, got the end of the text")),
        }
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<NodeId> {
        if depth > MAX_DEPTH {
            return self.fail(&format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let at = self.at;
        match self.text.get(at) {
            Some(b'"' | b'\'') => self.string(),
            Some(b'{') => self.object(at, depth),
            Some(b'[') => self.array(at, depth),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            Some(b't') if self.word(b"true") => Ok(self.doc.boolean(at, true)),
            Some(b'f') if self.word(b"false") => Ok(self.doc.boolean(at, false)),
            Some(b'n') if self.word(b"null") => Ok(self.doc.null(at)),
            _ => self.unexpected("a value"),
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn object(&mut self, at: usize, depth: usize) -> Result<NodeId> {
        let base = self.stack.len();
        self.at += 1;
        self.space();
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(self.doc.map(at, &[]));
        }
        loop {
            let key = match self.text.get(self.at) {
                Some(b'"' | b'\'') => self.string()?,
                Some(b) if b.is_ascii_alphabetic() || matches!(b, b'_' | b'$') => self.bare_key(),
                _ => return self.unexpected("a quoted key"),
            };
            self.space();
            if self.text.get(self.at) != Some(&b':') {
                return self.unexpected("':'");
            }
            self.at += 1;
            self.space();
            let value = self.value(depth + 1)?;
            self.stack.push(key);
            self.stack.push(value);
            if self.more(b'}', "',' or '}'")? {
                continue;
            }
            let id = self.doc.map(at, &self.stack[base..]);
            self.stack.truncate(base);
            return Ok(id);
        }
    }

    fn array(&mut self, at: usize, depth: usize) -> Result<NodeId> {
        let base = self.stack.len();
        self.at += 1;
        self.space();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(self.doc.seq(at, &[]));
        }
        loop {
            let value = self.value(depth + 1)?;
            self.stack.push(value);
            if self.more(b']', "',' or ']'")? {
                continue;
            }
            let id = self.doc.seq(at, &self.stack[base..]);
            self.stack.truncate(base);
            return Ok(id);
        }
    }

    /// Whether another member follows; else takes the bracket that closes. A comma before that one is passed over.
    fn more(&mut self, close: u8, expected: &str) -> Result<bool> {
        self.space();
        match self.text.get(self.at) {
            Some(b',') => {
                self.at += 1;
                self.space();
                if self.text.get(self.at) != Some(&close) {
                    return Ok(true);
                }
            }
            Some(byte) if *byte == close => {}
            _ => return self.unexpected(expected),
        }
        self.at += 1;
        Ok(false)
    }

    fn number(&mut self, at: usize) -> Result<NodeId> {
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.unexpected("a digit"),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
                return self.unexpected("a digit");
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
                return self.unexpected("a digit");
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            return self.fail("a number must not start with 0");
        }
        Ok(self.doc.source_number(at, self.at - at))
    }

    fn digits(&mut self) {
        while matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn bare_key(&mut self) -> NodeId {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')) {
            self.at += 1;
        }
        self.doc.source_string(start, start, self.at - start)
    }

    fn string(&mut self) -> Result<NodeId> {
        let at = self.at;
        let quote = self.text[at];
        self.at += 1;
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b) if *b == quote => {
                    let len = self.at - start;
                    self.at += 1;
                    return Ok(self.doc.source_string(at, start, len));
                }
                Some(b'\\') => break,
                Some(_) => self.at += 1,
                None => return self.fail("a string without an end"),
            }
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let mut from = start;
        loop {
            match self.text.get(self.at) {
                Some(b) if *b == quote => {
                    self.copy(&mut text, from);
                    self.at += 1;
                    let id = self.doc.side_string(at, &text);
                    self.scratch = text;
                    return Ok(id);
                }
                Some(b'\\') => {
                    self.copy(&mut text, from);
                    self.escape(&mut text)?;
                    from = self.at;
                }
                Some(_) => self.at += 1,
                None => return self.fail("a string without an end"),
            }
        }
    }

    fn copy(&self, text: &mut String, from: usize) {
        // Both ends stand beside an ASCII byte of a UTF-8 text, so the slice is UTF-8.
        text.push_str(std::str::from_utf8(&self.text[from..self.at]).unwrap_or_default());
    }

    fn escape(&mut self, text: &mut String) -> Result<()> {
        self.at += 1;
        let c = match self.text.get(self.at) {
            Some(b'"') => '"',
            Some(b'\'') => '\'',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let high = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return self.fail("half of a surrogate pair");
                    }
                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                match char::from_u32(code) {
                    Some(c) => text.push(c),
                    None => return self.fail("half of a surrogate pair"),
                }
                return Ok(());
            }
            _ => return self.fail("an unknown escape in a string"),
        };
        self.at += 1;
        text.push(c);
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(code) = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u32::from_str_radix(d, 16).ok()) else {
            return self.fail("\\u needs four hexadecimal digits");
        };
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::View;

    fn show(text: &str) -> String {
        match parse(Arc::new(Input::json(text)), text) {
            Ok(doc) => render(&doc, doc.root()),
            Err((at, message)) => format!("{at}: {message}"),
        }
    }

    fn render(doc: &Document, id: NodeId) -> String {
        match doc.view(id) {
            View::Null => "null".into(),
            View::Bool(b) => b.to_string(),
            View::Number(n) => n.into(),
            View::String(s) => format!("{s:?}"),
            View::Seq(items) => format!("[{}]", items.iter().map(|i| render(doc, *i)).collect::<Vec<_>>().join(",")),
            View::Map(entries) => {
                format!("{{{}}}", entries.iter().map(|(k, v)| format!("{}:{}", doc.key(k), render(doc, v))).collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn values() {
        for (text, want) in [
            (r#" {"a": [1, -2.5e3, true, false, null, {}], "b": []} "#, "{a:[1,-2.5e3,true,false,null,{}],b:[]}"),
            (r#""q\"\\\/\b\f\n\r\tA\u00e9\ud83d\ude00""#, "\"q\\\"\\\\/\\u{8}\\u{c}\\n\\r\\tAé😀\""),
            (r#"{"aé": "ü"}"#, "{aé:\"ü\"}"),
            ("{'a': 'b\"', c: [1,],}", "{a:\"b\\\"\",c:[1]}"),
            ("\"a\tb\nc\"", "\"a\\tb\\nc\""),
        ] {
            assert_eq!(show(text), want, "{text}");
        }
    }

    #[test]
    fn errors_name_offset_and_cause() {
        for (text, want) in [
            ("", "0: invalid JSON: expected a value, got the end of the text"),
            ("{\"a\" 1}", "5: invalid JSON: expected ':', got '1'"),
            ("{\"a\": 1 \"b\"}", "8: invalid JSON: expected ',' or '}', got '\\\"'"),
            ("[1 2]", "3: invalid JSON: expected ',' or ']', got '2'"),
            ("[,]", "1: invalid JSON: expected a value, got ','"),
            ("01", "1: invalid JSON: a number must not start with 0"),
            ("1.", "2: invalid JSON: expected a digit, got the end of the text"),
            ("+1", "0: invalid JSON: expected a value, got '+'"),
            ("\"a", "2: invalid JSON: a string without an end"),
            ("\"\\x\"", "2: invalid JSON: an unknown escape in a string"),
            ("\"\\u12\"", "3: invalid JSON: \\u needs four hexadecimal digits"),
            ("\"\\ud800\"", "7: invalid JSON: half of a surrogate pair"),
            ("{} x", "3: invalid JSON: text after the end of the JSON value"),
            ("é", "0: invalid JSON: expected a value, got 'é'"),
            ("tru", "0: invalid JSON: expected a value, got 't'"),
        ] {
            assert_eq!(show(text), want, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(show(&deep).ends_with("nested deeper than 100 levels"));
    }
}
