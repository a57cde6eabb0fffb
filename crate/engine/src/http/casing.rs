//! The names of an HTTP/1 head as they arrived (`header_key_format`, `preserve_case`), and how names are written.

use bytes::BytesMut;

use super::settings::{HeaderCase, PreserveCase};

/// How the names of a message arrived; goes with its header list to the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Casing {
    /// Each name once, a colon behind it.
    names: Vec<u8>,
    /// Names that did not arrive are written so.
    own: HeaderCase,
    /// The reason phrase that arrived and is to be forwarded.
    reason: Option<Box<[u8]>>,
}

impl Casing {
    /// Of a message of which nothing was read yet.
    pub fn new(config: PreserveCase) -> Casing {
        Casing { names: Vec::new(), own: config.own, reason: None }
    }

    /// Keeps a name, unless it came before in another case.
    pub fn keep(&mut self, name: &[u8]) {
        if self.find(name).is_none() {
            self.names.extend_from_slice(name);
            self.names.push(b':');
        }
    }

    /// Keeps the reason phrase; an empty one is none.
    pub fn keep_reason(&mut self, reason: &[u8]) {
        self.reason = (!reason.is_empty()).then(|| reason.into());
    }

    /// The reason phrase that is to be written in place of the status's own.
    pub fn reason(&self) -> Option<&[u8]> {
        self.reason.as_deref()
    }

    fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.names.split(|b| *b == b':').find(|kept| kept.eq_ignore_ascii_case(name))
    }
}

/// How the names of one head are written.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// By a rule.
    Rule(HeaderCase),
    /// As they arrived.
    Kept(&'a Casing),
}

impl Names<'_> {
    /// Writes a lower-case name.
    pub fn write(self, name: &[u8], out: &mut BytesMut) {
        let rule = match self {
            Names::Rule(rule) => rule,
            Names::Kept(casing) => match casing.find(name) {
                Some(kept) => return out.extend_from_slice(kept),
                None => casing.own,
            },
        };
        let at = out.len();
        out.extend_from_slice(name);
        if rule == HeaderCase::ProperWords {
            let mut start = true;
            for byte in &mut out[at..] {
                if start {
                    byte.make_ascii_uppercase();
                }
                start = !byte.is_ascii_alphanumeric();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: Names<'_>, name: &str) -> String {
        let mut out = BytesMut::new();
        names.write(name.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn names_are_written_as_they_came_first_and_others_by_rule() {
        let mut casing = Casing::new(PreserveCase { own: HeaderCase::ProperWords, forward_reason: false });
        for name in ["X-MiXed", "x-mixed", "X", "x-other"] {
            casing.keep(name.as_bytes());
        }
        let names = Names::Kept(&casing);
        assert_eq!(["x-mixed", "x", "x-other", "x-mix"].map(|n| written(names, n)), ["X-MiXed", "X", "x-other", "X-Mix"]);
        assert_eq!(written(Names::Rule(HeaderCase::ProperWords), "x_a-b.c!1d"), "X_A-B.C!1d");
        assert_eq!(written(Names::Rule(HeaderCase::Lower), "x-a"), "x-a");
    }
}
