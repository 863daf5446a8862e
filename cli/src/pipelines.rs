//! PIPELINE arguments -> files -> checked pipelines, with everything that is wrong with them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_filter_api::{Files, Found, Issue, Severity};
use millstream_host::replay::hash128;
use millstream_spec::model::Pipeline;
use millstream_spec::{Registry, SourceFile, Verdict};

use crate::failure::Failure;
use crate::settings;
use crate::terminal::Paint;

/// A file that a pipeline names is read whole; a larger one is a slip.
const MAX_FILE: u64 = 256 << 20;
/// More of a pipeline file is not even read; the check says how large one may be.
const MAX_PIPELINE: u64 = 8 << 20;

/// A pipeline file and what its check gave.
pub struct CheckedFile {
    /// The file.
    pub file: SourceFile,
    /// The pipeline, or what is wrong.
    pub verdict: Verdict,
    /// Hash of the files it names, as the check has read them.
    pub files: u128,
}

impl CheckedFile {
    /// Errors and warnings.
    pub fn issues(&self) -> &[Issue] {
        match &self.verdict {
            Ok((_, warnings)) => warnings,
            Err(issues) => issues,
        }
    }

    /// How many issues are of this kind.
    pub fn count(&self, severity: Severity) -> usize {
        self.issues().iter().filter(|i| i.severity == severity).count()
    }

    /// The issues for people.
    pub fn render(&self, paint: Paint) -> String {
        let shown = |issue: &Issue| {
            let text = millstream_spec::render(&self.file.path, &self.file.bytes, std::slice::from_ref(issue));
            let (word, painted) = match issue.severity {
                Severity::Error => ("error", paint.red("error")),
                Severity::Warning => ("warning", paint.yellow("warning")),
            };
            text.replacen(&format!(": {word}: "), &format!(": {painted}: "), 1)
        };
        self.issues().iter().map(shown).collect()
    }
}

/// Reads and checks files, each for itself and with each other; those that cannot be read are an error.
pub fn check(paths: &[PathBuf], registry: &Registry) -> Result<Vec<CheckedFile>, Failure> {
    let (checked, unread) = check_each(paths, registry);
    Failure::all(unread).map_or(Ok(checked), Err)
}

/// The same for as many as can be read, and what was wrong with the others.
pub fn check_each(paths: &[PathBuf], registry: &Registry) -> (Vec<CheckedFile>, Vec<Failure>) {
    check_to_run(paths, registry, &|_, _| false)
}

/// The same for a process that runs some stages: only of those it reads the secrets.
fn check_to_run(
    paths: &[PathBuf],
    registry: &Registry,
    runs: &dyn Fn(&str, &str) -> bool,
) -> (Vec<CheckedFile>, Vec<Failure>) {
    let (files, unread) = apart(paths.iter().map(|p| read(p)));
    let noted: Vec<Noted> = files.iter().map(|_| Noted::default()).collect();
    let beside = |file: &SourceFile| -> Box<dyn Files> {
        let noted = files.iter().zip(&noted).find(|(f, _)| f.path == file.path).map(|(_, n)| Arc::clone(n));
        let folder = file.path.parent().unwrap_or(Path::new("")).to_owned();
        Box::new(Beside { folder, noted: noted.unwrap_or_default() })
    };
    let verdicts = millstream_spec::check_all_to_run(&files, registry, &beside, &|name| std::env::var(name).ok(), runs);
    let hashes: Vec<u128> = noted.iter().map(hash).collect();
    let checked = files.into_iter().zip(verdicts).zip(hashes);
    (checked.map(|((file, verdict), files)| CheckedFile { file, verdict, files }).collect(), unread)
}

fn apart<T>(all: impl Iterator<Item = Result<T, Failure>>) -> (Vec<T>, Vec<Failure>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok(one) => good.push(one),
            Err(failure) => bad.push(failure),
        }
    }
    (good, bad)
}

/// The pipelines of these files, if all are right; else what is wrong goes to stderr. Warnings do so too.
pub fn load(names: &[String], registry: &Registry, paint: Paint) -> Result<Vec<Pipeline>, Failure> {
    load_to_run(names, registry, paint, &|_, _| false)
}

