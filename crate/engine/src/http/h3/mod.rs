//! HTTP/3 over the `quinn` crate's QUIC, for both roles: frames, QPACK, settings, what a head may say, and the streams that carry them.
//!
//! The framing is our own, as HTTP/1's is: a proxy must keep the order of fields, refuse what could be read in two ways, and hold no more of a
//! peer's bytes than its limits allow.

pub mod frame;
mod head;
mod huffman;
pub mod peer;
pub mod qpack;
mod static_table;
pub mod stream;

pub use head::{BadHead, Bounds, request, response, trailers};

use frame::{put_head, put_varint, varint};

use super::header::{HeaderList, Known};

/// An error code of HTTP/3 or QPACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// `H3_NO_ERROR`
    pub const NO_ERROR: Code = Code(0x100);
    /// `H3_GENERAL_PROTOCOL_ERROR`
    pub const GENERAL_PROTOCOL_ERROR: Code = Code(0x101);
    /// `H3_INTERNAL_ERROR`
    pub const INTERNAL_ERROR: Code = Code(0x102);
    /// `H3_STREAM_CREATION_ERROR`
    pub const STREAM_CREATION_ERROR: Code = Code(0x103);
    /// `H3_CLOSED_CRITICAL_STREAM`
    pub const CLOSED_CRITICAL_STREAM: Code = Code(0x104);
    /// `H3_FRAME_UNEXPECTED`
    pub const FRAME_UNEXPECTED: Code = Code(0x105);
    /// `H3_FRAME_ERROR`
    pub const FRAME_ERROR: Code = Code(0x106);
    /// `H3_EXCESSIVE_LOAD`
    pub const EXCESSIVE_LOAD: Code = Code(0x107);
    /// `H3_ID_ERROR`
    pub const ID_ERROR: Code = Code(0x108);
    /// `H3_SETTINGS_ERROR`
    pub const SETTINGS_ERROR: Code = Code(0x109);
    /// `H3_MISSING_SETTINGS`
    pub const MISSING_SETTINGS: Code = Code(0x10a);
    /// `H3_REQUEST_REJECTED`
    pub const REQUEST_REJECTED: Code = Code(0x10b);
    /// `H3_REQUEST_CANCELLED`
    pub const REQUEST_CANCELLED: Code = Code(0x10c);
    /// `H3_MESSAGE_ERROR`
    pub const MESSAGE_ERROR: Code = Code(0x10e);
    /// `QPACK_DECOMPRESSION_FAILED`
    pub const DECOMPRESSION_FAILED: Code = Code(0x200);
    /// `QPACK_ENCODER_STREAM_ERROR`
    pub const ENCODER_STREAM_ERROR: Code = Code(0x201);
    /// `QPACK_DECODER_STREAM_ERROR`
    pub const DECODER_STREAM_ERROR: Code = Code(0x202);
}

/// Types of unidirectional streams.
pub mod streams {
    /// Settings and GOAWAY.
    pub const CONTROL: u64 = 0x0;
    /// A server's push.
    pub const PUSH: u64 = 0x1;
    /// What a peer inserts into the dynamic table.
    pub const ENCODER: u64 = 0x2;
    /// What a peer says of it.
    pub const DECODER: u64 = 0x3;
}

const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
/// Settings of HTTP/2, which HTTP/3 has not.
const RESERVED_SETTINGS: [u64; 4] = [0x2, 0x3, 0x4, 0x5];

/// The first bytes of our control stream: its type and SETTINGS.
pub fn control_preface(max_field_section: usize, extended_connect: bool) -> Vec<u8> {
    let mut settings = Vec::with_capacity(16);
    put_varint(MAX_FIELD_SECTION_SIZE, &mut settings);
    put_varint(max_field_section as u64, &mut settings);
    if extended_connect {
        settings.extend_from_slice(&[ENABLE_CONNECT_PROTOCOL as u8, 1]);
    }
    let mut out = Vec::with_capacity(settings.len() + 4);
    put_varint(streams::CONTROL, &mut out);
    put_head(frame::kind::SETTINGS, settings.len(), &mut out);
    out.extend_from_slice(&settings);
    out
}

/// A GOAWAY frame: streams (or pushes) from this number on are not served.
pub fn goaway(id: u64) -> Vec<u8> {
    let (mut out, mut payload) = (Vec::with_capacity(10), Vec::with_capacity(8));
    put_varint(id, &mut payload);
    put_head(frame::kind::GOAWAY, payload.len(), &mut out);
    out.extend_from_slice(&payload);
    out
}

/// Checks a peer's SETTINGS; nothing that they say changes what we do.
pub fn check_settings(mut payload: &[u8]) -> Result<(), Code> {
    let mut seen = smallvec::SmallVec::<[u64; 8]>::new();
    while !payload.is_empty() {
        let (Some(id), Some(_value)) = (varint(&mut payload), varint(&mut payload)) else { return Err(Code::FRAME_ERROR) };
        if RESERVED_SETTINGS.contains(&id) || seen.contains(&id) {
            return Err(Code::SETTINGS_ERROR);
        }
        seen.push(id);
    }
    Ok(())
}

/// A HEADERS frame of a head or trailers, without what HTTP/3 forbids.
pub fn headers_frame(headers: &HeaderList) -> Vec<u8> {
    let mut section = Vec::with_capacity(headers.byte_size() / 2 + 16);
    let mut encoder = qpack::Encoder::new(&mut section);
    for (known, name, value) in headers.iter() {
        if !super::convert::is_connection_header(known) && (known != Known::Te || value == b"trailers") {
            encoder.field(name, value);
        }
    }
    let mut out = Vec::with_capacity(section.len() + 9);
    put_head(frame::kind::HEADERS, section.len(), &mut out);
    out.extend_from_slice(&section);
    out
}
