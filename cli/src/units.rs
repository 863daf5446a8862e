//! Durations and moments as people write them on the command line.

use std::time::Duration;

use jiff::Timestamp;

/// `200ms`, `30s`, `5m`, `24h`, `30d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    millstream_spec::units::duration(text)
        .ok_or_else(|| format!("`{text}` is no duration; write it as 200ms, 30s, 5m, 24h or 30d"))
}

/// An RFC 3339 time, or `-2h` before `now`; milliseconds since 1970.
pub fn moment(text: &str, now: i64) -> Result<i64, String> {
    if let Some(back) = text.strip_prefix('-') {
        let back = i64::try_from(duration(back)?.as_millis()).unwrap_or(i64::MAX);
        return Ok(now.saturating_sub(back));
    }
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| {
        format!("`{text}` is no time; write start, end, -2h, an RFC 3339 time such as 2026-01-31T08:00:00Z, or PARTITION:OFFSET")
    })
}

/// Milliseconds since 1970 as people read them, to the second.
pub fn show_moment(ms: i64) -> String {
    match Timestamp::from_second(ms.div_euclid(1000)) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("1970-01-01T00:00:01.5Z", 0), Ok(1500));
        assert_eq!(moment("1970-01-01T01:00:00+01:00", 0), Ok(0));
        assert_eq!(moment("-2h", 7_200_001), Ok(1));
        assert!(moment("-2x", 0).is_err_and(|e| e.contains("`2x`")));
        assert!(moment("yesterday", 0).is_err_and(|e| e.contains("yesterday")));
        assert!(moment("2026-01-31", 0).is_err());
    }
}