/// The same to run those stages of them that `runs` says, by the names of pipeline and stage.
pub fn load_to_run(
    names: &[String],
    registry: &Registry,
    paint: Paint,
    runs: &dyn Fn(&str, &str) -> bool,
) -> Result<Vec<Pipeline>, Failure> {
    let (paths, mut unread) = apart(names.iter().map(|n| find(n, Path::new(""))));
    let (checked, more) = check_to_run(&paths, registry, runs);
    unread.extend(more);
    let said: String = checked.iter().map(|file| file.render(paint)).collect();
    // A closed stderr is no reason not to run.
    let _ = io::Write::write_all(&mut io::stderr().lock(), said.as_bytes());
    if let Some(failure) = Failure::all(unread) {
        return Err(failure);
    }
    let errors: usize = checked.iter().map(|c| c.count(Severity::Error)).sum();
    let pipelines: Vec<Pipeline> = checked.into_iter().filter_map(|c| c.verdict.ok()).map(|(p, _)| p).collect();
    if pipelines.len() < paths.len() {
        let files = if paths.len() == 1 { "1 file".to_owned() } else { format!("{} files", paths.len()) };
        let errors = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
        return Err(Failure::wrong(format!("{errors} in {files}; nothing was started")));
    }
    Ok(pipelines)
}

fn read(path: &Path) -> Result<SourceFile, Failure> {
    match bounded(path, MAX_PIPELINE) {
        Ok(bytes) => Ok(SourceFile { path: path.to_owned(), bytes }),
        Err(e) => Err(Failure::wrong(format!("cannot read `{}`: {e}", path.display()))),
    }
}

/// The file of a PIPELINE argument: a path, or a name looked up in `folder`.
pub fn find(name: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    // A pipe or a device is read as well: `check <(make-pipeline)`.
    if std::fs::metadata(&path).is_ok_and(|there| !there.is_dir()) {
        return Ok(path);
    }
    let in_folder = path.join("pipeline.yaml");
    if in_folder.is_file() {
        return Ok(in_folder);
    }
    if name.contains(['/', '\\']) || name.ends_with(".yaml") || name.ends_with(".yml") {
        let what = if path.is_dir() { "is a folder without a pipeline.yaml" } else { "does not exist" };
        return Err(Failure::wrong(format!("`{name}` {what}")));
    }
    let usual = [format!("{name}.yaml"), format!("pipelines/{name}.yaml"), format!("pipelines/{name}/pipeline.yaml")];
    if let Some(found) = usual.iter().map(|p| folder.join(p)).find(|p| p.is_file()) {
        return Ok(found);
    }
    let known = known(folder);
    if let Some((_, path)) = known.iter().find(|(known, _)| known == name) {
        return Ok(path.clone());
    }
    let unknown = Failure::wrong(format!("there is no pipeline `{name}` here"));
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    Err(match millstream_spec::nearest(name, names.iter().copied()) {
        Some(near) => unknown.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => unknown.help("name its file"),
        None => unknown.help(format!("there are {}", names.join(", "))),
    })
}

/// Files of the pipelines in this folder, as `find` takes them.
pub fn here() -> Vec<String> {
    let mut paths: Vec<String> = known(Path::new("")).into_iter().map(|(_, p)| p.display().to_string()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Names and files of the pipelines in a folder: those in it, in `pipelines/`, and one level below that.
fn known(folder: &Path) -> Vec<(String, PathBuf)> {
    let pipelines = folder.join("pipelines");
    let mut folders = vec![folder.to_owned(), pipelines.clone()];
    folders.extend(entries(&pipelines).into_iter().filter(|p| p.is_dir()));
    let mut found = Vec::new();
    for path in folders.iter().flat_map(|f| entries(f)).filter(|p| is_pipeline_file(p)) {
        let text = bounded(&path, MAX_PIPELINE).unwrap_or_default();
        let name = String::from_utf8_lossy(&text).lines().find_map(|line| {
            let name = line.strip_prefix("pipeline:")?.split(" #").next()?;
            Some(name.trim().trim_matches(['"', '\'']).to_owned())
        });
        found.extend(name.map(|name| (name, path)));
    }
    found
}

/// The paths of `check`: folders stand for every pipeline file in and below them.
/// What is wrong with one is no reason to leave out the others.
pub fn expand(names: &[String]) -> (Vec<PathBuf>, Vec<Failure>) {
    let (mut paths, mut unread) = (Vec::new(), Vec::new());
    for name in names {
        let path = Path::new(name);
        if !path.is_dir() {
            match find(name, Path::new("")) {
                Ok(path) => paths.push(path),
                Err(failure) => unread.push(failure),
            }
            continue;
        }
        let before = paths.len();
        collect(path, &mut paths);
        if paths.len() == before {
            unread.push(Failure::wrong(format!("there is no *.yaml in `{name}`")));
        }
    }
    let mut seen = std::collections::HashSet::new();
    paths.retain(|p| seen.insert(p.clone()));
    (paths, unread)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        // A link to a folder above would never end.
        if path.is_dir() && !hidden && !path.is_symlink() {
            collect(&path, paths);
        } else if is_pipeline_file(&path) && !hidden {
            paths.push(path);
        }
    }
}

fn is_pipeline_file(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml")
        && path.is_file()
        && path.file_name().is_some_and(|n| n != settings::FILE)
}

/// What is in a folder, sorted; nothing where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let strip = |path: PathBuf| path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(strip(e.ok()?.path()))).collect();
    all.sort();
    all
}

