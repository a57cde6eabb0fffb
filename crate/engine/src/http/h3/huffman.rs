//! The Huffman code of HPACK and QPACK strings (RFC 7541, appendix B). It is canonical: the lengths of the codes say all.

/// How many bits the code of each byte has.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;
const CODES: Codes = Codes::new();

/// The code, ordered by length: codes of one length are consecutive numbers in the order of their bytes.
struct Codes {
    /// The bytes, in the order of their codes.
    symbols: [u8; 256],
    /// The code of each byte.
    of: [u32; 256],
    /// By length: the first code, the one behind the last, and where the first one's byte stands in `symbols`.
    first: [u32; LONGEST as usize + 1],
    end: [u32; LONGEST as usize + 1],
    at: [u32; LONGEST as usize + 1],
}

impl Codes {
    const fn new() -> Codes {
        let mut codes = Codes { symbols: [0; 256], of: [0; 256], first: [0; 31], end: [0; 31], at: [0; 31] };
        let (mut code, mut at, mut length) = (0, 0, 1);
        while length <= LONGEST as usize {
            code <<= 1;
            (codes.first[length], codes.at[length]) = (code, at as u32);
            let mut byte = 0;
            while byte < 256 {
                if LENGTHS[byte] as usize == length {
                    (codes.symbols[at], codes.of[byte]) = (byte as u8, code);
                    (code, at) = (code + 1, at + 1);
                }
                byte += 1;
            }
            codes.end[length] = code;
            length += 1;
        }
        codes
    }
}

/// Decodes a string onto the end of `out`; false where it is not valid.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> bool {
    let mut input = input.iter();
    // The next bits, leftmost first, and how many of them there are.
    let (mut bits, mut have) = (0u64, 0u32);
    loop {
        while have <= 56
            && let Some(byte) = input.next()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let Some(length) = (SHORTEST..=LONGEST.min(have)).find(|length| ((bits >> (64 - length)) as u32) < CODES.end[*length as usize])
        else {
            // What is left is the beginning of the end-of-string code, less than a byte of it.
            return have < 8 && bits.leading_ones() >= have;
        };
        let code = (bits >> (64 - length)) as u32;
        let index = CODES.at[length as usize] + (code - CODES.first[length as usize]);
        out.push(CODES.symbols[index as usize]);
        bits <<= length;
        have -= length;
    }
}

/// How many bytes a string takes when it is encoded.
pub fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum::<usize>().div_ceil(8)
}

/// Encodes a string onto the end of `out`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for byte in text {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODES.of[usize::from(*byte)]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        // The rest of the last byte is the beginning of the end-of-string code: ones.
        out.push((bits << (8 - have)) as u8 | (0xff >> have));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(input, &mut out).then_some(out)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, bytes) in [
            ("www.example.com", &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..]),
            ("no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            ("302", b"\x64\x02"),
            ("private", b"\xae\xc3\x77\x1a\x4b"),
        ] {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!((out.as_slice(), out.len()), (bytes, encoded_len(text.as_bytes())));
            assert_eq!(decoded(bytes).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut out = Vec::new();
        encode(&all, &mut out);
        assert_eq!(decoded(&out), Some(all));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        assert_eq!(decoded(b"\xff\xff\xff\xff"), None, "the end-of-string code itself");
        assert_eq!(decoded(b"\x64\x02\xff"), None, "a whole byte of padding");
        assert_eq!(decoded(b"\x64\x02\x00").as_deref(), None, "padding with zeros");
        assert_eq!(decoded(b"").as_deref(), Some(&b""[..]));
    }
}
