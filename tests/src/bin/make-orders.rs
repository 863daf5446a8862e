//! Makes the sample data of the flagship: order lines as a shop's system exports them, with the dirt such files have,
//! and the price list. The same seed gives the same bytes.
//!
//! `make-orders FOLDER [INVOICES]` writes `orders.csv` and `prices.csv` there. Committed in
//! `pipelines/retail-orders/data`; a test holds them equal.

use std::path::Path;
use std::process::ExitCode;

use fastrand::Rng;

const SEED: u64 = 1854;
const INVOICES: u32 = 520;

const LOOKS: [&str; 12] =
    ["BLUE", "RED", "WHITE", "STRIPED", "SPOTTED", "LARGE", "SMALL", "OAK", "ENAMEL", "PAPER", "WOOLLEN", "FOLDING"];
const THINGS: [&str; 10] =
    ["MUG", "LANTERN", "BASKET", "CLOCK", "TRAY", "CANDLE", "NOTEBOOK", "CUSHION", "GARLAND", "TEA TOWEL"];
const COUNTRIES: [&str; 8] =
    ["United Kingdom", "United Kingdom", "United Kingdom", "Norway", "Portugal", "Germany", "EIRE", "Japan"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let invoices = arguments.get(1).map_or(Ok(INVOICES), |text| text.parse());
    let (Some(folder), Ok(invoices)) = (arguments.first(), invoices) else {
        eprintln!("usage: make-orders FOLDER [INVOICES]");
        return ExitCode::from(2);
    };
    let products = products();
    let write = |name: &str, bytes: &[u8]| std::fs::write(Path::new(folder).join(name), bytes);
    match write("prices.csv", &price_list(&products)).and_then(|()| write("orders.csv", &orders(&products, invoices))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cannot write to {folder}: {e}");
            ExitCode::FAILURE
        }
    }
}

struct Product {
    sku: String,
    name: String,
    /// In pence.
    price: u32,
    vat: u32,
}

struct Line {
    invoice: String,
    sku: String,
    description: String,
    quantity: String,
    price: String,
    customer: String,
    country: String,
}

fn products() -> Vec<Product> {
    let mut rng = Rng::with_seed(SEED ^ 0xF00D);
    let mut all = Vec::new();
    for (i, thing) in THINGS.iter().enumerate() {
        for (j, look) in LOOKS.iter().enumerate() {
            let letter = ["A", "B", "", ""][rng.usize(..4)];
            // The first is the one that the tour and the pipeline's tests name.
            let letter = if all.is_empty() { "A" } else { letter };
            all.push(Product {
                sku: format!("{}{letter}", 20_001 + i * 100 + j),
                name: format!("{look} {thing}"),
                price: rng.u32(30..2_000) / 5 * 5,
                vat: if *thing == "NOTEBOOK" { 0 } else { 20 },
            });
        }
    }
    all
}

fn price_list(products: &[Product]) -> Vec<u8> {
    let mut out = String::from("sku,product,list_price,vat_percent\n");
    for p in products {
        out.push_str(&format!("{},{},{},{}\n", p.sku, p.name, pounds(p.price), p.vat));
    }
    out.into_bytes()
}

fn orders(products: &[Product], invoices: u32) -> Vec<u8> {
    let mut rng = Rng::with_seed(SEED);
    let mut out = b"InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\n".to_vec();
    for n in 0..invoices {
        let cancelled = rng.u32(..100) < 4;
        let invoice = format!("{}{}", if cancelled { "C" } else { "" }, 536_001 + n);
        let customer = if rng.u32(..100) < 28 { String::new() } else { (14_000 + rng.u32(..90)).to_string() };
        let country = COUNTRIES[rng.usize(..COUNTRIES.len())];
        for _ in 0..rng.u32(1..12) {
            let product = &products[rng.usize(..products.len())];
            let quantity = rng.i32(1..25) * if cancelled { -1 } else { 1 };
            let off = [100, 100, 100, 95, 90][rng.usize(..5)];
            let line = Line {
                invoice: invoice.clone(),
                sku: product.sku.clone(),
                description: product.name.clone(),
                quantity: quantity.to_string(),
                price: pounds(product.price * off / 100),
                customer: customer.clone(),
                country: country.to_owned(),
            };
            write_with_dirt(&mut rng, line, &mut out);
        }
    }
    out
}

