//! Time formats: strftime conversions, fractions of a second, and the default `%Y-%m-%dT%H:%M:%E3SZ`; in UTC or in the machine's time zone.

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, tz::TimeZone};

use super::put_number;

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A parsed time format.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeFormat {
    items: Vec<Item>,
    /// Absent for UTC.
    zone: Option<TimeZone>,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Literal(String),
    /// The default format as a whole; its seconds are cached.
    Iso,
    /// One strftime conversion.
    Field(char),
    /// `%s`.
    EpochSeconds,
    /// `%z`, `%Ez`, `%E*z`.
    Offset(OffsetForm),
    /// `%Z`.
    ZoneName,
    /// `%f`, `%3f`: digits of the fraction.
    Fraction(usize),
    /// `%E*f`: the fraction without trailing zeros.
    FractionTrimmed,
    /// `%E3S`: seconds with digits of the fraction.
    Seconds(usize),
    /// `%E*S`: seconds with the fraction, trailing zeros left off.
    SecondsTrimmed,
    Year4,
}

/// How a distance from UTC is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OffsetForm {
    /// `+0000`
    Plain,
    /// `+00:00`
    Minutes,
    /// `+00:00:00`
    Seconds,
}

impl OffsetForm {
    fn write(self, offset: i64, out: &mut Vec<u8>) {
        let distance = offset.abs();
        out.push(if offset < 0 { b'-' } else { b'+' });
        put_padded(out, distance / 3_600, 2, b'0');
        if self != OffsetForm::Plain {
            out.push(b':');
        }
        put_padded(out, distance / 60 % 60, 2, b'0');
        if self == OffsetForm::Seconds {
            out.push(b':');
            put_padded(out, distance % 60, 2, b'0');
        }
    }
}

impl Default for TimeFormat {
    fn default() -> TimeFormat {
        TimeFormat { items: vec![Item::Iso], zone: None }
    }
}

impl TimeFormat {
    /// Parses a format; what is no conversion stays as it is, as in Envoy. Line breaks are refused.
    pub fn parse(format: &str) -> Result<TimeFormat, String> {
        if format.is_empty() {
            return Ok(TimeFormat::default());
        }
        let mut items: Vec<Item> = Vec::new();
        let literal = |items: &mut Vec<Item>, text: &str| match items.last_mut() {
            Some(Item::Literal(last)) => last.push_str(text),
            _ => items.push(Item::Literal(text.into())),
        };
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            if at > 0 {
                literal(&mut items, &rest[..at]);
            }
            let (item, len) = conversion(&rest[at + 1..]);
            match item {
                Some(Item::Literal(text)) => literal(&mut items, &text),
                Some(item) => items.push(item),
                None => literal(&mut items, &rest[at..at + 1 + len]),
            }
            rest = &rest[at + 1 + len..];
        }
        if !rest.is_empty() {
            literal(&mut items, rest);
        }
        match items.iter().any(|i| matches!(i, Item::Literal(l) if l.contains(['\n', '\r', '\0']))) {
            true => Err("a time format must not contain a line break".into()),
            false => Ok(TimeFormat { items, zone: None }),
        }
    }

    /// The same in the machine's time zone: `TZ`, or `/etc/localtime` as it is now.
    pub fn parse_local(format: &str) -> Result<TimeFormat, String> {
        let format = if format.is_empty() { "%Y-%m-%dT%H:%M:%E3S%z" } else { format };
        Ok(TimeFormat { zone: Some(TimeZone::system()), ..TimeFormat::parse(format)? })
    }

    /// Writes `time` behind `out`.
    pub fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
            Err(before) => {
                let back = before.duration();
                let nanos = back.subsec_nanos();
                (-(back.as_secs() as i64) - i64::from(nanos > 0), (1_000_000_000 - nanos) % 1_000_000_000)
            }
        };
        let zone = self.zone.as_ref().and_then(|zone| Some(zone.to_offset_info(Timestamp::from_second(seconds).ok()?)));
        let offset = zone.as_ref().map_or(0, |zone| i64::from(zone.offset().seconds()));
        let local = seconds + offset;
        let name = || zone.as_ref().map_or("UTC", |zone| zone.abbreviation());
        let mut fields = None;
        for item in &self.items {
            match item {
                Item::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Item::Iso => iso(seconds, nanos, out),
                Item::EpochSeconds => put_signed(out, seconds),
                Item::Fraction(digits) => fraction(nanos, *digits, out),
                Item::FractionTrimmed => trimmed(nanos, out),
                Item::Seconds(digits) => {
                    put_padded(out, local.rem_euclid(60), 2, b'0');
                    if *digits > 0 {
                        out.push(b'.');
                        fraction(nanos, *digits, out);
                    }
                }
                Item::SecondsTrimmed => {
                    put_padded(out, local.rem_euclid(60), 2, b'0');
                    if nanos > 0 {
                        out.push(b'.');
                        trimmed(nanos, out);
                    }
                }
                Item::Year4 => put_padded(out, fields.get_or_insert_with(|| Fields::of(local)).year, 4, b'0'),
                Item::Offset(form) => form.write(offset, out),
                Item::ZoneName => out.extend_from_slice(name().as_bytes()),
                Item::Field(c) => fields.get_or_insert_with(|| Fields::of(local)).write(*c, out),
            }
        }
    }
}

