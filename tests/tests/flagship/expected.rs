//! What the flagship must make of order lines, computed from the file alone, the way one would by hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

/// What must come out.
#[derive(Default)]
pub struct Expected {
    /// Rows of the file.
    pub rows: u64,
    /// Repeats of a row that went through before.
    pub duplicates: u64,
    /// Rows that cost nothing.
    pub free: u64,
    /// Output -> invoice -> payloads in order.
    pub outputs: BTreeMap<&'static str, BTreeMap<String, Vec<Value>>>,
    /// Of the first stage: (code, payload); and of the third.
    pub broken: Vec<(&'static str, Payload)>,
    pub unlisted: Vec<(&'static str, Payload)>,
}

/// A dead letter's payload.
#[derive(Debug, PartialEq)]
pub enum Payload {
    /// A row that is none, as it stands in the file.
    Bytes(Vec<u8>),
    /// JSON.
    Json(Value),
}

/// A product of the price list.
pub struct Listed {
    pub product: String,
    pub price: f64,
    pub vat: f64,
}

/// Works through the file, row by row.
pub fn compute(file: &[u8], list: &BTreeMap<String, Listed>) -> Expected {
    let mut all = Expected::default();
    let mut seen: HashSet<Vec<String>> = HashSet::new();
    for line in lines(file).skip(1) {
        all.rows += 1;
        let Ok(text) = std::str::from_utf8(line) else {
            all.broken.push(("invalid_utf8", Payload::Bytes(line.to_vec())));
            continue;
        };
        let fields = fields(text);
        assert_eq!(fields.len(), 7, "the real file has seven fields in each row: {text}");
        let row = row(&fields);
        if !fits(&row) {
            all.broken.push(("schema_violation", Payload::Json(row)));
        } else if !seen.insert(fields) {
            all.duplicates += 1;
        } else {
            all.add("validate", &row["InvoiceNo"].clone(), row.clone());
            all.clean(&row, list);
        }
    }
    all
}

impl Expected {
    fn clean(&mut self, row: &Value, list: &BTreeMap<String, Listed>) {
        let price = row["UnitPrice"].as_f64().expect("checked");
        if price <= 0.0 {
            self.free += 1;
            return;
        }
        let sku = row["StockCode"].as_str().expect("checked").to_uppercase();
        let description = row["Description"].as_str().unwrap_or("").trim().to_owned();
        let quantity = row["Quantity"].as_i64().expect("checked");
        let mut line = json!({
            "invoice": row["InvoiceNo"], "sku": sku, "description": description, "quantity": quantity,
            "unit_price": price, "customer": row["CustomerID"], "country": row["Country"],
        });
        let invoice = row["InvoiceNo"].clone();
        self.add("clean", &invoice, line.clone());
        let Some(listed) = list.get(&sku) else {
            self.unlisted.push(("lookup_missing", Payload::Json(line)));
            return;
        };
        let total = pence(quantity as f64 * price);
        line["total"] = json!(total);
        line["vat"] = json!(pence(total * listed.vat / 100.0));
        line["below_list"] = json!(pence(listed.price - price));
        if description.is_empty() {
            line["description"] = json!(listed.product);
        }
        self.add("price", &invoice, line.clone());
        let refund = invoice.as_str().is_some_and(|i| i.starts_with('C')) || quantity < 0;
        let output = match (refund, line["customer"].is_null()) {
            (true, _) => "split.refunds",
            (false, true) => "split.guests",
            (false, false) => "split.sales",
        };
        self.add(output, &invoice, line.clone());
        if !refund {
            let order = json!({
                "order": invoice,
                "ship_to": { "customer": line["customer"], "country": line["country"] },
                "line": {
                    "sku": line["sku"], "product": line["description"], "quantity": quantity,
                    "total": line["total"], "vat": line["vat"],
                },
            });
            self.add("orders", &invoice, order);
        }
    }

    fn add(&mut self, output: &'static str, invoice: &Value, value: Value) {
        let invoice = invoice.as_str().expect("checked").to_owned();
        self.outputs.entry(output).or_default().entry(invoice).or_default().push(value);
    }

    /// Records of an output.
    pub fn count(&self, output: &str) -> u64 {
        self.outputs.get(output).map_or(0, |invoices| invoices.values().map(|lines| lines.len() as u64).sum())
    }
}

/// A price list made from the file itself: the first price of each product; one in twenty is left out, and so is all that
/// is no product (postage, fees).
pub fn price_list(file: &[u8]) -> (BTreeMap<String, Listed>, String) {
    let mut list = BTreeMap::new();
    let mut written = "sku,product,list_price,vat_percent\n".to_owned();
    let mut left_out = BTreeSet::new();
    for text in lines(file).skip(1).filter_map(|line| std::str::from_utf8(line).ok()) {
        let fields = fields(text);
        let (sku, price) = (fields[1].to_uppercase(), fields[4].parse::<f64>().expect("a price"));
        let sum: u32 = sku.bytes().map(u32::from).sum();
        if price <= 0.0 || list.contains_key(&sku) {
            continue;
        }
        if sum.is_multiple_of(20) || !sku.starts_with(|c: char| c.is_ascii_digit()) {
            left_out.insert(sku);
            continue;
        }
        let (product, vat) = (format!("product {sku}"), if sum.is_multiple_of(7) { 0 } else { 20 });
        written.push_str(&format!("{sku},{product},{},{vat}\n", fields[4]));
        list.insert(sku, Listed { product, price, vat: f64::from(vat) });
    }
    assert!(list.len() > 1_000 && left_out.len() > 50, "{} listed, {} left out", list.len(), left_out.len());
    (list, written)
}

/// Rounded to pence, away from zero at the half.
fn pence(pounds: f64) -> f64 {
    (pounds * 100.0).round() / 100.0
}

/// The row as JSON, with numbers where the pipeline says number and the text is one.
fn row(fields: &[String]) -> Value {
    let or_null = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    json!({
        "InvoiceNo": fields[0],
        "StockCode": fields[1],
        "Description": or_null(&fields[2]),
        "Quantity": fields[3].parse::<i64>().map_or_else(|_| json!(fields[3]), |n| json!(n)),
        "UnitPrice": fields[4].parse::<f64>().map_or_else(|_| json!(fields[4]), |n| json!(n)),
        "CustomerID": or_null(&fields[5]),
        "Country": fields[6],
    })
}

fn fits(row: &Value) -> bool {
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let text = |name: &str| row[name].as_str();
    text("InvoiceNo").is_some_and(|i| digits(i.strip_prefix('C').unwrap_or(i), 6))
        && text("StockCode").is_some_and(|s| !s.is_empty())
        && row["Quantity"].as_i64().is_some_and(|n| (-2_000..=2_000).contains(&n))
        && row["UnitPrice"].as_f64().is_some_and(|p| p <= 10_000.0)
        && text("CustomerID").is_none_or(|c| digits(c, 5))
        && text("Country").is_some_and(|c| !c.is_empty())
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let trim = |line| <[u8]>::strip_suffix(line, b"\r").unwrap_or(line);
    file.split(|b| *b == b'\n').map(trim).filter(|line| !line.is_empty())
}

/// The fields of a row; those that begin with a quote end at the next that is not doubled.
fn fields(row: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = row;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (text, after) = quoted.split_once('"').expect("a closing quote in the same line");
                field.push_str(text);
                match after.strip_prefix('"') {
                    Some(more) => quoted = more,
                    None => {
                        rest = after;
                        break;
                    }
                }
                field.push('"');
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return fields,
        }
    }
}
