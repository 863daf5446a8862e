//! Seeded input with the dirt that makes delivery hard: repeats, records that cannot be processed, some of them mended and
//! sent again, records dropped on purpose, lines that are no JSON.

use std::collections::HashMap;

use fastrand::Rng;
use serde_json::json;

/// Makes rows for as long as asked; equal seeds make equal rows.
pub struct Workload {
    rng: Rng,
    next_id: u64,
    /// Next sequence number of each account.
    sequences: HashMap<u32, i64>,
    /// Rows that may be sent again as they are.
    repeatable: Vec<String>,
    /// (id, account) of rows with a wrong type that may be mended.
    broken: Vec<(String, u32)>,
}

/// What one step of input consists of.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// JSON lines, keyed by `.account`.
    pub keyed: Vec<String>,
    /// Lines that are no JSON, without a key.
    pub garbage: Vec<String>,
}

/// Few enough that keys repeat all the time, enough that they fill every partition.
const ACCOUNTS: u32 = 60;
/// Repeats come from this many rows back at most, so that many meet their original in the same transaction.
const REPEAT_FROM: usize = 500;

impl Workload {
    /// From a seed that a failing test has printed.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            next_id: 0,
            sequences: HashMap::new(),
            repeatable: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// The next `n` rows.
    pub fn rows(&mut self, n: usize) -> Rows {
        let mut rows = Rows::default();
        for _ in 0..n {
            match self.rng.u32(0..100) {
                0 => rows.garbage.push(format!("{{\"id\": \"g-{}\", broken", self.rng.u64(..))),
                1..=6 if !self.repeatable.is_empty() => {
                    let back = self.repeatable.len().min(REPEAT_FROM);
                    let at = self.repeatable.len() - 1 - self.rng.usize(0..back);
                    rows.keyed.push(self.repeatable[at].clone());
                }
                7..=8 if !self.broken.is_empty() => {
                    let at = self.rng.usize(0..self.broken.len());
                    let (id, account) = self.broken.swap_remove(at);
                    let amount = json!(self.rng.i32(1..900));
                    let row = self.row(&id, account, amount, "sale", "77");
                    rows.keyed.push(row);
                }
                kind => {
                    let row = self.fresh(kind);
                    rows.keyed.push(row);
                }
            }
        }
        rows
    }

    /// A row of a wrong type, which no later row mends.
    pub fn never_mended(&mut self, id: &str) -> String {
        let account = self.rng.u32(0..ACCOUNTS);
        self.row(id, account, json!("many"), "sale", "1")
    }

    fn fresh(&mut self, kind: u32) -> String {
        let id = format!("r-{}", self.next_id);
        self.next_id += 1;
        let account = self.rng.u32(0..ACCOUNTS);
        let amount = if self.rng.u32(0..100) < 15 { self.rng.i32(-900..0) } else { self.rng.i32(0..900) };
        if (9..=12).contains(&kind) {
            // A wrong type is a dead letter of the first stage. It is not repeated, so that its letter is the only one.
            let row = self.row(&id, account, json!("many"), "sale", "1");
            self.broken.push((id, account));
            return row;
        }
        let row = match kind {
            13..=17 => self.row(&id, account, json!(amount), "noise", "1"),
            18..=20 => self.row(&id, account, json!(amount), "sale", "none"),
            _ => {
                let reference = self.rng.u32(1..9999).to_string();
                self.row(&id, account, json!(amount), "sale", &reference)
            }
        };
        self.repeatable.push(row.clone());
        row
    }

    fn row(&mut self, id: &str, account: u32, amount: serde_json::Value, kind: &str, reference: &str) -> String {
        let sequence = self.sequences.entry(account).or_default();
        *sequence += 1;
        json!({ "id": id, "account": format!("a{account}"), "seq": *sequence, "amount": amount, "kind": kind, "ref": reference })
            .to_string()
    }
}
