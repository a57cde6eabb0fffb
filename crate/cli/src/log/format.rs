//! `--log-format`: spdlog's patterns with Envoy's additions. What is not implemented is refused by name, never printed as it stands.

use std::time::SystemTime;

use plenipo_engine::format::TimeFormat;

/// One line of the log before it has a form.
pub struct Entry<'a> {
    pub time: SystemTime,
    pub level: &'static str,
    pub component: &'a str,
    /// The source file that wrote it.
    pub file: &'static str,
    pub line: u32,
    pub message: &'a str,
}

/// A parsed pattern.
pub struct Format {
    pieces: Vec<(Piece, Padding)>,
    /// `--log-format-escaped`: control characters and quotes as in C.
    escaped: bool,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Time(TimeFormat),
    Process,
    Level,
    /// One capital letter.
    LevelLetter,
    Component,
    File,
    FileName,
    Line,
    /// `file:line`
    Source,
    Message,
    /// Line breaks as `\n`.
    MessageOnOneLine,
    /// As in a JSON string, without the quotes.
    MessageInJson,
}

/// `%8l`, `%-8l`, `%=8l`, and `!` behind the number to cut what is longer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Padding {
    width: usize,
    side: Side,
    cut: bool,
}

/// Where the text stands in its width.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Side {
    #[default]
    Right,
    Left,
    Center,
}

/// spdlog's own limit.
const MAX_WIDTH: usize = 64;

impl Format {
    /// Parses a pattern; the error is the text for the user.
    pub fn parse(pattern: &str, escaped: bool) -> Result<Format, String> {
        let mut pieces: Vec<(Piece, Padding)> = Vec::new();
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            text(&mut pieces, &rest[..at]);
            rest = &rest[at + 1..];
            let (padding, after) = padding(rest);
            let Some(flag) = after.chars().next() else {
                return Err("error: --log-format ends in the middle of a placeholder".to_owned());
            };
            rest = &after[flag.len_utf8()..];
            match flag {
                '%' => text(&mut pieces, "%"),
                // The range that spdlog colours; lines have no colours here, nor has Envoy's by default.
                '^' | '$' => {}
                '+' => return Err("error: --log-format: %+ is not implemented; write the placeholders".to_owned()),
                flag => pieces.push((piece(flag)?, padding)),
            }
        }
        text(&mut pieces, rest);
        Ok(Format { pieces, escaped })
    }

    /// The line, without its end.
    pub fn line(&self, entry: &Entry<'_>) -> Vec<u8> {
        let escaped = self.escaped.then(|| c_escaped(entry.message));
        let message = escaped.as_deref().unwrap_or(entry.message);
        let mut line = Vec::new();
        for (piece, padding) in &self.pieces {
            let start = line.len();
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Time(format) => format.write(entry.time, &mut line),
                // The command writes from its first thread only, whose number on Linux is that of the process.
                Piece::Process => line.extend_from_slice(std::process::id().to_string().as_bytes()),
                Piece::Level => line.extend_from_slice(entry.level.as_bytes()),
                Piece::LevelLetter => line.extend(entry.level.bytes().next().map(|b| b.to_ascii_uppercase())),
                Piece::Component => line.extend_from_slice(entry.component.as_bytes()),
                Piece::File => line.extend_from_slice(entry.file.as_bytes()),
                Piece::FileName => line.extend_from_slice(entry.file.rsplit(['/', '\\']).next().unwrap_or_default().as_bytes()),
                Piece::Line => line.extend_from_slice(entry.line.to_string().as_bytes()),
                Piece::Source => line.extend_from_slice(format!("{}:{}", entry.file, entry.line).as_bytes()),
                Piece::Message => line.extend_from_slice(message.as_bytes()),
                Piece::MessageOnOneLine => line.extend_from_slice(message.replace('\n', "\\n").as_bytes()),
                Piece::MessageInJson => {
                    let quoted = serde_json::Value::from(message).to_string();
                    line.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
                }
            }
            padding.apply(&mut line, start);
        }
        line
    }
}

fn text(pieces: &mut Vec<(Piece, Padding)>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some((Piece::Text(last), _)) => last.push_str(text),
        _ => pieces.push((Piece::Text(text.to_owned()), Padding::default())),
    }
}

