//! Makes the sample data of `pipelines/csv-to-avro`: readings of sensors as a logger writes them, with places that have commas
//! and line breaks in them, and with rows that are none. The same seed gives the same bytes.
//!
//! `make-readings FOLDER` writes `readings.csv` there. Committed in `pipelines/csv-to-avro/data`; a test holds them equal.

use std::path::Path;
use std::process::ExitCode;

use fastrand::Rng;

const SEED: u64 = 1742;
const ROWS: u32 = 240;
const PLACES: [&str; 4] = ["cellar", "\"roof, north\"", "", "\"hall\nof pumps\""];
const STATES: [&str; 8] = ["ok", "ok", "ok", "OK", "Ok", "ok", "low_battery", "fault"];

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: make-readings FOLDER");
        return ExitCode::from(2);
    };
    match std::fs::write(Path::new(&folder).join("readings.csv"), readings()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cannot write to {folder}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn readings() -> String {
    let mut rng = Rng::with_seed(SEED);
    let mut rows = String::from("sensor,at,celsius,state,place\n");
    for n in 0..ROWS {
        let (sensor, minute) = (n % 4, n * 5);
        let at = format!("2026-11-22T{:02}:{:02}:00Z", minute / 60, minute % 60);
        // Zero has no sign as a decimal.
        let hundredths = match rng.i32(-500..3_800) {
            small @ -99..0 => -small,
            other => other,
        };
        let whole = format!("{}{}", if hundredths < 0 { "-" } else { "" }, hundredths.abs() / 100);
        let celsius = match rng.u32(0..20) {
            0 => String::new(),
            1..=5 => whole,
            6..=10 => format!("{whole}.{}", hundredths.abs() % 100 / 10),
            _ => format!("{whole}.{:02}", hundredths.abs() % 100),
        };
        let state = STATES[rng.usize(0..STATES.len())];
        // One of each kind that does not fit.
        let (at, celsius, state) = match n {
            40 => ("yesterday".to_owned(), celsius, state),
            90 => (at, "21.3456".to_owned(), state),
            150 => (at, "20".to_owned(), "on fire"),
            _ => (at, celsius, state),
        };
        rows.push_str(&format!("s{},{at},{celsius},{state},{}\n", sensor + 1, PLACES[sensor as usize]));
    }
    rows
}
