//! Patterns over text as Envoy has them: full-match regular expressions, substitutions, and the string matcher.

use std::{borrow::Cow, fmt};

use regex::bytes::{Regex, RegexBuilder};

/// A regular expression in RE2's syntax, over bytes: as in Envoy each byte is a character, of the pattern too. Compiled once.
#[derive(Clone)]
pub struct Pattern {
    /// Anchored at both ends.
    full: Regex,
    /// As written, for substitution.
    open: Regex,
}

impl Pattern {
    /// Compiles `text`; the error says what is wrong with it.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let say = |e: regex::Error| e.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        // Classes of Unicode (`\pL`) are the only ones that cannot be had in bytes.
        let build = |text: &str| RegexBuilder::new(&in_bytes(text)).unicode(false).build().or_else(|_| Regex::new(text));
        let open = build(text).map_err(say)?;
        let full = build(&format!(r"\A(?:{text})\z")).map_err(say)?;
        Ok(Pattern { full, open })
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.full.is_match(text)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        self.open.as_str()
    }
}

/// The pattern with each byte of a character beyond ASCII by its number.
fn in_bytes(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut escaped = false;
    for character in text.chars() {
        // An escape of what needs none is an error of the pattern, and stays one.
        if character.is_ascii() || escaped {
            out.push(character);
        } else {
            character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!(r"\x{byte:02X}")));
        }
        escaped = character == '\\' && !escaped;
    }
    out.into()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `RegexMatchAndSubstitute`: replaces every match of a pattern; `\1` to `\9` stand for its groups, `\0` for the match.
#[derive(Clone, Debug)]
pub struct Rewrite {
    pattern: Pattern,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Vec<u8>),
    Group(usize),
}

impl Rewrite {
    /// Reads RE2's substitution syntax; the error says what is wrong with it.
    pub fn new(pattern: Pattern, substitution: &str) -> Result<Rewrite, String> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut bytes = substitution.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                text.push(byte);
                continue;
            }
            match bytes.next() {
                Some(b'\\') => text.push(b'\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    let group = usize::from(digit - b'0');
                    let groups = pattern.open.captures_len();
                    if group >= groups {
                        return Err(format!("substitution refers to group {group}, the pattern has {}", groups - 1));
                    }
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(Piece::Group(group));
                }
                _ => return Err("a backslash must be followed by a digit or a backslash".into()),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Rewrite { pattern, pieces })
    }

    /// `text` with every match replaced.
    pub fn apply<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        self.pattern.open.replace_all(text, |found: &regex::bytes::Captures<'_>| {
            let mut out = Vec::new();
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Group(group) => out.extend_from_slice(found.get(*group).map_or(&[][..], |m| m.as_bytes())),
                }
            }
            out
        })
    }
}

/// `StringMatcher`.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// The whole value.
    Exact(Box<[u8]>, Case),
    /// Its beginning.
    Prefix(Box<[u8]>, Case),
    /// Its end.
    Suffix(Box<[u8]>, Case),
    /// Any part of it.
    Contains(Box<[u8]>, Case),
    /// The whole value, as a regular expression; `ignore_case` has no effect on it.
    Regex(Pattern),
}

/// Whether letter case counts (`ignore_case: false`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Case counts.
    Sensitive,
    /// ASCII letters match in either case; the pattern is held in lower case.
    Ignored,
}

impl Case {
    /// From `ignore_case`.
    pub fn ignored(ignore: bool) -> Case {
        if ignore { Case::Ignored } else { Case::Sensitive }
    }

    pub(super) fn fold(self, text: &str) -> Box<[u8]> {
        match self {
            Case::Sensitive => text.as_bytes().into(),
            Case::Ignored => text.to_ascii_lowercase().into_bytes().into(),
        }
    }

    pub(super) fn equal(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Case::Sensitive => a == b,
            Case::Ignored => a.eq_ignore_ascii_case(b),
        }
    }

    pub(super) fn begins(self, text: &[u8], wanted: &[u8]) -> bool {
        text.get(..wanted.len()).is_some_and(|beginning| self.equal(beginning, wanted))
    }
}

impl StringMatch {
    /// `exact`
    pub fn exact(text: &str, ignore_case: bool) -> StringMatch {
        StringMatch::Exact(Case::ignored(ignore_case).fold(text), Case::ignored(ignore_case))
    }

    /// `prefix`
    pub fn prefix(text: &str, ignore_case: bool) -> StringMatch {
        StringMatch::Prefix(Case::ignored(ignore_case).fold(text), Case::ignored(ignore_case))
    }

    /// `suffix`
    pub fn suffix(text: &str, ignore_case: bool) -> StringMatch {
        StringMatch::Suffix(Case::ignored(ignore_case).fold(text), Case::ignored(ignore_case))
    }

    /// `contains`
    pub fn contains(text: &str, ignore_case: bool) -> StringMatch {
        StringMatch::Contains(Case::ignored(ignore_case).fold(text), Case::ignored(ignore_case))
    }

    /// Whether `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            StringMatch::Exact(wanted, case) => case.equal(value, wanted),
            StringMatch::Prefix(wanted, case) => case.begins(value, wanted),
            StringMatch::Suffix(wanted, case) => {
                value.len().checked_sub(wanted.len()).is_some_and(|from| case.equal(&value[from..], wanted))
            }
            StringMatch::Contains(wanted, case) => wanted.is_empty() || value.windows(wanted.len()).any(|part| case.equal(part, wanted)),
            StringMatch::Regex(pattern) => pattern.matches(value),
        }
    }
}
