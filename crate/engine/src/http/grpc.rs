//! What gRPC is on the wire: which messages are gRPC, the names in a path, and how many messages a body holds.

use super::header::{HeaderList, Known};

pub use super::local_reply::is_grpc;

/// Bytes in front of each message: flags, and the length in network order.
pub const PREFIX: usize = 5;

/// Whether an answer is gRPC: 200 with gRPC's content type, or, where nothing follows the headers, any with a `grpc-status`.
pub fn is_grpc_response(headers: &HeaderList, end_of_stream: bool) -> bool {
    if end_of_stream { headers.contains(Known::GrpcStatus) } else { headers.status() == 200 && is_grpc(headers) }
}

/// Whether headers are those of a Connect stream (`application/connect+...`).
pub fn is_connect_streaming(headers: &HeaderList) -> bool {
    headers.get(Known::ContentType).is_some_and(|kind| kind.starts_with(b"application/connect+"))
}

/// Service and method of a path `/<service>/<method>`; `None` where it has another form.
pub fn service_and_method(path: &[u8]) -> Option<(&str, &str)> {
    let path = std::str::from_utf8(path).ok()?;
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(method), None) => Some((service, method)),
        _ => None,
    }
}

/// Counts the messages in a body that comes in pieces; a message counts from its first byte on.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    prefix: [u8; PREFIX],
    read: usize,
    /// What is left of the message behind the prefix.
    left: u32,
    total: u64,
    /// The last message of a Connect stream, which is none of the caller's: it tells in JSON how the call ended.
    end: Option<ConnectEnd>,
}

#[derive(Clone, Debug, Default)]
struct ConnectEnd {
    begun: bool,
    text: Vec<u8>,
}

impl ConnectEnd {
    /// The flag of the last message.
    const FLAG: u8 = 2;
    /// Longest text that is kept; what is longer is no JSON any more, and so a failure.
    const MAX: usize = 64 * 1024;
}

impl Messages {
    /// For the answers of a Connect stream.
    pub fn of_connect_stream() -> Messages {
        Messages { end: Some(ConnectEnd::default()), ..Messages::default() }
    }

    /// Takes the next bytes, and says how many messages began in them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let before = self.total;
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let (here, behind) = bytes.split_at(bytes.len().min(self.left as usize));
                if let Some(end) = self.end.as_mut().filter(|end| end.begun) {
                    end.text.extend_from_slice(&here[..here.len().min(ConnectEnd::MAX.saturating_sub(end.text.len()))]);
                }
                self.left -= here.len() as u32;
                bytes = behind;
                continue;
            }
            if self.read == 0 {
                match &mut self.end {
                    Some(end) if first & ConnectEnd::FLAG != 0 => end.begun = true,
                    _ => self.total += 1,
                }
            }
            let (here, behind) = bytes.split_at(bytes.len().min(PREFIX - self.read));
            self.prefix[self.read..self.read + here.len()].copy_from_slice(here);
            bytes = behind;
            self.read = (self.read + here.len()) % PREFIX;
            if self.read == 0 {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length);
            }
        }
        self.total - before
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How a Connect stream ended, if this is one: well where its last message is there and holds no error.
    pub fn connect_success(&self) -> Option<bool> {
        let end = self.end.as_ref()?;
        let json = serde_json::from_slice::<serde_json::Value>(&end.text);
        Some(end.begun && json.is_ok_and(|value| value.is_object() && value.get("error").is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_service_and_method() {
        assert_eq!(service_and_method(b"/pkg.Service/Method?x=/y"), Some(("pkg.Service", "Method")));
        for other in ["", "/", "/one", "/a/b/c", "a/b", "*"] {
            assert_eq!(service_and_method(other.as_bytes()), None, "{other}");
        }
        assert_eq!(service_and_method(b"/a/\xff"), None);
    }

    #[test]
    fn messages_count_wherever_the_pieces_are_cut() {
        let body = [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256], &[0, 0]].concat();
        // Two bytes of a fourth.
        for size in 1..body.len() {
            let mut messages = Messages::default();
            let sum: u64 = body.chunks(size).map(|piece| messages.feed(piece)).sum();
            assert_eq!((sum, messages.total()), (4, 4), "pieces of {size}");
        }
        let mut endless = Messages::default();
        assert_eq!(endless.feed(&[0, 255, 255, 255, 255, 1, 2, 3]), 1);
    }

    #[test]
    fn a_connect_stream_tells_how_it_ended() {
        let stream = |text: &str| [&[0, 0, 0, 0, 1, 9, 2][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        for (text, success) in
            [("{}", true), ("{\"metadata\":{}}", true), ("{\"error\":{\"code\":\"internal\"}}", false), ("no json", false)]
        {
            for size in [1, 3, 1000] {
                let mut messages = Messages::of_connect_stream();
                let sum: u64 = stream(text).chunks(size).map(|piece| messages.feed(piece)).sum();
                assert_eq!((sum, messages.connect_success()), (1, Some(success)), "{text} in pieces of {size}");
            }
        }
        let mut cut = Messages::of_connect_stream();
        cut.feed(&[0, 0, 0, 0, 1, 9]);
        assert_eq!(cut.connect_success(), Some(false));
        assert_eq!(Messages::default().connect_success(), None);
    }
}
