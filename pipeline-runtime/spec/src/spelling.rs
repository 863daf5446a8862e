//! The nearest right spelling.

use crate::shape::TextRule;

/// The candidate a person most likely meant, if any is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic: nobody misspells a name of hundreds of characters.
    if word.is_empty() || word.len() > 128 {
        return None;
    }
    let plain = |t: &str| t.to_lowercase().replace(['_', '-', '.'], "");
    let near = |c: &str| {
        let distance = strsim::damerau_levenshtein(word, c);
        if plain(word) == plain(c) { 0 } else { distance }
    };
    let length = word.chars().count();
    let limit = if length < 2 { 0 } else { (length / 3).max(1) };
    candidates.into_iter().map(|c| (near(c), c)).filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Help for an unknown word: the nearest one, else the list.
pub(crate) fn help(word: &str, candidates: &[&str]) -> Option<String> {
    if let Some(near) = nearest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match candidates {
        [] => None,
        [only] => Some(format!("there is only `{only}`")),
        all if all.len() <= 24 => {
            Some(format!("there are {}", all.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    }
}

/// A duration or size that has no unit, or one under another name, as the rule wants it.
pub(crate) fn unit(text: &str, rule: &TextRule) -> Option<String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = match rule.code {
        "bad_duration" => match unit.as_str() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "ms" | "msec" | "millis" | "milliseconds" => "ms",
            "m" | "min" | "mins" | "minute" | "minutes" => "m",
            "h" | "hr" | "hour" | "hours" => "h",
            "d" | "day" | "days" => "d",
            "w" | "week" | "weeks" => {
                let days = number.parse::<u32>().ok()?.checked_mul(7)?;
                return Some(format!("{days}d")).filter(|guess| (rule.fits)(guess));
            }
            _ => return None,
        },
        "bad_size" => match unit.as_str() {
            "" | "b" | "bytes" => "B",
            "k" | "kb" | "ki" | "kib" => "KiB",
            "m" | "mb" | "mi" | "mib" => "MiB",
            "g" | "gb" | "gi" | "gib" => "GiB",
            _ => return None,
        },
        _ => return None,
    };
    Some(format!("{number}{unit}")).filter(|guess| (rule.fits)(guess))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let all = ["source", "stages", "pipeline", "max_ids"];
        assert_eq!(nearest("sourec", all), Some("source"));
        assert_eq!(nearest("stage", all), Some("stages"));
        assert_eq!(nearest("maxIds", all), Some("max_ids"));
        assert_eq!(nearest("topic", all), None);
        assert_eq!(help("x", &["a"]).as_deref(), Some("there is only `a`"));
        assert_eq!(help("long", &["a", "b"]).as_deref(), Some("there are `a`, `b`"));
    }
}
