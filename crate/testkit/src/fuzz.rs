//! A fuzzer in plain Rust: mutates a committed corpus by a seed, for a bounded time, and keeps inputs with outcomes that were not seen before.
//!
//! `PLENIPO_FUZZ_MS` is the time of each target in milliseconds (default 400), `PLENIPO_FUZZ_SEED` the seed (default 1). An input that makes a
//! target panic is printed as a line of its corpus: add it there, and it is tried first from then on.

use std::{
    collections::HashSet,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

/// Inputs grow to this many bytes at most.
const LONGEST: usize = 4096;
/// So many inputs are kept for their outcome.
const KEPT: usize = 2000;

/// A small generator of pseudo-random numbers, so that failures repeat.
pub struct Numbers(u64);

impl Numbers {
    /// A sequence that the seed decides.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// One of several.
    pub fn of<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.below(several.len())]
    }

    /// Cuts an input into pieces, none of them empty.
    pub fn cut<'a>(&mut self, mut input: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = 1 + self.below(40);
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let (piece, rest) = input.split_at((1 + self.below(longest)).min(input.len()));
            pieces.push(piece);
            input = rest;
        }
        pieces
    }
}

/// Runs a target over its corpus and over mutations of it. `corpus` has an input on each line, escaped as in a byte string of Rust; lines that
/// begin with `#` are remarks. `words` are put in here and there. What the target returns tells inputs apart that are worth keeping; the numbers
/// it is given depend on the input alone.
///
/// # Panics
///
/// Where the target does, with the input.
pub fn fuzz<O: Hash>(corpus: &str, words: &[&str], target: impl Fn(&[u8], &mut Numbers) -> O) {
    let mut pool: Vec<Vec<u8>> = corpus.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(unescape).collect();
    assert!(!pool.is_empty(), "the corpus is empty");
    let mut outcomes = HashSet::new();
    for input in &pool {
        outcomes.insert(run(&target, input));
    }
    let end = Instant::now() + Duration::from_millis(setting("PLENIPO_FUZZ_MS", 400));
    let mut numbers = Numbers::new(setting("PLENIPO_FUZZ_SEED", 1));
    let mut tries = 0u64;
    while Instant::now() < end {
        for _ in 0..16 {
            let input = mutate(&pool, words, &mut numbers);
            if outcomes.insert(run(&target, &input)) && pool.len() < KEPT {
                pool.push(input);
            }
            tries += 1;
        }
    }
    println!("{tries} inputs, {} outcomes", outcomes.len());
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn run<O: Hash>(target: &impl Fn(&[u8], &mut Numbers) -> O, input: &[u8]) -> u64 {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let mut numbers = Numbers::new(hash(&|hasher| input.hash(hasher)));
    match std::panic::catch_unwind(AssertUnwindSafe(|| target(input, &mut numbers))) {
        Ok(outcome) => hash(&|hasher| outcome.hash(hasher)),
        Err(_) => panic!("the target panicked on this input (a line for its corpus):\n{}", escape(input)),
    }
}

fn mutate(pool: &[Vec<u8>], words: &[&str], numbers: &mut Numbers) -> Vec<u8> {
    let mut input = numbers.of(pool).clone();
    for _ in 0..1 + numbers.below(4) {
        let at = numbers.below(input.len() + 1);
        let end = at + numbers.below(input.len() - at + 1).min(16);
        match numbers.below(8) {
            0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
            1 if at < input.len() => input[at] = numbers.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let other = numbers.of(pool);
                let from = numbers.below(other.len() + 1);
                let to = from + numbers.below(other.len() - from + 1);
                input.splice(at..end, other[from..to].iter().copied());
            }
            5 => input.truncate(at),
            _ if !words.is_empty() => drop(input.splice(at..if numbers.below(2) == 0 { at } else { end }, numbers.of(words).bytes())),
            _ => input.insert(at, *numbers.of(b"\0\t\n\r \"%,/:;?\\\x7f\xff")),
        }
    }
    input.truncate(LONGEST);
    input
}

fn escape(input: &[u8]) -> String {
    let mut line = String::new();
    for (at, byte) in input.iter().enumerate() {
        match byte {
            b'#' if at == 0 => line.push_str("\\x23"),
            _ => write!(line, "{}", byte.escape_ascii()).expect("writing to a string does not fail"),
        }
    }
    line
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, length) = match more {
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'x', high, low, ..] => {
                let digits = [*high, *low];
                let text = std::str::from_utf8(&digits).unwrap_or("");
                (u8::from_str_radix(text, 16).unwrap_or_else(|_| panic!("not two digits behind \\x in {line}")), 3)
            }
            [other, ..] => (*other, 1),
            [] => panic!("a backslash ends {line}"),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_input_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), all);
        assert_eq!(escape(b"#a\r\n\xff"), "\\x23a\\r\\n\\xff");
    }

    #[test]
    fn a_target_that_panics_on_something_is_found_out() {
        let found = std::panic::catch_unwind(|| {
            fuzz("abc\n# a remark\nGET /", &["bug"], |input, _| {
                assert!(!input.windows(4).any(|w| w == b"bug/"));
                input.windows(3).any(|w| w == b"bug")
            });
        });
        assert!(found.is_err());
    }
}
