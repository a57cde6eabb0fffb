//! Which bytes may stand where in an HTTP/1 message, and small parsers over them.

const fn table(extra: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < extra.len() {
        table[extra[at] as usize] = true;
        at += 1;
    }
    table
}

/// Maps a byte of a header name to lower case, and what may not stand in one to 0.
pub static TOKEN: [u8; 256] = {
    let allowed = table(b"!#$%&'*+-.^_`|~");
    let mut lower = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if allowed[byte] {
            lower[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    lower
};

/// The bytes of `uri-host [ ":" port ]`: RFC 3986 without userinfo's `@`.
static HOST: [bool; 256] = table(b"!$%&'()*+,-.:;=[]_~");

/// Whether `text` is a token, and not empty.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| TOKEN[usize::from(*b)] != 0)
}

/// Whether every byte may stand in `host`; empty text may.
pub fn is_host(text: &[u8]) -> bool {
    text.iter().all(|b| HOST[usize::from(*b)])
}

/// Whether every byte may stand in a header value: no control but tab. Written so that the compiler vectorizes it.
pub fn is_value(text: &[u8]) -> bool {
    !text.iter().fold(false, |bad, b| bad | ((*b < b' ') & (*b != b'\t')) | (*b == 0x7f))
}

/// Whether every byte is visible ASCII, as in a request target.
pub fn is_visible(text: &[u8]) -> bool {
    !text.iter().fold(false, |bad, b| bad | (*b <= b' ') | (*b >= 0x7f))
}

/// `text` without spaces and tabs around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A decimal number of digits only; `None` where it is empty, has another byte, or does not fit.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, b| match b {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

/// The comma-separated parts of a value, trimmed; empty ones left out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim).filter(|part| !part.is_empty())
}

/// Whether a comma-separated value has `token`, without regard to case.
pub fn has_token(value: &[u8], token: &[u8]) -> bool {
    list(value).any(|part| part.eq_ignore_ascii_case(token))
}
