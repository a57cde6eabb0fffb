//! QPACK (RFC 9204) without its dynamic table: header lists to and from field sections.
//!
//! We offer a table of no bytes, so that a peer has nothing to insert and no stream ever waits for another; answers name what the static table has.

use std::collections::HashMap;

use once_cell::sync::Lazy;

use super::{huffman, static_table::FIELDS};

/// A field section that is not valid, or that names what the dynamic table would have.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Hands each field of a section to `each`, in order. Nothing of a string is kept longer than `limit` bytes; more is [`Malformed`] too.
pub fn decode(section: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
    let mut input = Input(section);
    let required = input.integer(8)?;
    let _base = input.integer(7)?;
    if required != 0 {
        return Err(Malformed);
    }
    let (mut name, mut value) = (Vec::new(), Vec::new());
    while let Some(first) = input.0.first().copied() {
        name.clear();
        value.clear();
        match first {
            // Indexed.
            0x80.. => {
                let (name, value) = field(input.integer(6)?, first & 0x40 != 0)?;
                each(name.as_bytes(), value.as_bytes());
                continue;
            }
            // Literal with a name of the table.
            0x40.. => name.extend_from_slice(field(input.integer(4)?, first & 0x10 != 0)?.0.as_bytes()),
            // Literal.
            0x20.. => input.string(3, limit, &mut name)?,
            // Both others count from the base of the dynamic table.
            _ => return Err(Malformed),
        }
        input.string(7, limit, &mut value)?;
        each(&name, &value);
    }
    Ok(())
}

fn field(index: u64, of_static: bool) -> Result<(&'static str, &'static str), Malformed> {
    usize::try_from(index).ok().filter(|_| of_static).and_then(|i| FIELDS.get(i)).copied().ok_or(Malformed)
}

/// What is left of a section.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// An integer in the last `bits` bits of a byte and perhaps more bytes.
    fn integer(&mut self, bits: u32) -> Result<u64, Malformed> {
        let (first, mut rest) = self.0.split_first().ok_or(Malformed)?;
        let most = (1u64 << bits) - 1;
        let mut value = u64::from(*first) & most;
        if value == most {
            for shift in (0..=56).step_by(7) {
                let (byte, left) = rest.split_first().ok_or(Malformed)?;
                rest = left;
                value += u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    self.0 = rest;
                    return Ok(value);
                }
            }
            return Err(Malformed);
        }
        self.0 = rest;
        Ok(value)
    }

    /// A string whose length stands in the last `bits` bits, behind a bit that tells whether it is Huffman coded.
    fn string(&mut self, bits: u32, limit: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let coded = self.0.first().ok_or(Malformed)? & (1 << bits) != 0;
        let length = usize::try_from(self.integer(bits)?).map_err(|_| Malformed)?;
        let (text, rest) = self.0.split_at_checked(length).filter(|_| length <= limit).ok_or(Malformed)?;
        self.0 = rest;
        if coded {
            return if huffman::decode(text, out) { Ok(()) } else { Err(Malformed) };
        }
        out.extend_from_slice(text);
        Ok(())
    }
}

/// Writes a section one field after the other.
pub struct Encoder<'a>(&'a mut Vec<u8>);

impl<'a> Encoder<'a> {
    /// Begins a section at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Encoder<'a> {
        // No entry of the dynamic table is required.
        out.extend_from_slice(&[0, 0]);
        Encoder(out)
    }

    /// Writes a field; its name is in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        match INDEXES.get(name) {
            Some(indexes) => match indexes.iter().find(|i| FIELDS[**i].1.as_bytes() == value) {
                Some(index) => return self.integer(0xc0, 6, *index),
                None => self.integer(0x50, 4, indexes[0]),
            },
            None => self.string(0x20, 3, name),
        }
        self.string(0, 7, value);
    }

    fn integer(&mut self, pattern: u8, bits: u32, value: usize) {
        let most = (1 << bits) - 1;
        if value < most {
            return self.0.push(pattern | value as u8);
        }
        self.0.push(pattern | most as u8);
        let mut rest = value - most;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    fn string(&mut self, pattern: u8, bits: u32, text: &[u8]) {
        let coded = huffman::encoded_len(text);
        if coded < text.len() {
            self.integer(pattern | 1 << bits, bits, coded);
            return huffman::encode(text, self.0);
        }
        self.integer(pattern, bits, text.len());
        self.0.extend_from_slice(text);
    }
}

/// Where the static table has each name; never empty.
static INDEXES: Lazy<HashMap<&'static [u8], Vec<usize>>> = Lazy::new(|| {
    let mut indexes: HashMap<_, Vec<_>> = HashMap::new();
    for (index, (name, _)) in FIELDS.iter().enumerate() {
        indexes.entry(name.as_bytes()).or_default().push(index);
    }
    indexes
});

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(section: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decode(section, 1000, |name, value| fields.push((text(name), text(value)))).map(|()| fields)
    }

    #[test]
    fn the_example_of_the_rfc() {
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(decoded(section).unwrap(), [(":path".to_owned(), "/index.html".to_owned())]);
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(700);
        let fields = [
            (":status", "200"),
            (":status", "299"),
            ("content-type", "text/html; charset=utf-8"),
            ("x-frame-options", "sameorigin"),
            ("x-own", ""),
            ("x-own", "\u{1}\u{2}\u{3}"),
            (long.as_str(), long.as_str()),
        ];
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out);
        fields.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value.as_bytes()));
        assert_eq!(out[..3], [0, 0, 0xc0 | 25]);
        assert_eq!(decoded(&out).unwrap(), fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        let cases: [(&str, &[u8]); 10] = [
            ("no prefix", b""),
            ("half a prefix", b"\x00"),
            ("an entry of the dynamic table is required", b"\x01\x00"),
            ("a dynamic index", b"\x00\x00\x80"),
            ("a static index behind the last", b"\x00\x00\xff\x24"),
            ("a dynamic name", b"\x00\x00\x40\x00"),
            ("an index from the base", b"\x00\x00\x10"),
            ("a string longer than the section", b"\x00\x00\x51\x0b/"),
            ("an integer without an end", b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("a Huffman string with zeros behind it", b"\x00\x00\x51\x83\x64\x02\x00"),
        ];
        for (what, section) in cases {
            assert_eq!(decoded(section), Err(Malformed), "{what}");
        }
        let long = [b"\x00\x00\x51\x7f\x6a".as_slice(), &[b'a'; 233]].concat();
        assert!(decode(&long, 232, |_, _| {}).is_err());
        assert!(decode(&long, 233, |_, _| {}).is_ok());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        // Every pair of bytes behind a valid prefix, and each of them cut short.
        for pair in 0..=u16::MAX {
            let [a, b] = pair.to_be_bytes();
            for section in [&[0, 0, a, b][..], &[0, 0, a, b, 0x03, b'a', b'b', b'c'][..]] {
                let _ = decoded(section);
            }
        }
    }
}
