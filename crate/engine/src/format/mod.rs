//! Substitution formats, `%OPERATOR(argument):length%`: compiled once, then written into a buffer that is used again.
//!
//! Access logs, header mutation and local replies share them. Operators that Envoy has and we do not are refused by name.

mod json;
mod operator;
mod parse;
#[cfg(test)]
mod tests;
mod time;
mod write;

use std::fmt;

pub use operator::{
    Fact, GrpcFormat, MetadataSource, Moment, Operator, Plain, Precision, Shown, Side, Source, StateForm, WhichPath, grpc_status,
};
pub use parse::Formatters;
pub use time::TimeFormat;

use crate::{access_log::LogType, http::header::HeaderList, stream_info::StreamInfo};
use parse::Piece;
use write::Wrote;

/// Envoy's access log line where none is configured.
pub const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// What a format reads.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The stream.
    pub info: &'a StreamInfo,
    /// Whether there is a protocol to tell of (not on a TCP proxy's log line).
    pub request_seen: bool,
    /// Headers of the request, as the filters left them; `None` where no request could be read.
    pub request: Option<&'a HeaderList>,
    /// Headers of the answer.
    pub response: Option<&'a HeaderList>,
    /// Trailers of the answer.
    pub trailers: Option<&'a HeaderList>,
    /// Body of the local reply that is being formatted.
    pub local_reply_body: &'a [u8],
    /// What a line is written for.
    pub log_type: LogType,
}

impl<'a> Context<'a> {
    /// Of an HTTP stream.
    pub fn new(info: &'a StreamInfo, request: Option<&'a HeaderList>, response: Option<&'a HeaderList>) -> Context<'a> {
        Context { info, request_seen: true, request, response, trailers: None, local_reply_body: b"", log_type: LogType::NotSet }
    }

    /// The same with the answer's trailers.
    pub fn with_trailers(self, trailers: Option<&'a HeaderList>) -> Context<'a> {
        Context { trailers, ..self }
    }

    fn headers(&self, source: Source) -> Option<&'a HeaderList> {
        match source {
            Source::Request => self.request,
            Source::Response => self.response,
            Source::Trailers => self.trailers,
        }
    }
}

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// Byte in the format at which the command begins.
    pub position: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at position {})", self.message, self.position)
    }
}

impl std::error::Error for FormatError {}

/// A compiled text format.
#[derive(Clone, Debug)]
pub struct Program {
    pieces: Vec<Piece>,
    omit_empty: bool,
}

impl Program {
    /// Compiles a format. With `omit_empty` (`omit_empty_values`), what is absent prints as nothing, not as `-`.
    pub fn compile(format: &str, omit_empty: bool) -> Result<Program, FormatError> {
        Program::compile_with(format, omit_empty, Formatters::default())
    }

    /// Compiles a format that may use extensions.
    pub fn compile_with(format: &str, omit_empty: bool, formatters: Formatters) -> Result<Program, FormatError> {
        Ok(Program { pieces: parse::parse(format, formatters)?, omit_empty })
    }

    /// The text, if the format has no operator.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &self.pieces[..] {
            [] => Some(b""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Writes one line behind `out`.
    pub fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) {
        write_pieces(&self.pieces, context, self.omit_empty, out);
    }
}

/// A compiled format of either kind.
#[derive(Clone, Debug)]
pub enum Format {
    /// A line of text.
    Text(Program),
    /// A JSON object and a line break.
    Json(JsonProgram),
}

/// A compiled JSON format.
#[derive(Clone, Debug)]
pub struct JsonProgram {
    node: json::Node,
    omit_empty: bool,
}

impl JsonProgram {
    /// Compiles a template whose strings are formats. Keys are sorted, as in Envoy.
    pub fn compile(template: &serde_json::Value, omit_empty: bool, formatters: Formatters) -> Result<JsonProgram, FormatError> {
        Ok(JsonProgram { node: json::Node::compile(template, formatters)?, omit_empty })
    }

    /// Writes the object behind `out`, without a line break.
    pub fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) {
        if !self.node.write(context, self.omit_empty, out) {
            out.extend_from_slice(b"{}");
        }
    }
}

impl Format {
    /// Writes one line behind `out`.
    pub fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) {
        match self {
            Format::Text(program) => program.write(context, out),
            Format::Json(program) => {
                program.write(context, out);
                out.push(b'\n');
            }
        }
    }
}

fn write_pieces(pieces: &[Piece], context: &Context<'_>, omit_empty: bool, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text),
            Piece::Operator(operator) => {
                let at = out.len();
                match operator.write(context, out) {
                    Wrote::Absent if !omit_empty => out.push(b'-'),
                    Wrote::Json(Some(length)) => out.truncate(at.saturating_add(length)),
                    Wrote::Absent | Wrote::Text | Wrote::Json(None) => {}
                }
            }
        }
    }
}

/// Makes the text from `at` on the inside of a JSON string; bytes of invalid UTF-8 become `\u00XX` each.
fn escape(out: &mut Vec<u8>, at: usize) {
    let special = |b: &u8| *b < b' ' || *b == b'"' || *b == b'\\' || *b >= 0x7f;
    let Some(first) = out[at..].iter().position(special) else { return };
    let start = at + first;
    let utf8 = std::str::from_utf8(&out[at..]).is_ok();
    let tail = out.split_off(start);
    for byte in tail {
        match byte {
            // As in Envoy a value that is not UTF-8 is escaped byte by byte, without the short forms.
            byte if !utf8 && special(&byte) => put_unicode(out, byte),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..32 | 0x7f => put_unicode(out, byte),
            _ => out.push(byte),
        }
    }
}

fn put_unicode(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Writes a number in decimal.
pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The shortest text of a number, as C++'s `std::to_chars`: with an exponent only where that is shorter.
pub(crate) fn shortest(value: f64) -> String {
    let scientific = format!("{value:e}");
    let fixed = format!("{value}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return fixed };
    let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
    let scientific = format!("{mantissa}e{sign}{digits:0>2}");
    if scientific.len() < fixed.len() { scientific } else { fixed }
}