/// What stands behind a `%`: the conversion, if it is one, and its length.
fn conversion(text: &str) -> (Option<Item>, usize) {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return (None, 0) };
    match first {
        '%' => (Some(Item::Literal("%".into())), 1),
        't' => (Some(Item::Literal("\t".into())), 1),
        'n' => (Some(Item::Literal("\n".into())), 1),
        's' => (Some(Item::EpochSeconds), 1),
        'z' => (Some(Item::Offset(OffsetForm::Plain)), 1),
        'Z' => (Some(Item::ZoneName), 1),
        'f' => (Some(Item::Fraction(9)), 1),
        '1'..='9' if text[1..].starts_with('f') => (Some(Item::Fraction(first as usize - '0' as usize)), 2),
        'E' => extended(&text[1..]),
        // The C locale has no alternative digits.
        'O' => match chars.next() {
            Some(c) if "deHImMSuUVwWy".contains(c) => (Some(Item::Field(c)), 2),
            _ => (None, 1),
        },
        c if "aAbBcCdDeFgGhHIjklmMpPrRSTuUVwWxXyY".contains(c) => (Some(Item::Field(c)), 1),
        c => (None, c.len_utf8()),
    }
}

/// What stands behind `%E`; the length counts the `E`.
fn extended(text: &str) -> (Option<Item>, usize) {
    if let Some(c) = text.chars().next()
        && "cCxXyY".contains(c)
    {
        return (Some(Item::Field(c)), 2);
    }
    for (name, item) in [
        ("z", Item::Offset(OffsetForm::Minutes)),
        ("*z", Item::Offset(OffsetForm::Seconds)),
        ("*S", Item::SecondsTrimmed),
        ("*f", Item::FractionTrimmed),
        ("4Y", Item::Year4),
        ("T", Item::Literal("T".into())),
    ] {
        if text.starts_with(name) {
            return (Some(item), 1 + name.len());
        }
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match (text[..digits].parse::<usize>(), text[digits..].chars().next()) {
        (Ok(n @ 0..=15), Some('S')) => (Some(Item::Seconds(n)), digits + 2),
        (Ok(n @ 1..=15), Some('f')) => (Some(Item::Fraction(n)), digits + 2),
        _ => (None, 1),
    }
}

/// A moment taken apart.
struct Fields {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is Sunday.
    weekday: i64,
    /// 0 to 365.
    year_day: i64,
}

impl Fields {
    fn of(epoch: i64) -> Fields {
        let days = epoch.div_euclid(86_400);
        let of_day = epoch.rem_euclid(86_400);
        // Years that begin on 1 March have their leap day last (Hinnant, civil_from_days).
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        Fields {
            year,
            month,
            day,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            weekday: (days + 4).rem_euclid(7),
            year_day: BEFORE[month as usize - 1] + day - 1 + i64::from(leap && month > 2),
        }
    }

    /// ISO 8601 year and week.
    fn iso_week(&self) -> (i64, i64) {
        let weekday = (self.weekday + 6) % 7;
        let week = (self.year_day - weekday + 10) / 7;
        let weeks_in = |year: i64| {
            let dec31 = |y: i64| (y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)).rem_euclid(7);
            if dec31(year) == 4 || dec31(year - 1) == 3 { 53 } else { 52 }
        };
        match week {
            0 => (self.year - 1, weeks_in(self.year - 1)),
            w if w > weeks_in(self.year) => (self.year + 1, 1),
            w => (self.year, w),
        }
    }

    fn write(&self, conversion: char, out: &mut Vec<u8>) {
        let hour12 = (self.hour + 11) % 12 + 1;
        let weekday = DAYS[self.weekday as usize];
        let month = MONTHS[self.month as usize - 1];
        let mut many = |conversions: &str, separator: u8| {
            for (i, c) in conversions.chars().enumerate() {
                if i > 0 {
                    out.push(separator);
                }
                self.write(c, out);
            }
        };
        match conversion {
            'c' => many("abeTY", b' '),
            'D' | 'x' => many("mdy", b'/'),
            'F' => many("Ymd", b'-'),
            'R' => many("HM", b':'),
            'T' | 'X' => many("HMS", b':'),
            'r' => {
                many("IMS", b':');
                out.push(b' ');
                self.write('p', out);
            }
            'a' => out.extend_from_slice(&weekday.as_bytes()[..3]),
            'A' => out.extend_from_slice(weekday.as_bytes()),
            'b' | 'h' => out.extend_from_slice(&month.as_bytes()[..3]),
            'B' => out.extend_from_slice(month.as_bytes()),
            'C' => put_padded(out, self.year.div_euclid(100), 2, b'0'),
            'd' => put_padded(out, self.day, 2, b'0'),
            'e' => put_padded(out, self.day, 2, b' '),
            'g' => put_padded(out, self.iso_week().0.rem_euclid(100), 2, b'0'),
            'G' => put_signed(out, self.iso_week().0),
            'H' => put_padded(out, self.hour, 2, b'0'),
            'I' => put_padded(out, hour12, 2, b'0'),
            'j' => put_padded(out, self.year_day + 1, 3, b'0'),
            'k' => put_padded(out, self.hour, 2, b' '),
            'l' => put_padded(out, hour12, 2, b' '),
            'm' => put_padded(out, self.month, 2, b'0'),
            'M' => put_padded(out, self.minute, 2, b'0'),
            'p' => out.extend_from_slice(if self.hour < 12 { b"AM" } else { b"PM" }),
            'P' => out.extend_from_slice(if self.hour < 12 { b"am" } else { b"pm" }),
            'S' => put_padded(out, self.second, 2, b'0'),
            'u' => put_signed(out, (self.weekday + 6) % 7 + 1),
            'U' => put_padded(out, (self.year_day + 7 - self.weekday) / 7, 2, b'0'),
            'V' => put_padded(out, self.iso_week().1, 2, b'0'),
            'w' => put_signed(out, self.weekday),
            'W' => put_padded(out, (self.year_day + 7 - (self.weekday + 6) % 7) / 7, 2, b'0'),
            'y' => put_padded(out, self.year.rem_euclid(100), 2, b'0'),
            'Y' => put_signed(out, self.year),
            // `conversion` lets no other character through.
            _ => {}
        }
    }
}

