//! What the counts are to be, as text, and what differs from it.

use std::collections::BTreeMap;
use std::fmt;

/// How far a count may be off, in parts of itself. The same program is counted equal to within 0.3 %, however busy the
/// machine; what is left of that comes of hash tables of random seed. Above that it has to leave room for what a change moves
/// elsewhere, as by what is inlined, and below it must not lose one allocation: 160 instructions, 7 % of a passing record.
pub const TOLERANCE: f64 = 0.02;

/// The same where tools are others than those of the baseline: another compiler makes other code, another libc allocates
/// another way.
pub const TOLERANCE_OF_OTHERS: f64 = 0.15;

/// Instructions per record, by name of the loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// What they were counted with: compiler, libc, valgrind, processor.
    pub tools: String,
    /// By name.
    pub counts: BTreeMap<String, u64>,
}

const TOOLS: &str = "# tools: ";

impl Baseline {
    /// Reads the file: `name count` in a line, and what stands behind `#` is a remark. An error names its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut baseline = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(tools) = line.strip_prefix(TOOLS) {
                tools.trim().clone_into(&mut baseline.tools);
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(' ').and_then(|(name, count)| Some((name, count.trim().parse::<u64>().ok()?)));
            let Some((name, count)) = pair.filter(|(_, count)| *count > 0) else {
                return Err(format!("line {number}: expected `name count`, found `{line}`"));
            };
            if baseline.counts.insert(name.to_owned(), count).is_some() {
                return Err(format!("line {number}: `{name}` for the second time"));
            }
        }
        Ok(baseline)
    }

    /// The file that [`Baseline::parse`] reads. `remark` is its first line.
    pub fn text(&self, remark: &str) -> String {
        let counts = self.counts.iter().map(|(name, count)| format!("{name} {count}\n"));
        format!("# {remark}\n{TOOLS}{}\n\n{}", self.tools, counts.collect::<String>())
    }
}

/// What is wrong with a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It takes more than it may.
    More {
        /// The loop.
        name: String,
        /// By the baseline.
        was: u64,
        /// Counted.
        is: u64,
    },
    /// It takes fewer: the baseline is to be lowered, or what was gained may be lost again unseen.
    Fewer {
        /// The loop.
        name: String,
        /// By the baseline.
        was: u64,
        /// Counted.
        is: u64,
    },
    /// The baseline does not know it.
    New {
        /// The loop.
        name: String,
        /// Counted.
        is: u64,
    },
    /// The baseline knows it, and it is gone.
    Gone {
        /// The loop.
        name: String,
    },
}

/// What differs by more than `tolerance`, in parts of the baseline's count; in the order of names.
pub fn compare(baseline: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>, tolerance: f64) -> Vec<Finding> {
    let gone = baseline.keys().filter(|name| !counted.contains_key(*name));
    let mut findings: Vec<Finding> = gone.map(|name| Finding::Gone { name: name.clone() }).collect();
    for (name, &is) in counted {
        let name = name.clone();
        match baseline.get(&name) {
            None => findings.push(Finding::New { name, is }),
            Some(&was) if is as f64 > was as f64 * (1.0 + tolerance) => findings.push(Finding::More { name, was, is }),
            Some(&was) if (is as f64) < was as f64 * (1.0 - tolerance) => {
                findings.push(Finding::Fewer { name, was, is });
            }
            Some(_) => {}
        }
    }
    findings.sort_by(|a, b| a.name().cmp(b.name()));
    findings
}

impl Finding {
    fn name(&self) -> &str {
        match self {
            Self::More { name, .. } | Self::Fewer { name, .. } | Self::New { name, .. } | Self::Gone { name } => name,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |was: u64, is: u64| (is as f64 / was as f64 - 1.0).abs() * 100.0;
        match self {
            Self::More { name, was, is } => {
                write!(
                    f,
                    "{name}: {is} instructions a record, {:.1} % more than the {was} of before",
                    percent(*was, *is)
                )
            }
            Self::Fewer { name, was, is } => {
                let percent = percent(*was, *is);
                write!(
                    f,
                    "{name}: {is} instructions a record, {percent:.1} % fewer than the {was} of before: lower the baseline, so that it stays so"
                )
            }
            Self::New { name, is } => {
                write!(f, "{name}: {is} instructions a record, and the baseline does not know it")
            }
            Self::Gone { name } => write!(f, "{name}: in the baseline, and there is no such loop"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn said(baseline: &[(&str, u64)], counted: &[(&str, u64)]) -> Vec<String> {
        compare(&counts(baseline), &counts(counted), 0.03).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_within_the_tolerance_is_the_same() {
        assert_eq!(said(&[("a", 1_000)], &[("a", 1_030)]), [""; 0]);
        assert_eq!(said(&[("a", 1_000)], &[("a", 970)]), [""; 0]);
    }

    #[test]
    fn more_and_fewer_are_named_with_how_much() {
        assert_eq!(
            said(&[("a", 1_000), ("b", 1_000), ("c", 5)], &[("a", 1_031), ("b", 969), ("c", 5)]),
            [
                "a: 1031 instructions a record, 3.1 % more than the 1000 of before",
                "b: 969 instructions a record, 3.1 % fewer than the 1000 of before: lower the baseline, so that it stays so",
            ]
        );
    }

    #[test]
    fn loops_that_come_and_go_are_named() {
        assert_eq!(
            said(&[("b", 7)], &[("a", 9)]),
            [
                "a: 9 instructions a record, and the baseline does not know it",
                "b: in the baseline, and there is no such loop"
            ]
        );
    }

    #[test]
    fn a_baseline_reads_back_as_written() {
        let baseline = Baseline { tools: "rustc 1, glibc 2".to_owned(), counts: counts(&[("a", 1), ("b_c", 22)]) };
        let text = baseline.text("a remark");
        assert_eq!(text, "# a remark\n# tools: rustc 1, glibc 2\n\na 1\nb_c 22\n");
        assert_eq!(Baseline::parse(&text), Ok(baseline));
    }

    #[test]
    fn a_broken_baseline_is_refused_with_its_line() {
        for (text, why) in [
            ("a\n", "line 1: expected `name count`, found `a`"),
            ("# x\n\na 0\n", "line 3: expected `name count`, found `a 0`"),
            ("a -1\n", "line 1: expected `name count`, found `a -1`"),
            ("a 1\na 1\n", "line 2: `a` for the second time"),
        ] {
            assert_eq!(Baseline::parse(text), Err(why.to_owned()));
        }
    }
}
