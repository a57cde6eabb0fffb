//! The field path of the place that a walk has reached; becomes text only when an issue needs it.

use std::{borrow::Cow, fmt::Write as _};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Field(&'static str),
    Index(usize),
    Key(Cow<'a, str>),
}

/// A path in proto names: `static_resources.clusters[0].metadata.filter_metadata["envoy.lb"]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path<'a>(Vec<Step<'a>>);

impl<'a> Path<'a> {
    pub(crate) fn push(&mut self, step: Step<'a>) {
        self.0.push(step);
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for step in &self.0 {
            match step {
                Step::Field(name) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(name);
                }
                // Writing to a String cannot fail.
                Step::Index(i) => {
                    let _ = write!(out, "[{i}]");
                }
                Step::Key(key) => {
                    let _ = write!(out, "[{key:?}]");
                }
            }
        }
        out
    }

    pub(crate) fn child(&self, name: &str) -> String {
        join(&self.text(), name)
    }
}

/// `path.name`, or just `name` at the root.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A step of a path given as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TextStep<'a> {
    Name(&'a str),
    Index(usize),
    Key(String),
}

/// Takes a path's text apart; what cannot be understood ends it.
pub(crate) fn parse(mut text: &str) -> Vec<TextStep<'_>> {
    let mut steps = Vec::new();
    loop {
        text = text.strip_prefix('.').unwrap_or(text);
        if text.is_empty() {
            return steps;
        }
        if let Some(rest) = text.strip_prefix("[\"") {
            let Some((key, rest)) = quoted(rest) else { return steps };
            steps.push(TextStep::Key(key));
            text = rest;
        } else if let Some(rest) = text.strip_prefix('[') {
            let Some((number, rest)) = rest.split_once(']') else { return steps };
            let Ok(index) = number.parse() else { return steps };
            steps.push(TextStep::Index(index));
            text = rest;
        } else {
            let end = text.find(['.', '[']).unwrap_or(text.len());
            steps.push(TextStep::Name(&text[..end]));
            text = &text[end..];
        }
    }
}

/// The inverse of `{:?}`, for a text that follows the opening quote; also takes the closing bracket.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((out, text[i + 1..].strip_prefix(']')?)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                '0' => out.push('\0'),
                'u' => {
                    chars.next();
                    let mut code = 0;
                    for (_, c) in chars.by_ref().take_while(|(_, c)| *c != '}') {
                        code = code * 16 + c.to_digit(16)?;
                        if code > 0x10_ffff {
                            return None;
                        }
                    }
                    out.push(char::from_u32(code)?);
                }
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_parse_agree() {
        let mut path = Path::default();
        path.push(Step::Field("a"));
        path.push(Step::Index(3));
        path.push(Step::Field("b_c"));
        path.push(Step::Key(Cow::Borrowed("x.y\"z]\u{1}\n")));
        path.push(Step::Field("d"));
        let text = path.text();
        assert_eq!(text, r#"a[3].b_c["x.y\"z]\u{1}\n"].d"#);
        let want =
            [TextStep::Name("a"), TextStep::Index(3), TextStep::Name("b_c"), TextStep::Key("x.y\"z]\u{1}\n".into()), TextStep::Name("d")];
        assert_eq!(parse(&text), want);
    }

    #[test]
    fn broken_paths_end_early() {
        for text in ["a[", "a[x]", "a[\"", "a[\"x\\u{ffffffff}\"]"] {
            assert_eq!(parse(text), [TextStep::Name("a")], "{text}");
        }
    }
}