/// `2026-11-24T08:43:35.117Z`; the part up to the seconds is kept for the next line of the same second.
fn iso(seconds: i64, nanos: u32, out: &mut Vec<u8>) {
    thread_local! {
        static LAST: Cell<(i64, [u8; 20])> = const { Cell::new((i64::MIN, [0; 20])) };
    }
    let (cached, mut text) = LAST.get();
    if cached != seconds {
        let fields = Fields::of(seconds);
        let mut fresh = Vec::with_capacity(24);
        fields.write('F', &mut fresh);
        fresh.push(b'T');
        fields.write('T', &mut fresh);
        fresh.push(b'.');
        match <[u8; 20]>::try_from(&fresh[..]) {
            Ok(fresh) => {
                text = fresh;
                LAST.set((seconds, text));
            }
            // A year of more than four digits.
            Err(_) => {
                out.extend_from_slice(&fresh);
                fraction(nanos, 3, out);
                return out.push(b'Z');
            }
        }
    }
    let milli = nanos / 1_000_000;
    out.extend_from_slice(&text);
    out.extend_from_slice(&[b'0' + (milli / 100) as u8, b'0' + (milli / 10 % 10) as u8, b'0' + (milli % 10) as u8, b'Z']);
}

fn fraction(nanos: u32, digits: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 15];
    let mut left = nanos;
    for digit in text[..9].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.extend_from_slice(&text[..digits.min(15)]);
}

