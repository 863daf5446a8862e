//! The hot loops, each driven as `host/src/replica` drives it, for `tests/counts.rs` to count.
//!
//! `hot_loops --list` names them; `hot_loops --count NAME` runs one: what it needs is made and the loop is warm before
//! [`measured_stretch`] begins, and only what that calls is counted. Without either all run once, as a look whether they do.

#![expect(clippy::print_stdout, reason = "a program that answers on standard output")]

mod calls;
mod codecs;
mod engine;
mod filters;
mod headers;
mod input;

/// A loop and how many records are counted of it.
struct Loop {
    name: &'static str,
    records: usize,
    /// Prepares that many records; what comes back works off as many of them as it is told.
    prepare: fn(usize) -> Step,
}

/// Works off so many records.
type Step = Box<dyn FnMut(usize)>;

/// Works the items off, in turn. They stay where they are: what was made before is not freed while it is counted.
fn each<T: 'static>(mut items: Vec<T>, mut work_off: impl FnMut(&mut T) + 'static) -> Step {
    let mut at = 0;
    Box::new(move |count| {
        items[at..at + count].iter_mut().for_each(&mut work_off);
        at += count;
    })
}

const LOOPS: &[Loop] = &[
    Loop { name: "engine_passthrough", records: 10_000, prepare: engine::passthrough },
    Loop { name: "engine_dedup", records: 10_000, prepare: engine::dedup },
    Loop { name: "engine_repeats", records: 10_000, prepare: engine::repeats },
    Loop { name: "engine_calls", records: 10_000, prepare: calls::concurrent },
    Loop { name: "engine_retries", records: 10_000, prepare: calls::retried },
    Loop { name: "engine_parking", records: 10_000, prepare: calls::parked },
    Loop { name: "headers_read_and_written", records: 10_000, prepare: headers::read_and_written },
    Loop { name: "json_decode", records: 2_000, prepare: codecs::json_decode },
    Loop { name: "json_decode_small", records: 2_000, prepare: codecs::json_decode_small },
    Loop { name: "json_splice", records: 2_000, prepare: codecs::json_splice },
    Loop { name: "json_encode", records: 2_000, prepare: codecs::json_encode },
    Loop { name: "csv_decode", records: 2_000, prepare: codecs::csv_decode },
    Loop { name: "avro_decode", records: 2_000, prepare: codecs::avro_decode },
    Loop { name: "avro_encode", records: 2_000, prepare: codecs::avro_encode },
    Loop { name: "filter_where", records: 2_000, prepare: filters::where_ },
    Loop { name: "filter_map", records: 2_000, prepare: filters::map },
    Loop { name: "filter_route", records: 2_000, prepare: filters::route },
    Loop { name: "json_where_map", records: 2_000, prepare: filters::json_where_map },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => LOOPS.iter().for_each(|l| println!("{} {}", l.name, l.records)),
        ["--count", name] => {
            let Some(found) = LOOPS.iter().find(|l| l.name == name) else {
                println!("there is no loop `{name}`");
                std::process::exit(1);
            };
            run(found);
        }
        _ => LOOPS.iter().for_each(run),
    }
}

fn run(of: &Loop) {
    // As many before, so that tables have grown and pools are filled.
    let mut step = (of.prepare)(2 * of.records);
    step(of.records);
    measured_stretch(&mut *step, of.records);
}

/// What is counted, by this name.
#[inline(never)]
fn measured_stretch(step: &mut dyn FnMut(usize), records: usize) {
    step(records);
}