/// Most lines are as they should be. The others are what people, tills and exports make of them.
fn write_with_dirt(rng: &mut Rng, mut line: Line, out: &mut Vec<u8>) {
    match rng.u32(..1_000) {
        // The export sent it twice.
        0..15 => {
            let row = row(&line);
            out.extend_from_slice(&row);
            out.extend_from_slice(&row);
            return;
        }
        // Stock that went, or a sample: nobody paid.
        15..25 => {
            line.price = "0".to_owned();
            line.description = ["", "?", "damaged", "sample"][rng.usize(..4)].to_owned();
            if rng.bool() {
                line.quantity = format!("-{}", rng.u32(1..60));
            }
        }
        // A return without a cancelled invoice.
        25..32 => line.quantity = "-1".to_owned(),
        32..52 => line.description = String::new(),
        52..72 => line.description = format!(" {} ", line.description),
        // The till knows lower case too.
        72..82 => line.sku = line.sku.to_lowercase(),
        82..97 => line.description = format!("{}, SET OF {}", line.description, rng.u32(2..7)),
        97..105 => line.description = format!("{}\nGIFT WRAPPED", line.description),
        105..111 => line.description = format!("{} 5\" HIGH", line.description),
        // Not on the price list: postage, a fee, a product of last year.
        111..123 => line.sku = ["POST", "FEE", "19107"][rng.usize(..3)].to_owned(),
        // Wrong types and values.
        123..127 => line.quantity = ["six", "1.5", ""][rng.usize(..3)].to_owned(),
        127..130 => line.price = format!("GBP {}", line.price),
        130..132 => line.quantity = "74215".to_owned(),
        132..134 => line.invoice = "TEST".to_owned(),
        // Broken lines: a field too few, one too many, bytes of another encoding, a stray quote.
        134..137 => {
            let fields = [&line.invoice, &line.sku, &line.description, &line.quantity].map(String::as_str);
            out.extend_from_slice(fields.join(",").as_bytes());
            out.push(b'\n');
            return;
        }
        137..140 => line.country = format!("{},Europe", line.country),
        140..142 => {
            let row = row(&line);
            let at = row.iter().position(|b| *b == b',').unwrap_or(0) + 1;
            out.extend_from_slice(&row[..at]);
            out.push(0xA3);
            out.extend_from_slice(&row[at..]);
            return;
        }
        142..144 => {
            let text = format!("{},{},\"{} \"BEST\" \"\",", line.invoice, line.sku, line.description);
            out.extend_from_slice(text.as_bytes());
            let text = format!("{},{},{},{}\n", line.quantity, line.price, line.customer, line.country);
            out.extend_from_slice(text.as_bytes());
            return;
        }
        _ => {}
    }
    out.extend_from_slice(&row(&line));
}

/// A field that holds a comma, a quote or a line break is quoted, except the country: a stray comma there is dirt.
fn row(line: &Line) -> Vec<u8> {
    let description = if line.description.contains([',', '\n']) {
        format!("\"{}\"", line.description.replace('"', "\"\""))
    } else {
        line.description.clone()
    };
    let fields = [&line.invoice, &line.sku, &description, &line.quantity, &line.price, &line.customer, &line.country];
    let mut row = fields.map(String::as_str).join(",").into_bytes();
    row.push(b'\n');
    row
}

fn pounds(pence: u32) -> String {
    format!("{}.{:02}", pence / 100, pence % 100)
}