/// Hashes of files by their paths.
type Noted = Arc<Mutex<BTreeMap<PathBuf, u128>>>;

fn hash(noted: &Noted) -> u128 {
    let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<u8> = noted.values().flat_map(|hash| hash.to_le_bytes()).collect();
    hash128(&[&all])
}

/// Files relative to a pipeline's folder.
pub struct Beside {
    folder: PathBuf,
    /// What was read.
    noted: Noted,
}

impl Beside {
    /// In a folder; nobody asks what was read.
    pub fn of(folder: PathBuf) -> Self {
        Self { folder, noted: Noted::default() }
    }
}

impl Files for Beside {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = bounded(&self.folder.join(path), MAX_FILE)?;
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hash128(&[&bytes]));
        Ok(bytes)
    }

    fn look(&self, path: &Path) -> Found {
        match std::fs::metadata(self.folder.join(path)) {
            Ok(there) if there.is_dir() => Found::Folder,
            Ok(_) => Found::File,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(_) => Found::Unknown,
        }
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

fn bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    // Read with a bound instead of asking for the length: a device or a pipe has none.
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("it is larger than {} MiB", max >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("orders.yaml", "pipeline: orders\n"),
            ("other.yaml", "# hi\npipeline: 'clicks' # theirs\n"),
            ("pipelines/retail/pipeline.yaml", "pipeline: retail-orders\n"),
            ("millstream.yaml", "pipeline: no\n"),
            ("pipelines/.hidden/x.yaml", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_pipeline_is_found_by_file_folder_and_name() {
        let folder = folder();
        let found = |name: &str| {
            find(name, folder.path()).map(|p| p.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned())
        };
        let all = [
            ("orders.yaml", "orders.yaml"),
            ("orders", "orders.yaml"),
            ("clicks", "other.yaml"),
            ("retail", "pipelines/retail/pipeline.yaml"),
            ("retail-orders", "pipelines/retail/pipeline.yaml"),
            ("pipelines/retail", "pipelines/retail/pipeline.yaml"),
        ];
        for (name, path) in all {
            assert_eq!(found(name).ok().as_deref(), Some(path), "{name}");
        }
        let said = |name: &str| match found(name) {
            Err(e) => e.message().map(|m| format!("{} {:?}", m.what, m.help)).unwrap_or_default(),
            Ok(path) => path,
        };
        assert!(said("ordesr").contains("did you mean `orders`?"), "{}", said("ordesr"));
        assert!(said("none.yaml").contains("`none.yaml` does not exist"));
        assert!(said("pipelines").contains("no pipeline `pipelines`"), "{}", said("pipelines"));
    }

    #[test]
    fn a_folder_stands_for_the_files_below_it() {
        let folder = folder();
        let paths = expand(&[folder.path().to_string_lossy().into_owned()]).0;
        let names: Vec<_> =
            paths.iter().map(|p| p.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["orders.yaml", "other.yaml", "pipelines/retail/pipeline.yaml"]);
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let beside = Beside::of(PathBuf::new());
        assert!(beside.read(Path::new("/")).is_err());
        assert!(bounded(Path::new("/dev/zero"), 1000).is_err_and(|e| e.to_string().contains("larger")));
    }
}
