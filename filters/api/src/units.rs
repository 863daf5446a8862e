//! Durations, sizes and rates as people write them.

use std::time::Duration;

/// `200ms`, `30s`, `5m`, `24h`, `30d`: a whole number and one unit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|ms| *ms <= i64::MAX as u64).map(Duration::from_millis)
}

/// `200ms..30s`, the shorter first.
pub fn duration_range(text: &str) -> Option<(Duration, Duration)> {
    let (min, max) = text.split_once("..")?;
    let (min, max) = (duration(min.trim())?, duration(max.trim())?);
    (min <= max).then_some((min, max))
}

/// `512B`, `64KiB`, `1MiB`, `2GiB`: bytes.
pub fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes).and_then(|b| usize::try_from(b).ok()).filter(|b| *b > 0)
}

/// `100/s`, `30/m`, `5/h`: records a second.
pub fn rate(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once('/')?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    whole(number.trim()).filter(|n| *n > 0).map(|n| n as f64 / seconds)
}

/// A duration as it is written: the largest unit that divides it.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let (unit, name) = units.into_iter().find(|(u, _)| millis >= *u && millis.is_multiple_of(*u)).unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    Some((whole(number)?, unit))
}

/// At most 9 digits: more is a slip of the finger, and nothing overflows whatever the unit.
fn whole(text: &str) -> Option<u64> {
    let good = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let all =
            [("200ms", 200), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("30d", 2_592_000_000), ("0s", 0)];
        for (text, ms) in all {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "30 s", "1.5s", "-1s", "30S", "1w", "99999999999999999999d", "½s", "1h30m"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "1d");
        assert_eq!(show_duration(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn ranges_sizes_and_rates() {
        assert_eq!(duration_range("200ms..30s"), Some((Duration::from_millis(200), Duration::from_secs(30))));
        assert_eq!(duration_range("30s..200ms"), None);
        assert_eq!(duration_range("30s"), None);
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1 << 20));
        for text in ["64", "64KB", "64kib", "0B", "1TiB", ""] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(rate("100/s"), Some(100.0));
        assert_eq!(rate("30/m"), Some(0.5));
        for text in ["100", "0/s", "-1/s", "1/d", "/s"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
