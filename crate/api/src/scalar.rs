//! Text forms of scalars: what Envoy takes for a number, a bool, a duration, a time, bytes.

use crate::table::Kind;

/// An integer, also in the forms `5.0`, `1e3`, `"0x10"` that protobuf's JSON reader takes.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let value = float(text)?;
    // Whole numbers up to 2^64 are exact enough for the range check that follows.
    (value.fract() == 0.0 && value.abs() <= 18_446_744_073_709_551_616.0).then_some(value as i128)
}

/// A floating-point number; `None` for what is none or too large.
pub(crate) fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (sign, plain) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        let digits = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        return if digits { u64::from_str_radix(hex, 16).ok().map(|v| sign * v as f64) } else { None };
    }
    if !plain.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    plain.parse::<f64>().ok().filter(|v| v.is_finite()).map(|v| sign * v)
}

/// A bool in quotes, as absl's `SimpleAtob` takes it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text.len() > 5 {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// The raw wire form of an integer of this kind, or `None` if it does not fit.
pub(crate) fn encode_integer(kind: Kind, n: i128) -> Option<u64> {
    match kind {
        Kind::Int32 | Kind::Enum => i32::try_from(n).ok().map(|v| i64::from(v) as u64),
        Kind::Sint32 => i32::try_from(n).ok().map(|v| u64::from((v << 1 ^ v >> 31) as u32)),
        Kind::Sfixed32 => i32::try_from(n).ok().map(|v| u64::from(v as u32)),
        Kind::Int64 | Kind::Sfixed64 => i64::try_from(n).ok().map(|v| v as u64),
        Kind::Sint64 => i64::try_from(n).ok().map(|v| (v << 1 ^ v >> 63) as u64),
        Kind::Uint32 | Kind::Fixed32 => u32::try_from(n).ok().map(u64::from),
        Kind::Uint64 | Kind::Fixed64 => u64::try_from(n).ok(),
        _ => None,
    }
}

const MAX_DURATION_SECONDS: i64 = 315_576_000_000;

/// A duration such as `0.25s`: seconds and nanoseconds of the same sign. On failure, advice if there is any.
pub(crate) fn duration(text: &str) -> Result<(i64, i32), Option<String>> {
    let Some(number) = text.strip_suffix('s') else {
        return Err(text.parse::<f64>().ok().map(|_| format!("write {text}s for {text} seconds")).or_else(|| in_seconds(text)));
    };
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |d| (true, d));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let is_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || fraction.is_some_and(|f| !is_digits(f)) {
        return Err(in_seconds(text));
    }
    let seconds = whole.parse::<i64>().ok().filter(|s| *s <= MAX_DURATION_SECONDS);
    let Some(seconds) = seconds else { return Err(Some("it is longer than 10,000 years".to_owned())) };
    let fraction = fraction.unwrap_or("");
    if fraction.len() > 9 {
        return Err(Some("at most nine digits may follow the point".to_owned()));
    }
    // Nine digits at most: fits an i32.
    let nanos = format!("{fraction:0<9}").parse::<i32>().unwrap_or(0);
    Ok(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// `250ms`, `1m`, `2h` in seconds, as advice.
fn in_seconds(text: &str) -> Option<String> {
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..end].trim().parse().ok()?;
    let factor = match &text[end..] {
        "ms" => 0.001,
        "us" => 0.000_001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        "s" | "sec" => 1.0,
        _ => return None,
    };
    let seconds = number * factor;
    seconds.is_finite().then(|| format!("write {seconds}s"))
}

