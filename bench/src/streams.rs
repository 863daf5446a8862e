//! Kafka Streams, measured by the same means: our program in `bench/streams`, its jars from Maven, compiled on the first use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_test_kafka::KAFKA_VERSION;

use crate::process::{target, workspace};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Bytes as they are.
    Pass,
    /// JSON parsed, filtered, a field added.
    Map,
    /// Repeats of the id header dropped, with a RocksDB store and its changelog.
    Dedup,
}

impl Topology {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Map => "map",
            Self::Dedup => "dedup",
        }
    }

    /// The command that runs it.
    pub(crate) fn command(self, classes: &Path, arguments: [&str; 4], states: &Path) -> Command {
        let mut command = Command::new("java");
        // A heap that is enough, instead of a quarter of the machine.
        command.args(["-Xmx1g", "-cp", &format!("{0}:{0}/jars/*", classes.display()), "BenchStreams"]);
        command.args(arguments).arg(self.word()).arg(states);
        command
    }
}

/// The folder of the compiled program, with its jars in `jars`.
pub(crate) fn prepare() -> Result<PathBuf, String> {
    let folder = target().join("kafka-streams");
    let jars = folder.join("jars");
    fs::create_dir_all(&jars).map_err(|e| format!("cannot make {}: {e}", jars.display()))?;
    let complete = folder.join(format!("complete-{KAFKA_VERSION}"));
    if !complete.exists() {
        let pom = folder.join("pom.xml");
        fs::write(&pom, project()).map_err(|e| format!("cannot write {}: {e}", pom.display()))?;
        eprintln!("resolving Kafka Streams {KAFKA_VERSION} with Maven into {} (once)", jars.display());
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
        succeed(maven.arg(format!("-DoutputDirectory={}", jars.display())))?;
        fs::write(&complete, "").map_err(|e| format!("cannot write {}: {e}", complete.display()))?;
    }
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", &format!("{}/*", jars.display()), "-d"]).arg(&folder);
    succeed(compiler.arg(workspace().join("bench/streams/BenchStreams.java")))?;
    Ok(folder)
}

fn project() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>millstream</groupId><artifactId>bench-streams</artifactId><version>1</version>\
         <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId>\
         <version>{KAFKA_VERSION}</version></dependency></dependencies></project>\n"
    )
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|e| format!("Kafka Streams needs `{name}` of Java 17: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("`{name}` failed:\n{}", String::from_utf8_lossy(&said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_path_has_the_program_and_its_jars() {
        let command = Topology::Map.command(Path::new("/x"), ["b", "app", "in", "out"], Path::new("/states"));
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        assert_eq!(arguments[1..], ["-cp", "/x:/x/jars/*", "BenchStreams", "b", "app", "in", "out", "map", "/states"]);
    }
}
