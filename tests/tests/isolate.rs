//! A stage that keeps secrets, and what tries to get at them: other stages that name them, a process that runs more, fields,
//! headers and keys that carry out what may not leave, a server that sends the secret back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(300);
const KEY: &str = "k3y-of-the-cards";
const PAN: &str = "4111-1111-1111-1111";

/// Sends back what it was asked for: the number of the card always, the secret where the record says so.
fn server() -> HttpServer {
    HttpServer::start(|request| {
        let body: Value = serde_json::from_str(&request.text()).expect("the body is JSON");
        let said = request.header("authorization").unwrap_or_default().to_owned();
        if body["way"] == "refused" {
            return Reply::Answer(400, Vec::new(), format!("not with {said} for {PAN}").into_bytes());
        }
        let number = if body["way"] == "echo" { said } else { format!("n-{}", body["id"].as_str().unwrap_or("")) };
        Reply::json(&json!({ "number": number, "pan": PAN }).to_string())
    })
}

fn pipeline(server: &HttpServer) -> String {
    format!(
        "pipeline: pay\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: pay.raw, id: .id, fields: {{ id: string, way: string }} }}\n\
         stages:\n  - name: charge\n    filters:\n      - http:\n          url: \"{}\"\n          into: .receipt\n          \
         headers: {{ authorization: \"Bearer ${{env:CARD_KEY}}\" }}\n      - map: |\n          \
         pan = string(.receipt.pan) ?? \"\"\n          if .way != \"field\" {{ del(.receipt.pan) }}\n          \
         if .way == \"header\" {{ %headers.pan = pan }}\n          if .way == \"key\" {{ %key = pan }}\n    \
         isolate: {{ secrets: [CARD_KEY], run: apart, allow_fields: [.id, .way, .receipt.number] }}\n  \
         - name: book\n    filter: map\n    with: .booked = true\n",
        server.url("/charge")
    )
}

fn run(site: &Site, file: &Path, stages: &[&str], key: Option<&str>) -> std::process::Command {
    let mut command = site.command(["run", "--no-listen"]);
    command.args(stages).arg(file).env_remove("CARD_KEY");
    if let Some(key) = key {
        command.env("CARD_KEY", key);
    }
    command
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

#[test]
fn only_what_is_allowed_leaves() {
    let site = Site::embedded();
    let server = server();
    let file = site.write("pay.yaml", &pipeline(&server));
    let ways = ["good", "field", "header", "key", "echo", "refused"];
    let rows: Vec<String> =
        ways.iter().map(|way| json!({ "id": format!("r-{way}"), "way": way }).to_string()).collect();
    site.produce("pay.raw", &rows, &["--create", "--partitions", "2", "--key", ".id"]);

    let together = run(&site, &file, &[], Some(KEY)).output().expect("run starts");
    assert!(!together.status.success(), "{}", said(&together));
    assert!(said(&together).contains("`--stages pay.charge`") && said(&together).contains("`--stages pay.book`"));
    let without = run(&site, &file, &["--stages", "charge"], None).output().expect("run starts");
    assert!(!without.status.success() && said(&without).contains("`CARD_KEY` is not set"), "{}", said(&without));
    let checked = site.command(["check"]).arg(&file).env_remove("CARD_KEY").output().expect("check starts");
    assert!(checked.status.success(), "{}", said(&checked));

    let mut others = Process::start(&mut run(&site, &file, &["--stages", "pay.book"], None), site.folder(), "book");
    let mut charges = run(&site, &file, &["--stages", "pay.charge"], Some(KEY));
    charges.env("MILLSTREAM_LOG", "info");
    let mut charges = Process::start(&mut charges, site.folder(), "charge");
    assert!(wait_until(PATIENCE, || site.read("pay.charge.dlq").len() + site.read("pay.book").len() >= ways.len()));
    for process in [&mut others, &mut charges] {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let booked = site.read("pay.book");
    assert_eq!(booked.len(), 1);
    assert_eq!(booked[0].value["receipt"], json!({ "number": "n-r-good" }));
    let mut letters: Vec<(String, String, String)> = site
        .read("pay.charge.dlq")
        .iter()
        .map(|letter| {
            let header = |name: &str| letter.header(&format!("millstream.dlq.{name}")).unwrap_or_default().to_owned();
            assert_eq!(
                letter.value.as_object().map(serde_json::Map::len),
                Some(2),
                "the record as it came: {letter:?}"
            );
            (letter.value["way"].as_str().unwrap_or_default().to_owned(), header("code"), header("message"))
        })
        .collect();
    letters.sort();
    let codes: Vec<(&str, &str)> = letters.iter().map(|(way, code, _)| (way.as_str(), code.as_str())).collect();
    let not = "field_not_allowed";
    let refused = codes.last().expect("letters").1;
    assert_eq!(
        codes,
        [("echo", "secret_in_output"), ("field", not), ("header", not), ("key", not), ("refused", refused)],
        "{letters:?}"
    );
    assert!(letters[1].2.contains("`.receipt.pan`") && letters[2].2.contains("header `pan`"), "{letters:?}");
    assert!(letters[4].2.contains("withheld"), "{letters:?}");
    // Nothing of it stands anywhere: no topic, no position, no report, no line that was logged.
    for path in files(site.folder()) {
        let bytes = fs::read(&path).expect("a file of the test");
        for secret in [KEY, PAN] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", path.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).filter(|p| p.is_file()).collect()
}

/// Each way to name the secret from elsewhere is an error of the check, at its place.
#[test]
fn nothing_else_names_the_secret() {
    let site = Site::embedded();
    let server = server();
    let good = pipeline(&server);
    site.write("key.pem", KEY);
    let of_file = good.replace("${env:CARD_KEY}", "${file:key.pem}").replace("[CARD_KEY]", "[key.pem]");
    let tries = [
        (good.replace("with: .booked = true", "with: .key = \"${env:CARD_KEY}\""), "secret_elsewhere"),
        (good.replace("with: .booked = true", "with: .key = \"${env:CARD_KEY:-none}\""), "secret_elsewhere"),
        (
            good.replace(
                "    filter: map\n    with: .booked",
                "    description: ${env:CARD_KEY}\n    filter: map\n    with: .booked",
            ),
            "secret_elsewhere",
        ),
        (good.replace("topic: pay.raw", "topic: \"${env:CARD_KEY}\""), "secret_elsewhere"),
        (good.replace("partitions: 2", "partitions: 2, max_record: \"${env:CARD_KEY}\""), "secret_elsewhere"),
        (of_file.replace("with: .booked = true", "with: .key = \"${file:./a/../key.pem}\""), "secret_elsewhere"),
        (good.replace("[CARD_KEY]", "[\"${env:OTHER}\"]"), "bad_name"),
        (good.replace("with: .booked = true", "with: .key = get_env_var!(\"CARD_KEY\")"), "expression_invalid"),
    ];
    for (text, code) in tries {
        let file = site.write("tried.yaml", &text);
        let mut command = site.command(["check", "-o", "json"]);
        let out = command.arg(&file).env("CARD_KEY", KEY).env("OTHER", "CARD_KEY").output().expect("check starts");
        let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let issues = document["files"][0]["issues"].as_array().cloned().unwrap_or_default();
        let found = issues.iter().any(|i| i["code"] == code && i["line"].as_u64() > Some(0));
        assert!(found && !said(&out).contains(KEY), "{code}: {issues:?}\n{text}");
    }
    let file = site.write("good.yaml", &of_file);
    let out = site.command(["check"]).arg(&file).output().expect("check starts");
    assert!(out.status.success(), "{}", said(&out));
}
