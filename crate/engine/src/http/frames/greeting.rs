//! Our first SETTINGS frame, to which `custom_settings_parameters` are added; the HTTP/2 library knows only those that it understands.

/// What a connection begins with, until it is written.
pub struct Greeting {
    /// The preface of a client and the frame, as far as the library wrote them; with the settings in it once they are whole.
    bytes: Vec<u8>,
    /// Length of the preface, if there is one.
    preface: usize,
    settings: Vec<u8>,
    whole: bool,
    sent: usize,
}

impl Greeting {
    /// Adds settings to the frame that comes behind a preface of so many bytes.
    pub fn new(preface: usize, settings: &[u8]) -> Greeting {
        Greeting { bytes: Vec::new(), preface, settings: settings.into(), whole: false, sent: 0 }
    }

    /// Takes what belongs to the greeting from what the library writes; says how much that is.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let header = self.preface + 9;
        let mut taken = 0;
        while taken < bytes.len() && !self.whole {
            let end = match self.bytes.get(self.preface..header) {
                Some(head) => header + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
                None => header,
            };
            let more = (end - self.bytes.len()).min(bytes.len() - taken);
            self.bytes.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
            if self.bytes.len() >= header {
                self.complete(header);
            }
        }
        taken
    }

    fn complete(&mut self, header: usize) {
        let head = &self.bytes[self.preface..header];
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if self.bytes.len() < header + length {
            return;
        }
        // Ours come first: the last value of a setting is the one that holds, and that is the library's, as in Envoy.
        self.bytes.splice(header..header, self.settings.iter().copied());
        let length = (length + self.settings.len()) as u32;
        self.bytes[self.preface..self.preface + 3].copy_from_slice(&length.to_be_bytes()[1..]);
        self.whole = true;
    }

    /// What can be written now.
    pub fn left(&self) -> &[u8] {
        if self.whole { &self.bytes[self.sent..] } else { &[] }
    }

    /// Notes that so much of that was written.
    pub fn wrote(&mut self, n: usize) {
        self.sent += n;
    }

    /// Whether all of it was.
    pub fn is_over(&self) -> bool {
        self.whole && self.sent == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_added_however_the_frame_is_cut() {
        let frame = [&[0, 0, 6, 4, 0, 0, 0, 0, 0][..], &[0, 3, 0, 0, 0, 9]].concat();
        for preface in [&b""[..], b"hello"] {
            let written = [preface, &frame, b"more"].concat();
            let wanted = [preface, &[0, 0, 12, 4, 0, 0, 0, 0, 0], &[0, 99, 0, 0, 0, 1], &[0, 3, 0, 0, 0, 9]].concat();
            for piece in 1..written.len() + 1 {
                let mut greeting = Greeting::new(preface.len(), &[0, 99, 0, 0, 0, 1]);
                let mut taken = 0;
                for part in written.chunks(piece) {
                    assert!(!greeting.is_over());
                    taken += greeting.take(part);
                    if greeting.whole {
                        break;
                    }
                    assert_eq!(greeting.left(), b"");
                }
                assert_eq!((taken, greeting.left()), (preface.len() + frame.len(), &wanted[..]), "in pieces of {piece}");
                greeting.wrote(4);
                assert_eq!((greeting.left(), greeting.is_over()), (&wanted[4..], false));
                greeting.wrote(wanted.len() - 4);
                assert!(greeting.is_over());
            }
        }
        let mut empty = Greeting::new(0, &[0, 99, 0, 0, 0, 1]);
        assert_eq!(empty.take(&[0, 0, 0, 4, 0, 0, 0, 0, 0]), 9);
        assert_eq!(empty.left(), [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 1]);
    }
}