fn piece(flag: char) -> Result<Piece, String> {
    let time = |format: &str| TimeFormat::parse(format).map(Piece::Time);
    Ok(match flag {
        'v' => Piece::Message,
        '_' => Piece::MessageOnOneLine,
        'j' => Piece::MessageInJson,
        't' | 'P' => Piece::Process,
        'l' => Piece::Level,
        'L' => Piece::LevelLetter,
        'n' => Piece::Component,
        'g' => Piece::File,
        's' => Piece::FileName,
        '#' => Piece::Line,
        '@' => Piece::Source,
        'e' => time("%3f")?,
        'f' => time("%6f")?,
        'F' => time("%9f")?,
        'E' => time("%s")?,
        'C' => time("%y")?,
        'c' => time("%a %b %d %H:%M:%S %Y")?,
        'D' | 'x' => time("%m/%d/%y")?,
        'T' | 'X' => time("%H:%M:%S")?,
        'R' => time("%H:%M")?,
        'r' => time("%I:%M:%S %p")?,
        'z' => time("+00:00")?,
        'h' => time("%b")?,
        'a' | 'A' | 'b' | 'B' | 'Y' | 'm' | 'd' | 'H' | 'I' | 'M' | 'S' | 'p' => time(&format!("%{flag}"))?,
        other => return Err(format!("error: --log-format: %{other} is not implemented")),
    })
}

fn padding(text: &str) -> (Padding, &str) {
    let (side, digits) = match text.as_bytes().first() {
        Some(b'-') => (Side::Left, &text[1..]),
        Some(b'=') => (Side::Center, &text[1..]),
        _ => (Side::Right, text),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return (Padding::default(), if side == Side::Right { text } else { digits });
    }
    let width = digits[..count].parse().map_or(MAX_WIDTH, |n: usize| n.min(MAX_WIDTH));
    let rest = &digits[count..];
    match rest.strip_prefix('!') {
        Some(rest) => (Padding { width, side, cut: true }, rest),
        None => (Padding { width, side, cut: false }, rest),
    }
}

impl Padding {
    /// Pads or cuts what was written behind `start`.
    fn apply(self, line: &mut Vec<u8>, start: usize) {
        let length = line.len() - start;
        if length >= self.width {
            if self.cut {
                line.truncate(start + self.width);
            }
            return;
        }
        let missing = self.width - length;
        let before = match self.side {
            Side::Right => missing,
            Side::Left => 0,
            Side::Center => missing / 2,
        };
        line.splice(start..start, std::iter::repeat_n(b' ', before));
        line.extend(std::iter::repeat_n(b' ', missing - before));
    }
}

/// As absl::CEscape does it, but for letters of other scripts, which stay.
fn c_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\'' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\{:03o}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn line(pattern: &str, escaped: bool, message: &str) -> Result<String, String> {
        let entry = Entry {
            time: UNIX_EPOCH + Duration::from_micros(1_795_515_621_516_548),
            level: "info",
            component: "main",
            file: "crate/cli/src/run.rs",
            line: 7,
            message,
        };
        Format::parse(pattern, escaped).map(|f| String::from_utf8_lossy(&f.line(&entry)).into_owned())
    }

    /// The same pattern was given to Envoy 1.40 at the same moment.
    #[test]
    fn placeholders_are_envoys() {
        let pattern = "%8l|%-8l|%=8n|%s|%@|%a %b %c|%E %F|%z|%p|%r|%R|%D|%L|%C|%T.%e|%f|%2!l|%%v";
        let want = "    info|info    |  main  |run.rs|crate/cli/src/run.rs:7|Tue Nov Tue Nov 24 10:20:21 2026|1795515621 516548000|+00:00|AM|\
            10:20:21 AM|10:20|11/24/26|I|26|10:20:21.516|516548|in|%v";
        assert_eq!(line(pattern, false, ""), Ok(want.to_owned()));
        let default = line(super::super::DEFAULT_FORMAT, false, "starts");
        assert_eq!(default, Ok(format!("[2026-11-24 10:20:21.516][{}][info][main] [crate/cli/src/run.rs:7] starts", std::process::id())));
    }

    #[test]
    fn messages_can_be_escaped() {
        for (pattern, escaped, want) in
            [("%v", false, "a\n\"b\""), ("%_", false, "a\\n\"b\""), ("%j", false, "a\\n\\\"b\\\""), ("%v", true, "a\\n\\\"b\\\"")]
        {
            assert_eq!(line(pattern, escaped, "a\n\"b\""), Ok(want.to_owned()), "{pattern} {escaped}");
        }
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        for (pattern, want) in [
            ("%Q", "error: --log-format: %Q is not implemented"),
            ("%v %!", "error: --log-format: %! is not implemented"),
            ("%v %", "error: --log-format ends in the middle of a placeholder"),
            ("%é", "error: --log-format: %é is not implemented"),
        ] {
            assert_eq!(line(pattern, false, ""), Err(want.to_owned()), "{pattern}");
        }
    }
}
