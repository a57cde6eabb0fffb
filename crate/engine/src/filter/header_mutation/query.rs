//! Mutations of a query's parameters.

use crate::{
    format::{Context, Program},
    http::header::{HeaderList, Known},
    route::AppendAction,
    stream_info::StreamInfo,
};

/// `KeyValueMutation`
#[derive(Clone, Debug)]
pub enum QueryStep {
    /// `remove`
    Remove(Box<[u8]>),
    /// `append`
    Add {
        /// The parameter's name.
        key: Box<[u8]>,
        /// Its value.
        value: Program,
        /// `action`
        action: AppendAction,
    },
}

/// Parameters by name; each as it will be written.
type Parameters = std::collections::BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Changes the query of a request. As in Envoy parameters end up sorted by their names, and each with an equals sign; those that
/// stay keep the encoding that the client gave them.
pub fn apply<'s>(steps: impl Iterator<Item = &'s QueryStep>, headers: &mut HeaderList, info: &StreamInfo) {
    let mut steps = steps.peekable();
    if steps.peek().is_none() || !headers.contains(Known::Path) {
        return;
    }
    let mut path = headers.path().splitn(2, |b| *b == b'?');
    let mut new_path = path.next().unwrap_or_default().to_vec();
    let mut parameters = read(path.next().unwrap_or_default());
    for step in steps {
        match step {
            QueryStep::Remove(key) => drop(parameters.remove(&**key)),
            QueryStep::Add { key, value, action } => {
                let there = parameters.contains_key(&**key);
                let (wanted, replaces) = match action {
                    AppendAction::AppendIfExistsOrAdd => (true, false),
                    AppendAction::AddIfAbsent => (!there, false),
                    AppendAction::OverwriteIfExistsOrAdd => (true, true),
                    AppendAction::OverwriteIfExists => (there, true),
                };
                if wanted {
                    let mut text = Vec::new();
                    value.write(&Context::new(info, Some(headers), None), &mut text);
                    let written = [&*encode(key), b"=", &*encode(&text)].concat();
                    let all = parameters.entry(key.to_vec()).or_default();
                    if replaces {
                        all.clear();
                    }
                    all.push(written);
                }
            }
        }
    }
    for (i, parameter) in parameters.values().flatten().enumerate() {
        new_path.push(if i == 0 { b'?' } else { b'&' });
        new_path.extend_from_slice(parameter);
    }
    headers.set(Known::Path, &new_path);
}

fn read(query: &[u8]) -> Parameters {
    let mut parameters = Parameters::new();
    for pair in query.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
        let (key, written) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], pair.to_vec()),
            None => (pair, [pair, b"="].concat()),
        };
        parameters.entry(decode(key)).or_default().push(written);
    }
    parameters
}

/// Resolves percent codes; what is none stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Percent codes for all that is not unreserved (RFC 3986, 2.3).
fn encode(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_both_ways_and_broken_ones_stay() {
        assert_eq!(decode(b"%41%zz%4"), b"A%zz%4");
        assert_eq!(encode(b"a b\r\n/\xff~"), b"a%20b%0D%0A%2F%FF~");
        let read = read(b"b=1&&a&%61=2");
        assert_eq!(read.values().flatten().map(|v| String::from_utf8_lossy(v)).collect::<Vec<_>>(), ["a=", "%61=2", "b=1"]);
    }
}