fn trimmed(nanos: u32, out: &mut Vec<u8>) {
    fraction(nanos, 9, out);
    let zeros = out.iter().rev().take(8).take_while(|b| **b == b'0').count();
    out.truncate(out.len() - zeros);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_number(out, value.unsigned_abs());
}

fn put_padded(out: &mut Vec<u8>, value: i64, width: usize, pad: u8) {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    out.extend(std::iter::repeat_n(pad, width.saturating_sub(digits)));
    put_signed(out, value);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(format: &str, seconds: u64, nanos: u32) -> String {
        let mut out = Vec::new();
        TimeFormat::parse(format).unwrap().write(UNIX_EPOCH + Duration::new(seconds, nanos), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_conversion_as_envoy_printed_it() {
        let format = "%a_%b_%e_%j_%p_%y_%Z_%D_%R_%T_%F_%C__%h_%I_%l_%u_%w_%U_%V_%G_%Ez_%E*S_%E4Y_%Q_%%_%f_%1f_%9f_%c_%x_%X_%r_%k_%t_%A_%B_%g_%W_%s_%E3f_%ES_%E*f_%E0S_%E12S_%E*z_%P_%L_%EX_%Oe";
        let envoy = "Tue_Nov_24_328_AM_26_UTC_11/24/26_09:01_09:01:29_2026-11-24_20__Nov_09_ 9_2_2_47_48_2026_+00:00_29.265727_2026_%Q_%_265727000_2_265727000_Tue Nov 24 09:01:29 2026_11/24/26_09:01:29_09:01:29 AM_ 9_\t_Tuesday_November_26_47_1795510889_265_%ES_265727_29_29.265727000000_+00:00:00_am_%L_09:01:29_24";
        assert_eq!(at(format, 1_795_510_889, 265_727_000), envoy);
    }

    #[test]
    fn default_is_iso_with_milliseconds() {
        assert_eq!(at("", 1_795_510_889, 5_999_999), "2026-11-24T09:01:29.005Z");
        assert_eq!(at("", 1_795_510_890, 0), "2026-11-24T09:01:30.000Z");
        assert_eq!(at("", 951_827_696, 0), "2000-02-29T12:34:56.000Z");
        assert_eq!(at("%Y/%m/%dT%H:%M:%S%z", 0, 0), "1970/01/01T00:00:00+0000");
    }

    #[test]
    fn weeks_and_days_agree_with_date() {
        // From GNU date -u +'%G-%V %j %U %W %a' for the last and first days of years.
        for (epoch, expected) in [
            (1_104_451_200, "2004-53 366 52 52 Fri"),
            (1_104_537_600, "2004-53 001 00 00 Sat"),
            (1_230_681_600, "2009-01 366 52 52 Wed"),
            (1_262_217_600, "2009-53 365 52 52 Thu"),
            (1_577_836_800, "2020-01 001 00 00 Wed"),
            (1_609_459_200, "2020-53 001 00 00 Fri"),
        ] {
            assert_eq!(at("%G-%V %j %U %W %a", epoch, 0), expected);
        }
    }

    #[test]
    fn a_time_zone_shifts_every_field_but_the_epoch() {
        let zone = TimeZone::posix("AAA5:30BBB,M3.2.0,M11.1.0").unwrap();
        for (seconds, expected) in [
            (1_795_510_889, "2026-11-24 03:31:29 24/11/26 -0530 -05:30 -05:30:00 AAA 1795510889 29.5"),
            (1_782_864_000, "2026-06-30 19:30:00 30/06/26 -0430 -04:30 -04:30:00 BBB 1782864000 00.5"),
        ] {
            let format = TimeFormat::parse("%F %T %d/%m/%y %z %Ez %E*z %Z %s %E*S").unwrap();
            let mut out = Vec::new();
            TimeFormat { zone: Some(zone.clone()), ..format }.write(UNIX_EPOCH + Duration::new(seconds, 500_000_000), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert!(TimeFormat::parse_local("%n").is_err());
    }

    #[test]
    fn refuses_line_breaks_and_survives_anything() {
        assert!(TimeFormat::parse("%n").is_err());
        assert!(TimeFormat::parse("a\nb").is_err());
        for format in ["%", "%E", "%E*", "%E99999999999999999999S", "%é", "%Eé", "%O", "é%", "%0f", "%E16S"] {
            let out = at(format, 1, 1);
            assert!(!out.is_empty(), "{format}");
        }
    }
}
