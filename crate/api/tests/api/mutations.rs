//! Whatever stands in a file, the reader answers with issues and does not panic.

use std::{fs, path::Path};

use plenipo_api::{Input, Options, Support, check, read_bootstrap, to_json};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

const PIECES: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"  ",
    b"- ",
    b"&a ",
    b"*a",
    b"!ignore ",
    b"|",
    b"\"",
    b"'",
    b"\\u12",
    b"null",
    b"-1",
    b"99999999999",
    b"1e400",
    b"\xff",
    b"\"@type\": type.googleapis.com/google.protobuf.Struct",
    b"@type",
    b"\xc3\xa9",
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(4) {
            0 => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            1 => {
                let piece = PIECES[random.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            2 => {
                let from = random.below(bytes.len() + 1);
                let part = bytes[from..(from + random.below(60)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                if let Some(b) = bytes.get_mut(at) {
                    *b = random.next() as u8;
                }
            }
        }
    }
}

fn exercise(input: Input, options: &Options<'_>) -> bool {
    match read_bootstrap(vec![input], options) {
        Ok(loaded) => {
            for c in &loaded.clusters {
                let _ = loaded.places.locate(&format!("{}.name", c.path));
                assert!(to_json("envoy.config.cluster.v3.Cluster", &c.bytes).is_ok());
            }
            assert!(loaded.whole().is_ok());
            true
        }
        Err(issues) => {
            assert!(!issues.is_empty());
            for issue in issues {
                assert!(!issue.to_string().is_empty());
            }
            false
        }
    }
}

#[test]
fn mutated_texts_and_bytes_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let support = Support::parse("envoy.config.bootstrap.v3.Bootstrap.*").unwrap();
    let schema = Options::default();
    let strict = Options { support: Some(&support), ..Options::default() };
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect();
    names.sort();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut total) = (0, 0);
    for name in names {
        let text = fs::read(&name).unwrap();
        let wire = plenipo_api::read(BOOTSTRAP, vec![Input::yaml(text.clone())], &schema).unwrap().bytes;
        let json = to_json(BOOTSTRAP, &wire).unwrap().to_string().into_bytes();
        for i in 0..24 {
            let options = if i % 2 == 0 { &schema } else { &strict };
            let mut bytes = match i % 3 {
                0 => text.clone(),
                1 => json.clone(),
                _ => wire.to_vec(),
            };
            mutate(&mut random, &mut bytes);
            total += 1;
            accepted += usize::from(match i % 3 {
                0 => exercise(Input::yaml(bytes), options),
                1 => exercise(Input::json(bytes), options),
                _ => {
                    let _ = check(BOOTSTRAP, &bytes, options);
                    let _ = to_json(BOOTSTRAP, &bytes);
                    exercise(Input::binary(bytes), options)
                }
            });
        }
    }
    // Both outcomes were reached, so that the mutations are neither harmless nor hopeless.
    assert!(accepted > 20 && accepted < total - 20, "{accepted} of {total}");
}
