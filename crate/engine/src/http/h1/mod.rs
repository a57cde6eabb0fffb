//! HTTP/1 without I/O, in both roles: heads and bodies in, heads and bodies out. Strict: what could be read in two ways is refused.

mod body;
mod chars;
mod connection;
mod decode;
mod encode;
mod target;

pub use body::{BodyDecoder, BodyEvent};
pub use connection::{is_upgrade, keep_trailers_only};
pub use decode::{RequestDecoder, RequestLimits, ResponseDecoder, ResponseLimits};
pub use encode::{
    BodyEncoder, LengthMismatch, RequestEncoding, ResponseEncoding, encode_informational, encode_request_head, encode_response_head, reason,
};

pub(crate) use chars::{decimal, is_host, is_token};
pub(crate) use decode::{is_joined_in_request, is_joined_in_response};
pub(crate) use target::is_absolute_url;

use crate::stream_info::Protocol;

/// How the end of a message's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes; never 0.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the peer closes (answers only).
    UntilClose,
    /// Bytes both ways until either side closes: an upgrade, or CONNECT.
    Tunnel,
}

/// What the head of a request says beside its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// `Http11` or `Http10`.
    pub version: Protocol,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client allows a further request on the connection.
    pub keep_alive: bool,
    /// `expect: 100-continue` is there.
    pub expect_continue: bool,
    /// `connection` names `upgrade` and there is an `upgrade` header (h2c aside, which is removed).
    pub upgrade: bool,
    /// The method is CONNECT; there is no `:path`.
    pub connect: bool,
    /// The method is HEAD.
    pub head: bool,
    /// How many headers were dropped because of `headers_with_underscores_action`.
    pub dropped_underscores: u32,
}

/// What of a request decides how its answer is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The request was HEAD.
    pub head: bool,
    /// The request was CONNECT.
    pub connect: bool,
    /// The request asked for an upgrade.
    pub upgrade: bool,
}

/// What the head of an answer says beside its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// `Http11` or `Http10`.
    pub version: Protocol,
    /// The status, 100 to 999.
    pub status: u16,
    /// 1xx except 101: a further head follows.
    pub informational: bool,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection can be used for a further request after this answer.
    pub keep_alive: bool,
}

/// A message that is refused: what a client is told, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Status of the answer to a client; its body is the status's reason phrase.
    pub status: u16,
    /// Envoy's detail string. The response flag is always `DPE`.
    pub detail: &'static str,
}

impl Reject {
    /// The body of the answer.
    pub fn body(&self) -> &'static str {
        reason(self.status)
    }

    const fn new(status: u16, detail: &'static str) -> Reject {
        Reject { status, detail }
    }
}

const CODEC_ERROR: Reject = Reject::new(400, "http1.codec_error");
const INVALID_CHARACTERS: Reject = Reject::new(400, "http1.invalid_characters");
const HEADERS_TOO_LARGE: Reject = Reject::new(431, "http1.headers_too_large");
const TOO_MANY_HEADERS: Reject = Reject::new(431, "http1.too_many_headers");
const INVALID_URL: Reject = Reject::new(400, "http1.invalid_url");
const INVALID_SCHEME: Reject = Reject::new(400, "http1.invalid_scheme");
const INVALID_AUTHORITY: Reject = Reject::new(400, "http.invalid_authority");
const INVALID_TRANSFER_ENCODING: Reject = Reject::new(501, "http1.invalid_transfer_encoding");
const LENGTH_AND_CHUNKED: Reject = Reject::new(400, "http1.content_length_and_chunked_not_allowed");
const BODY_DISALLOWED: Reject = Reject::new(400, "http1.body_disallowed");
const CONNECTION_REJECTED: Reject = Reject::new(400, "http1.connection_header_rejected");
pub(crate) const UNDERSCORE: Reject = Reject::new(400, "http1.unexpected_underscore");
const LOW_VERSION: Reject = Reject::new(426, "low_version");
const TRANSFER_ENCODING_NOT_ALLOWED: Reject = Reject::new(400, "http1.transfer_encoding_not_allowed");
const CONTENT_LENGTH_NOT_ALLOWED: Reject = Reject::new(400, "http1.content_length_not_allowed");

#[cfg(test)]
mod tests;