/// An RFC 3339 time: seconds since 1970 and nanoseconds.
pub(crate) fn timestamp(text: &str) -> Option<(i64, i32)> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    if b.len() < 20 || b[4] != b'-' || b[7] != b'-' || !b[10].eq_ignore_ascii_case(&b'T') || b[13] != b':' || b[16] != b':' {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if b[at] == b'.' {
        let end = (at + 1..b.len()).find(|i| !b[*i].is_ascii_digit())?;
        let fraction = text.get(at + 1..end)?;
        if fraction.is_empty() || fraction.len() > 9 {
            return None;
        }
        nanos = format!("{fraction:0<9}").parse().ok()?;
        at = end;
    }
    let offset = match (b.get(at)?, b.len() - at) {
        (b'Z' | b'z', 1) => 0,
        (sign @ (b'+' | b'-'), 6) if b[at + 3] == b':' => {
            let (h, m) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if h > 23 || m > 59 {
                return None;
            }
            (h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some((days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset, nanos))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// The inverse of [`timestamp`], in UTC with 0, 3, 6 or 9 digits of fraction.
pub(crate) fn format_timestamp(seconds: i64, nanos: i32) -> String {
    let days = seconds.div_euclid(86400) + 719_468;
    let rest = seconds.rem_euclid(86400);
    let era = days.div_euclid(146_097);
    let doe = days.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let fraction = fraction(nanos);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The inverse of [`duration`].
pub(crate) fn format_duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos.saturating_abs()))
}

fn fraction(nanos: i32) -> String {
    if nanos <= 0 {
        String::new()
    } else if nanos % 1_000_000 == 0 {
        format!(".{:03}", nanos / 1_000_000)
    } else if nanos % 1000 == 0 {
        format!(".{:06}", nanos / 1000)
    } else {
        format!(".{nanos:09}")
    }
}

/// A field mask's path in proto names.
pub(crate) fn snake(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Base64 in either alphabet, with or without padding.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for b in text.bytes() {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Base64 in the standard alphabet with padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = u32::from(chunk[0]) << 16 | u32::from(*chunk.get(1).unwrap_or(&0)) << 8 | u32::from(*chunk.get(2).unwrap_or(&0));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(ALPHABET[(n >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("0.25s", Some((0, 250_000_000))),
            ("5s", Some((5, 0))),
            ("-1.5s", Some((-1, -500_000_000))),
            ("1.000000001s", Some((1, 1))),
            ("315576000000s", Some((315_576_000_000, 0))),
            ("315576000001s", None),
            ("1.0000000001s", None),
            ("1.s", None),
            (".5s", None),
            ("+1s", None),
            ("1e3s", None),
            ("1 s", None),
            ("1m", None),
            ("5", None),
            ("s", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok(), want, "{text}");
        }
        assert_eq!(duration("250ms"), Err(Some("write 0.25s".to_owned())));
        assert_eq!(duration("2h"), Err(Some("write 7200s".to_owned())));
        assert_eq!(format_duration(0, 250_000_000), "0.250s");
        assert_eq!(format_duration(-1, -1000), "-1.000001s");
        assert_eq!(format_duration(3, 0), "3s");
    }

    #[test]
    fn timestamps_round_trip() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:00:00Z", 1_709_208_000),
            ("1969-12-31T23:59:59Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(timestamp(text), Some((seconds, 0)), "{text}");
            assert_eq!(format_timestamp(seconds, 0), text);
        }
        assert_eq!(timestamp("2024-01-01T02:00:00.5+02:00"), Some((1_704_067_200, 500_000_000)));
        for bad in [
            "2023-02-29T00:00:00Z",
            "2024-01-01",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "é024-01-01T00:00:00Z",
        ] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers() {
        for (text, want) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("5.0", Some(5)),
            ("1e3", Some(1000)),
            ("0x10", Some(16)),
            ("18446744073709551615", Some(u64::MAX.into())),
            ("5.5", None),
            (" 5", None),
            ("", None),
            ("-", None),
            ("1_000", None),
            ("inf", None),
        ] {
            assert_eq!(integer(text), want, "{text}");
        }
        assert_eq!(encode_integer(Kind::Uint32, 4_294_967_296), None);
        assert_eq!(encode_integer(Kind::Sint32, -1), Some(1));
        assert!(float("1e999").is_none() && float("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn base64() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (&[0xfb, 0xff], "+/8=")] {
            assert_eq!(base64_encode(bytes), text);
            assert_eq!(base64_decode(text).as_deref(), Some(bytes));
        }
        assert_eq!(base64_decode("-_8").as_deref(), Some(&[0xfb, 0xff][..]));
        assert!(base64_decode("a").is_none() && base64_decode("a b").is_none());
    }
}
