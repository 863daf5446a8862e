//! A cron pattern as people write it. Each field is looked at here, so that an error names the field and the nearest
//! right thing; which local times match is croner's business.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::spelling;

/// What is wrong with a pattern, and where in its text (bytes).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub start: usize,
    pub end: usize,
    pub message: String,
    pub help: Option<String>,
}

/// Patterns by name.
const NAMED: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What may stand in a field.
struct Field {
    what: &'static str,
    min: u16,
    max: u16,
    /// Words for `min`, `min + 1` …
    names: &'static [&'static str],
}

const DAY_OF_MONTH: &str = "day of month";
const DAY_OF_WEEK: &str = "day of week";

static FIELDS: [Field; 6] = [
    Field { what: "second", min: 0, max: 59, names: &[] },
    Field { what: "minute", min: 0, max: 59, names: &[] },
    Field { what: "hour", min: 0, max: 23, names: &[] },
    Field { what: DAY_OF_MONTH, min: 1, max: 31, names: &[] },
    Field { what: "month", min: 1, max: 12, names: MONTHS },
    Field { what: DAY_OF_WEEK, min: 0, max: 7, names: DAYS },
];

/// Message and help.
type Said = (String, Option<String>);

/// The pattern, understood.
pub(crate) fn parse(text: &str) -> Result<Cron, Wrong> {
    let start = text.len() - text.trim_start().len();
    let whole = |(message, help): Said| Wrong { start, end: text.trim_end().len().max(start), message, help };
    let pattern = match text.trim() {
        name if name.starts_with('@') => named(name).map_err(whole)?.to_owned(),
        _ => fields(text)?,
    };
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(&pattern).map_err(|e| whole((format!("`{}` is no cron pattern: {e}", text.trim()), None)))
}

fn named(name: &str) -> Result<&'static str, Said> {
    if let Some((_, pattern)) = NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok(pattern);
    }
    let unknown = format!("there is no cron pattern `{name}`");
    if let Some(rest) = name.strip_prefix("@every") {
        let rest = rest.trim();
        return Err((
            unknown,
            Some(format!("write `every: {}` instead of `cron`", if rest.is_empty() { "15m" } else { rest })),
        ));
    }
    if name == "@reboot" {
        return Err((unknown, Some("a pipeline has no start of its own: it goes on where it stood".to_owned())));
    }
    let names: Vec<&str> = NAMED.iter().map(|(known, _)| *known).collect();
    Err((unknown, spelling::help(name, &names)))
}

/// The fields as numbers.
fn fields(text: &str) -> Result<String, Wrong> {
    let found: Vec<(usize, &str)> = words(text).collect();
    let wanted: &[Field] = match found.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS,
        n => {
            let start = found.first().map_or(0, |(at, _)| *at);
            let end = found.last().map_or(text.len(), |(at, word)| at + word.len());
            let message = format!(
                "a cron pattern has 5 fields (minute, hour, day of month, month, day of week), or 6 with the second \
                 before them; here are {n}"
            );
            let help = match n {
                0 => Some("every night at two is `0 2 * * *`".to_owned()),
                1..5 => Some(format!(
                    "did you mean `{}{}`?",
                    found.iter().map(|(_, w)| *w).collect::<Vec<_>>().join(" "),
                    " *".repeat(5 - n)
                )),
                _ => Some("years are no part of it; `at` is for single times".to_owned()),
            };
            return Err(Wrong { start, end, message, help });
        }
    };
    let mut all = Vec::new();
    for ((at, word), field) in found.into_iter().zip(wanted) {
        let mut items = Vec::new();
        let mut from = at;
        for item in word.split(',') {
            let understood = self::item(field, item).map_err(|(message, help)| Wrong {
                start: from,
                end: from + item.len().max(1),
                message: format!("{}: {message}", field.what),
                help,
            })?;
            items.push(understood);
            from += item.len() + 1;
        }
        all.push(items.join(","));
    }
    Ok(all.join(" "))
}

