//! Follows the header blocks of a peer as far as to tell pseudo-headers and the size of fields.
//!
//! The HTTP/2 library drops a pseudo-header that stands in trailers, where RFC 9113, 8.1 calls the message malformed, and does not say so.
//! Which field is one can be known only by who follows the table that both ends build. Of its entries no more than two lengths and that
//! bit are kept, and of Huffman codes only how many there are.

use std::collections::VecDeque;

/// What the names of the static table are long; those up to `:status` are pseudo-headers.
const STATIC: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17,
    13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];
const STATIC_REQUEST: usize = 7;
const STATIC_PSEUDO: usize = 14;
/// What an entry counts beyond its bytes.
const OVERHEAD: usize = 32;
/// Where the table begins, until its encoder says otherwise.
const TABLE_SIZE: usize = 4096;

/// What a header block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// `:status`, the pseudo-header of answers.
    pub status: bool,
    /// Another pseudo-header, which only requests have.
    pub request: bool,
    /// How long the longest name or value is that the block spells out, as it is sent.
    pub longest: usize,
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header,
    Status,
    Request,
}

impl Block {
    /// Whether there is any pseudo-header.
    pub fn pseudo(self) -> bool {
        self.status || self.request
    }

    fn holds(&mut self, kind: Kind) {
        self.status |= kind == Kind::Status;
        self.request |= kind == Kind::Request;
    }
}

/// The dynamic table of the peer's encoder.
#[derive(Debug)]
pub struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: u32,
    value: u32,
    kind: Kind,
}

impl Entry {
    fn size(self) -> usize {
        self.name as usize + self.value as usize + OVERHEAD
    }
}

impl Default for Table {
    fn default() -> Table {
        Table { entries: VecDeque::new(), size: 0, max: TABLE_SIZE }
    }
}

impl Table {
    /// Reads a whole block; `None` where it is malformed, for which the library ends the connection.
    pub fn read(&mut self, block: &[u8]) -> Option<Block> {
        let mut bytes = Bytes(block);
        let mut found = Block::default();
        while let Some(&first) = bytes.0.first() {
            if first & 0x80 != 0 {
                found.holds(self.name(bytes.integer(7)?)?.1);
                continue;
            }
            if first & 0xe0 == 0x20 {
                self.max = bytes.integer(5)?;
                self.evict(0);
                continue;
            }
            let indexed = first & 0x40 != 0;
            let (name, kind) = match bytes.integer(if indexed { 6 } else { 4 })? {
                0 => {
                    let name = bytes.string()?;
                    found.longest = found.longest.max(name.bytes.len());
                    (name.len()?, name.kind())
                }
                index => self.name(index)?,
            };
            found.holds(kind);
            let value = bytes.string()?;
            found.longest = found.longest.max(value.bytes.len());
            if indexed {
                self.insert(Entry { name, value: value.len()?, kind });
            }
        }
        Some(found)
    }

    /// The length of the name at an index, and what it is.
    fn name(&self, index: usize) -> Option<(u32, Kind)> {
        let index = index.checked_sub(1)?;
        match STATIC.get(index) {
            Some(&length) => {
                let kind = match index {
                    ..STATIC_REQUEST => Kind::Request,
                    STATIC_REQUEST..STATIC_PSEUDO => Kind::Status,
                    _ => Kind::Header,
                };
                Some((length.into(), kind))
            }
            None => self.entries.get(index - STATIC.len()).map(|entry| (entry.name, entry.kind)),
        }
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size());
        if entry.size() <= self.max {
            self.size += entry.size();
            self.entries.push_front(entry);
        }
    }

    /// Makes room for `wanted` bytes.
    fn evict(&mut self, wanted: usize) {
        while self.size + wanted > self.max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}

/// What is left of a block.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// An integer of which the first byte holds `prefix` bits.
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(first) & mask;
        if value < mask {
            return Some(value);
        }
        // The library takes no more bytes than these either.
        for shift in [0, 7, 14, 21] {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Text<'a>> {
        let huffman = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Text { bytes, huffman })
    }
}

/// `:status` in Huffman's code.
const STATUS: &[u8] = &[0xb8, 0x84, 0x8d, 0x36, 0xa3];

/// A name or value as it is sent.
struct Text<'a> {
    bytes: &'a [u8],
    huffman: bool,
}

