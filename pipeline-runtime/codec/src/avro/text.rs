//! Logical types as text, and back. None loses anything on the way there and back.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};

/// Bytes of a decimal at most: more than three hundred digits.
pub(super) const MAX_DECIMAL: usize = 128;

/// Days from 0000-12-31, where chrono counts from, to 1970-01-01.
const EPOCH_DAYS: i32 = 719_163;

/// A two's complement number, most significant byte first, as decimal text with `scale` digits behind the point; `None`
/// where it is longer than [`MAX_DECIMAL`].
pub(super) fn decimal(bytes: &[u8], scale: u32) -> Option<String> {
    if bytes.len() > MAX_DECIMAL {
        return None;
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut rest = bytes.to_vec();
    if negative {
        negate(&mut rest);
    }
    // Lowest digit first.
    let mut digits = Vec::with_capacity(rest.len() * 5 / 2 + 1);
    while rest.iter().any(|byte| *byte != 0) {
        let mut carry = 0u32;
        for byte in &mut rest {
            let part = carry << 8 | u32::from(*byte);
            (*byte, carry) = ((part / 10) as u8, part % 10);
        }
        digits.push(b'0' + carry as u8);
    }
    let scale = scale as usize;
    while digits.len() <= scale {
        digits.push(b'0');
    }
    let mut text = String::with_capacity(digits.len() + 2);
    if negative {
        text.push('-');
    }
    for (n, digit) in digits.iter().enumerate().rev() {
        text.push(char::from(*digit));
        if n == scale && scale > 0 {
            text.push('.');
        }
    }
    Some(text)
}

/// Decimal text (`-12.5`, `3`, `1.50`) as a two's complement number of as few bytes as hold it, or as many as `size` says.
/// The error says why not: lower case, no full stop.
pub(super) fn decimal_bytes(text: &str, scale: u32, precision: u32, size: Option<usize>) -> Result<Vec<u8>, String> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !is_number(whole) || !is_number(fraction) {
        return Err(format!("`{}` is no decimal number", text.chars().take(40).collect::<String>()));
    }
    let scale = scale as usize;
    let kept = fraction.trim_end_matches('0');
    if kept.len() > scale {
        return Err(format!("`{text}` has more than {scale} digits behind the point"));
    }
    let mut digits = whole.trim_start_matches('0').to_owned();
    digits.push_str(kept);
    digits.extend(std::iter::repeat_n('0', scale - kept.len()));
    let digits = digits.trim_start_matches('0');
    if digits.len() > precision as usize {
        return Err(format!("`{text}` has more than {precision} digits"));
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(digits.len() / 2 + 2);
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        // Lowest byte first, for now.
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            (*byte, carry) = (carry as u8, carry >> 8);
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    if bytes.last().is_none_or(|byte| byte & 0x80 != 0) {
        bytes.push(0);
    }
    bytes.reverse();
    let negative = text.starts_with('-');
    if negative {
        negate(&mut bytes);
        // -128 fits one byte, and was given two.
        if bytes.len() > 1 && bytes[0] == 0xff && bytes[1] & 0x80 != 0 {
            bytes.remove(0);
        }
    }
    match size {
        Some(size) if bytes.len() > size => Err(format!("`{text}` does not fit {size} bytes")),
        Some(size) => {
            let sign = if bytes[0] & 0x80 != 0 { 0xff } else { 0 };
            let mut padded = vec![sign; size - bytes.len()];
            padded.extend(bytes);
            Ok(padded)
        }
        None => Ok(bytes),
    }
}

/// Two's complement.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// `2026-11-22`.
pub(super) fn date(days: i32) -> Option<String> {
    let date = NaiveDate::from_num_days_from_ce_opt(days.checked_add(EPOCH_DAYS)?)?;
    // Years beyond four digits have a sign, as ISO 8601 wants it.
    Some(date.format("%F").to_string())
}

/// Days after 1970.
pub(super) fn days(text: &str) -> Option<i32> {
    Some(text.parse::<NaiveDate>().ok()?.num_days_from_ce() - EPOCH_DAYS)
}

/// `08:30:00.000`, with as many digits as the unit has.
pub(super) fn time(units: i64, per_second: i64) -> Option<String> {
    let second = u32::try_from(units.div_euclid(per_second)).ok()?;
    let nanos = u32::try_from(units.rem_euclid(per_second) * (1_000_000_000 / per_second)).ok()?;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(second, nanos)?;
    Some(time.format(if per_second == 1_000 { "%T%.3f" } else { "%T%.6f" }).to_string())
}

/// Units after midnight; `None` for what is no time, or has finer parts than the unit.
pub(super) fn time_units(text: &str, per_second: i64) -> Option<i64> {
    let time: NaiveTime = text.parse().ok()?;
    let unit = 1_000_000_000 / per_second;
    let nanos = i64::from(time.nanosecond());
    (nanos % unit == 0 && nanos < 1_000_000_000)
        .then(|| i64::from(time.num_seconds_from_midnight()) * per_second + nanos / unit)
}

/// `2026-11-22T08:30:00.000`, a time of no zone.
pub(super) fn local(time: DateTime<Utc>, per_second: i64) -> String {
    let format = match per_second {
        1_000 => "%FT%T%.3f",
        1_000_000 => "%FT%T%.6f",
        _ => "%FT%T%.9f",
    };
    time.naive_utc().format(format).to_string()
}

/// Units after 1970, of a time of no zone.
pub(super) fn local_units(text: &str, per_second: i64) -> Option<i64> {
    units(text.parse::<NaiveDateTime>().ok()?.and_utc(), per_second)
}

/// Units after 1970; `None` where there are finer parts, or too many units.
pub(super) fn units(time: DateTime<Utc>, per_second: i64) -> Option<i64> {
    let unit = 1_000_000_000 / per_second;
    let nanos = i64::from(time.timestamp_subsec_nanos());
    if nanos % unit != 0 {
        return None;
    }
    // In two steps up: the product alone may be beyond where the sum is not.
    let units = i128::from(time.timestamp()) * i128::from(per_second) + i128::from(nanos / unit);
    i64::try_from(units).ok()
}