/// Words and the bytes where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// One item of a field's list, with numbers for names.
fn item(field: &Field, text: &str) -> Result<String, Said> {
    if text.is_empty() {
        return Err(("there is nothing between two commas".to_owned(), None));
    }
    let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
    let day = [DAY_OF_MONTH, DAY_OF_WEEK].contains(&field.what);
    let range = match range.split_once('-') {
        _ if range == "*" || (range == "?" && day) => "*".to_owned(),
        Some((from, to)) => self::range(field, from, to)?,
        None if step.is_none() => {
            return special(field, range).unwrap_or_else(|| number(field, range).map(|n| n.to_string()));
        }
        None if range.is_empty() => {
            return Err((format!("`{text}` says no range"), Some(format!("did you mean `*{text}`?"))));
        }
        None => {
            let from = number(field, range)?;
            let help = format!("did you mean `{from}-{}/{}`?", field.max, step.unwrap_or_default());
            return Err((format!("`{text}`: a step needs a range or `*`"), Some(help)));
        }
    };
    let Some(step) = step else { return Ok(range) };
    match step.parse::<u16>() {
        Ok(n) if n >= 1 && n <= field.max => Ok(format!("{range}/{n}")),
        _ => {
            let message = format!("`{step}` is no step; it is a number from 1 to {}", field.max);
            Err((message, step.parse::<u32>().is_ok_and(|n| n > 0).then(|| beyond(field))))
        }
    }
}

fn beyond(field: &Field) -> String {
    match field.what {
        "second" | "minute" => "for longer intervals use `every: 90m`, or the next field".to_owned(),
        _ => "for longer intervals use `every`".to_owned(),
    }
}

fn range(field: &Field, from: &str, to: &str) -> Result<String, Said> {
    let (first, mut last) = (number(field, from)?, number(field, to)?);
    // The week may end on Sunday.
    if field.what == DAY_OF_WEEK && last == 0 && first > 0 {
        last = 7;
    }
    if first > last {
        let end = if field.what == DAY_OF_WEEK { 6 } else { field.max };
        let help = format!("did you mean `{first}-{end},{}-{last}`?", field.min);
        return Err((format!("`{from}-{to}` goes backwards"), Some(help)));
    }
    Ok(format!("{first}-{last}"))
}

/// `L`, `LW`, `15W`, `5L` and `5#2`: the last, the nearest working day, the second Friday.
fn special(field: &Field, text: &str) -> Option<Result<String, Said>> {
    let upper = text.to_ascii_uppercase();
    if field.what == DAY_OF_MONTH {
        if upper == "L" || upper == "LW" {
            return Some(Ok(upper));
        }
        let day = upper.strip_suffix('W')?;
        return Some(number(field, day).map(|n| format!("{n}W")));
    }
    if field.what != DAY_OF_WEEK {
        return None;
    }
    if let Some((day, nth)) = upper.split_once('#') {
        let right = nth.parse::<u16>().is_ok_and(|n| (1..=5).contains(&n));
        let wrong = || (format!("`{text}`: what follows `#` is a number from 1 to 5"), None);
        return Some(
            number(field, day).and_then(|n| if right { Ok(format!("{}#{nth}", n % 7)) } else { Err(wrong()) }),
        );
    }
    let day = upper.strip_suffix('L').filter(|day| !day.is_empty())?;
    Some(number(field, day).map(|n| format!("{}L", n % 7)))
}