impl Text<'_> {
    fn len(&self) -> Option<u32> {
        let length = if self.huffman { symbols(self.bytes)? } else { self.bytes.len() };
        u32::try_from(length).ok()
    }

    /// What it is as a name.
    fn kind(&self) -> Kind {
        match (self.bytes, self.huffman) {
            (b":status", false) | (STATUS, true) => Kind::Status,
            ([b':', ..], false) => Kind::Request,
            // In Huffman's code `:` is 1011100.
            ([first, ..], true) if first >> 1 == 0b101_1100 => Kind::Request,
            _ => Kind::Header,
        }
    }
}

/// How many codes of each length there are. The code is canonical: those of one length follow each other, and the next length goes on from there.
const CODES: [(u32, u64); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];
/// For each length of a code, the first 32 bits that are none of it or a shorter one.
const LIMITS: [(u32, u64); 21] = {
    let mut limits = CODES;
    let (mut at, mut end) = (0, 0);
    while at < CODES.len() {
        end += CODES[at].1 << (32 - CODES[at].0);
        limits[at].1 = end;
        at += 1;
    }
    limits
};

/// How many symbols are coded; `None` where the end is no padding.
fn symbols(bytes: &[u8]) -> Option<usize> {
    let (mut window, mut have, mut count) = (0u64, 0, 0);
    let mut bytes = bytes.iter();
    loop {
        while have <= 56
            && let Some(&byte) = bytes.next()
        {
            window |= u64::from(byte) << (56 - have);
            have += 8;
        }
        let top = window >> 32;
        // The last limit is beyond all values of 32 bits.
        let length = LIMITS.iter().find(|(_, limit)| top < *limit).map_or(30, |(length, _)| *length);
        if length > have {
            return (have < 8).then_some(count);
        }
        window <<= length;
        have -= length;
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn literal(kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
        [&[kind, name.len() as u8], name, &[value.len() as u8], value].concat()
    }

    #[test]
    fn a_pseudo_header_is_one_however_it_is_written() {
        let pseudo = |block: &[u8]| Table::default().read(block).map(Block::pseudo);
        for index in 1..=14 {
            assert_eq!(pseudo(&[0x80 | index]), Some(true));
            assert_eq!(pseudo(&[index, 1, b'x']), Some(true));
        }
        assert_eq!(pseudo(&[0x80 | 15]), Some(false));
        assert_eq!(pseudo(&[0x8f, 0x82]), Some(true), "wherever it stands");
        for kind in [0x40, 0, 0x10] {
            assert_eq!(pseudo(&literal(kind, b":path", b"/")), Some(true));
            assert_eq!(pseudo(&literal(kind, b"path", b":")), Some(false));
        }
        // `:path` and `path` in Huffman's code.
        assert_eq!(pseudo(&[0, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/']), Some(true));
        assert_eq!(pseudo(&[0, 0x83, 0xac, 0x69, 0x9f, 1, b'/']), Some(false));
        assert_eq!(pseudo(&[]), Some(false));
        for malformed in [&[0x80][..], &[0xff], &[0xff, 0xff, 0xff, 0xff, 0xff], &[0xbe], &[0x7f, 0], &[0, 5, b'a'], &[0x40, 0x81, 0xff, 0]]
        {
            assert_eq!(Table::default().read(malformed), None, "{malformed:x?}");
        }
    }

    #[test]
    fn the_pseudo_header_of_answers_is_told_from_those_of_requests() {
        let kinds = |block: &[u8]| Table::default().read(block).map(|b| (b.status, b.request));
        assert_eq!([8, 14].map(|i| kinds(&[0x80 | i])), [Some((true, false)); 2]);
        assert_eq!([1, 7].map(|i| kinds(&[0x80 | i])), [Some((false, true)); 2]);
        assert_eq!(kinds(&literal(0, b":status", b"200")), Some((true, false)));
        assert_eq!(kinds(&[&[0, 0x85], STATUS, &[0]].concat()), Some((true, false)));
        assert_eq!(kinds(&literal(0, b":statuses", b"200")), Some((false, true)));
        assert_eq!(kinds(&[0x88, 0x84]), Some((true, true)));
        assert_eq!(symbols(STATUS), Some(7));
    }

    #[test]
    fn the_table_is_followed() {
        let mut table = Table::default();
        let mut pseudo = |block: &[u8]| table.read(block).map(Block::pseudo);
        assert_eq!(pseudo(&literal(0x40, b"x", b"1")), Some(false));
        assert_eq!(pseudo(&literal(0x40, b":path", b"/")), Some(true));
        assert_eq!([62, 63, 64].map(|i| pseudo(&[0x80 | i])), [Some(true), Some(false), None]);
        assert_eq!(pseudo(&literal(0, b":status", b"1")), Some(true), "is not kept");
        assert_eq!(pseudo(&[0x80 | 63]), Some(false));
        // A value with the name of an entry.
        assert_eq!(pseudo(&[0x7e, 1, b'y']), Some(true));
        assert_eq!([62, 63, 64].map(|i| pseudo(&[0x80 | i])), [Some(true), Some(true), Some(false)]);
        // 40 bytes hold the newest only, of 5 + 1 + 32.
        assert_eq!(pseudo(&[0x3f, 9]), Some(false));
        assert_eq!([62, 63].map(|i| pseudo(&[0x80 | i])), [Some(true), None]);
        // One that is too large leaves nothing.
        assert_eq!(pseudo(&literal(0x40, b"name", b"value")), Some(false));
        assert_eq!(pseudo(&[0x80 | 62]), None);
    }

    #[test]
    fn huffman_codes_are_counted() {
        // Examples of RFC 7541, C.4 and C.6.
        for (coded, text) in [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x64, 0x02], "302"),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d,
                    0x1b, 0xff,
                ],
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (&[], ""),
        ] {
            assert_eq!(symbols(coded), Some(text.len()), "{text}");
        }
        assert_eq!(symbols(&[0xff]), None, "a whole byte of padding");
        assert_eq!(LIMITS[20].1, 1 << 32, "the code is complete");
    }

    #[test]
    fn the_longest_field_is_told() {
        let block = [literal(0x40, b"abc", b"1"), literal(0, b"x", b"12345")].concat();
        assert_eq!(Table::default().read(&block), Some(Block { longest: 5, ..Block::default() }));
        assert_eq!(Table::default().read(&[0x82]), Some(Block { request: true, ..Block::default() }));
    }

    /// What the library's own encoder makes of requests and trailers, in frames.
    async fn encoded(requests: u32) -> Vec<u8> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) = h2::client::handshake(ours).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut under_way = Vec::new();
        for n in 0..requests {
            let uri = format!("http://host-{}.test/path/{}", n % 5, n % 7);
            let mut request = http::Request::builder().method(["GET", "PATCH"][n as usize % 2]).uri(uri);
            for i in 0..n % 6 {
                request = request.header(format!("x-{}", (n + i) % 11), "v".repeat((n * 37 + i * 101) as usize % 300));
            }
            let (answer, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            for i in 0..1 + n % 3 {
                trailers
                    .append(["grpc-status", "x-1", "x-2"][i as usize], (n % 4).to_string().repeat(1 + i as usize * 90).parse().unwrap());
            }
            body.send_trailers(trailers).unwrap();
            under_way.push((answer, body));
        }
        // Nobody answers: the bytes are all there once they stop to come.
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(Ok(n @ 1..)) = tokio::time::timeout(std::time::Duration::from_millis(200), theirs.read(&mut piece)).await {
            bytes.extend_from_slice(&piece[..n]);
        }
        driver.abort();
        bytes
    }

    #[tokio::test]
    async fn an_honest_encoder_is_followed() {
        let bytes = encoded(90).await;
        let mut rest = &bytes[super::super::PREFACE..];
        let (mut table, mut heads, mut trailers) = (Table::default(), 0, 0);
        while let Some((head, behind)) = rest.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (payload, behind) = behind.split_at(length);
            rest = behind;
            if head[3] != super::super::HEADERS {
                continue;
            }
            let ends = head[4] & super::super::END_STREAM != 0;
            let block = table.read(payload).expect("a whole block");
            assert_eq!((block.request, block.status), (!ends, false), "block {} of the connection", heads + trailers);
            if ends { trailers += 1 } else { heads += 1 }
        }
        assert_eq!((heads, trailers), (90, 90));
        assert!(table.size > 3000 && table.size <= table.max, "the table was filled and emptied: {}", table.size);
    }
}
