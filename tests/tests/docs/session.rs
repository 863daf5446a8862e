//! One reader with one terminal: a page's commands, pasted one after the other in a folder with the project's pipelines.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use millstream_tests::{binary, workspace};

use crate::CLUSTER;
use crate::blocks::{Block, commands, fits};

/// A folder to work in.
pub struct Session {
    folder: tempfile::TempDir,
    cluster: Option<String>,
}

/// Ends what a command prints in the session's output.
const MARK: &str = "@@@ exit ";

impl Session {
    /// A fresh clone, as far as a page needs it.
    pub fn new(cluster: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&workspace().join("pipelines"), &folder.path().join("pipelines"));
        Self { folder, cluster: cluster.map(str::to_owned) }
    }

    /// Pastes the console blocks of a page and compares what is printed.
    ///
    /// # Panics
    /// At the first difference, with its place.
    pub fn play(&mut self, page: &Path, blocks: &[Block]) {
        let mut wanted = Vec::new();
        let mut script = String::new();
        for block in blocks.iter().filter(|b| b.kind == "console") {
            for (command, said) in commands(block) {
                let mut run = command.replace("cargo run --release --", "millstream");
                if let Some(cluster) = &self.cluster {
                    run = run.replace(CLUSTER, cluster);
                }
                script.push_str(&format!("{{ {run}\n}} 2>&1\necho; echo '{MARK}'$?\n"));
                wanted.push((format!("{}:{}", page.display(), block.line), command, said));
            }
        }
        let out = self.bash(&script);
        let mut parts = out.split(MARK);
        let mut printed = parts.next().unwrap_or("").to_owned();
        for (place, command, said) in wanted {
            // What commands say of a broker that takes longer than a second, as a busy machine's does, is on no page.
            let found: Vec<&str> = printed.lines().filter(|line| !line.contains("has not answered yet")).collect();
            assert!(
                fits(&said, &found),
                "{place}: `{command}` printed\n{printed}\nand the page says\n{}\n",
                said.join("\n")
            );
            // What is left of the mark's line is the exit status.
            let after = parts.next().unwrap_or_else(|| panic!("{place}: `{command}` ended the session"));
            printed = after.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
        }
    }

    fn bash(&self, script: &str) -> String {
        let binary = binary();
        let links = self.folder.path().join(".bin");
        fs::create_dir_all(&links).expect("a folder");
        std::os::unix::fs::symlink(&binary, links.join("millstream")).expect("a link");
        let path = format!("{}:{}", links.display(), std::env::var("PATH").unwrap_or_default());
        let out = Command::new("bash")
            .args(["-c", script])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env_remove("MILLSTREAM_BROKERS")
            .env_remove("MILLSTREAM_DATA_DIR")
            .stdin(Stdio::null())
            .output()
            .expect("bash");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

/// Checks a pipeline, or a settings file (its first line names it), as a page shows it.
///
/// # Panics
/// When it is not right, with its place.
pub fn check_yaml(page: &Path, block: &Block) {
    let session = Session::new(None);
    let folder = session.folder.path().join("pipelines/retail-orders");
    let settings = block.text.starts_with("# millstream.yaml");
    let name = if settings { "millstream.yaml" } else { "shown.yaml" };
    // A page may show stages alone.
    let text = if settings || block.text.contains("\npipeline:") || block.text.starts_with("pipeline:") {
        block.text.clone()
    } else if block.text.starts_with("source") {
        format!("pipeline: shown\n{}\nstages: [{{ name: last, filter: map, with: .seen = true }}]\n", block.text)
    } else {
        let fields = "{ id: string, line: integer, quantity: integer, unit_price: number, customer: string?, sku: string, \
                      items: [{ sku: string }], email: string? }";
        format!("pipeline: shown\nsource: {{ topic: in, fields: {fields} }}\n{}", block.text)
    };
    fs::write(folder.join(name), text).expect("a file");
    let arguments: &[&str] = if settings { &["filters"] } else { &["check", "shown.yaml"] };
    let out = Command::new(binary())
        .args(arguments)
        .current_dir(&folder)
        .env_remove("MILLSTREAM_BROKERS")
        .env("KAFKA_PASSWORD", "secret")
        .env("DATABASE_URL", "postgres://localhost/shop")
        .output()
        .expect("millstream");
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{}:{}: {said}", page.display(), block.line);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}