/// A number or a name as a number.
fn number(field: &Field, text: &str) -> Result<u16, Said> {
    let upper = text.to_ascii_uppercase();
    if let Some(at) = field.names.iter().position(|name| *name == upper) {
        return Ok(field.min + at as u16);
    }
    let range = format!("{}-{}", field.min, field.max);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse::<u16>() {
            Ok(n) if (field.min..=field.max).contains(&n) => Ok(n),
            n => {
                let near = match n {
                    // 24 o'clock is 0 o'clock, minute 60 is minute 0.
                    Ok(n) if n == field.max + 1 => Some(field.min),
                    Ok(0) => Some(field.min),
                    _ => None,
                };
                let help = near.map(|n| format!("did you mean `{n}`?"));
                Err((format!("`{text}` is not in {range}"), help))
            }
        };
    }
    let names = match field.names {
        [first, .., last] => format!(" or {first}-{last}"),
        _ => String::new(),
    };
    // FRIDAY is FRI, and MOM is MON.
    let long = field.names.iter().find(|name| upper.len() > 3 && upper.starts_with(**name)).copied();
    let near = long.or_else(|| spelling::nearest(&upper, field.names.iter().copied()));
    let elsewhere = || {
        let holds = |f: &&Field| f.names.contains(&upper.as_str());
        FIELDS.iter().find(holds).map(|f| format!("`{text}` is a {}", f.what))
    };
    let help = near.map(|n| format!("did you mean `{n}`?")).or_else(elsewhere);
    let shown = crate::tree::shorten(text);
    Err((format!("expected {range}{names}, found `{shown}`"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (String, String) {
        let wrong = parse(text).expect_err(text);
        (
            text[wrong.start..wrong.end.min(text.len())].to_owned(),
            format!("{} {}", wrong.message, wrong.help.unwrap_or_default()),
        )
    }

    #[test]
    fn each_error_names_its_field_and_the_nearest_right_thing() {
        for (text, place, words) in [
            ("60 2 * * *", "60", "minute: `60` is not in 0-59 did you mean `0`?"),
            ("0 24 * * *", "24", "hour: `24` is not in 0-23 did you mean `0`?"),
            ("0 0 0 * *", "0", "day of month: `0` is not in 1-31 did you mean `1`?"),
            ("0 0 1 13 *", "13", "month: `13` is not in 1-12"),
            ("0 0 * * 8", "8", "day of week: `8` is not in 0-7"),
            ("0 0 * JANUARY *", "JANUARY", "did you mean `JAN`?"),
            ("0 0 * * MOM", "MOM", "did you mean `MON`?"),
            ("0 0 * * 1,,3", ",", "nothing between two commas"),
            ("MON 0 * * *", "MON", "minute: expected 0-59, found `MON` `MON` is a day of week"),
            ("0 0 * * MON-FRIDAY", "MON-FRIDAY", "did you mean `FRI`?"),
            ("0 22-6 * * *", "22-6", "did you mean `22-23,0-6`?"),
            ("0 0 * * SAT-MON", "SAT-MON", "did you mean `6-6,0-1`?"),
            ("5/10 * * * *", "5/10", "did you mean `5-59/10`?"),
            ("/10 * * * *", "/10", "did you mean `*/10`?"),
            ("*/0 * * * *", "*/0", "`0` is no step"),
            ("*/90 * * * *", "*/90", "use `every: 90m`"),
            ("0 2 * *", "0 2 * *", "did you mean `0 2 * * *`?"),
            ("0 0 2 * * * 2026", "0 0 2 * * * 2026", "here are 7 years are no part of it"),
            ("", "", "here are 0"),
            ("@dialy", "@dialy", "did you mean `@daily`?"),
            ("@every 5m", "@every 5m", "write `every: 5m`"),
            ("@reboot", "@reboot", "goes on where it stood"),
            ("0 0 * * FRI#6", "FRI#6", "from 1 to 5"),
            ("0 x * * *", "x", "hour: expected 0-23, found `x`"),
        ] {
            let (at, said) = wrong(text);
            assert!(at.starts_with(place) && said.contains(words), "{text}: at `{at}`: {said}");
        }
    }

    #[test]
    fn what_people_write_is_understood() {
        for text in [
            "0 2 * * 1-5",
            "*/10 * * * *",
            "0 2 * * MON-FRI",
            "0 2 * jan,Jul sun",
            "30 0 2 * * *",
            "@daily",
            "@Hourly",
            "@midnight",
            "0 0 L * *",
            "0 0 LW * *",
            "0 0 15W * *",
            "0 0 * * FRI#2",
            "0 0 * * 5L",
            "0 0 ? * MON",
            "0 0 * * FRI-SUN",
            "0 0 * * 7",
            "0 8-18/2 * * *",
            "  0   2 * * *  ",
            "*/15 9-17 * * 1-5",
            "0,30 2 * * *",
        ] {
            parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        }
    }
}
