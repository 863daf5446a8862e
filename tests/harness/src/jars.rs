//! Kafka's jars in a cache folder, and the Java command line that runs them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{HarnessError, HarnessResult};

/// The Kafka that is started.
pub const KAFKA_VERSION: &str = "4.3.0";

/// A folder with all jars; resolves them with Maven the first time. Several processes may ask at once.
pub(crate) fn folder() -> HarnessResult<PathBuf> {
    let folder = std::env::var_os("MILLSTREAM_TEST_KAFKA_DIR").map_or_else(default_folder, PathBuf::from);
    fs::create_dir_all(&folder).map_err(|e| HarnessError::failed(&format!("cannot make {}", folder.display()), e))?;
    let lock = File::create(folder.join("lock")).map_err(|e| HarnessError::failed("cannot lock the jar folder", e))?;
    lock.lock().map_err(|e| HarnessError::failed("cannot lock the jar folder", e))?;
    let complete = folder.join(format!("complete-{KAFKA_VERSION}"));
    if !complete.exists() {
        resolve(&folder)?;
        File::create(&complete).map_err(|e| HarnessError::failed("cannot mark the jar folder", e))?;
    }
    Ok(folder)
}

/// `java` with small memory and a fast start, or as it is by itself, up to the class path.
pub(crate) fn java(jars: &Path, heap_mib: u32, optimised: bool) -> Vec<String> {
    let mut command = vec!["java".into(), format!("-Xmx{heap_mib}m"), "-Xshare:auto".into()];
    if !optimised {
        command.extend(["-XX:+UseSerialGC".into(), "-XX:TieredStopAtLevel=1".into()]);
    }
    command.extend(["-cp".into(), format!("{}/*", jars.display())]);
    command
}

/// Whether `java` is there and new enough.
pub(crate) fn check_java() -> HarnessResult<()> {
    let output = Command::new("java").arg("-version").output();
    let text = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stderr).into_owned(),
        _ => return Err(HarnessError::Unavailable("there is no `java` on the PATH (17 or newer is needed)".into())),
    };
    // The first line is `openjdk version "17.0.15" …`.
    let major: Option<u32> = text.split('"').nth(1).and_then(|v| v.split('.').next()?.parse().ok());
    match major {
        Some(17..) => Ok(()),
        _ => Err(HarnessError::Unavailable(format!(
            "Java 17 or newer is needed, this is: {}",
            text.lines().next().unwrap_or("")
        ))),
    }
}

fn default_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("kafka-jars")
}

fn resolve(folder: &Path) -> HarnessResult<()> {
    let dependency = |artifact: &str| {
        format!(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId><version>{KAFKA_VERSION}</version></dependency>"
        )
    };
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>millstream</groupId><artifactId>test-kafka</artifactId><version>1</version>\
         <dependencies>{}{}</dependencies></project>\n",
        dependency("kafka_2.13"),
        dependency("kafka-tools")
    );
    let path = folder.join("pom.xml");
    fs::write(&path, pom).map_err(|e| HarnessError::failed("cannot write the pom", e))?;
    eprintln!("millstream-test-kafka: resolving Kafka {KAFKA_VERSION} with Maven into {} (once)", folder.display());
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&path)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .output()
        .map_err(|_| {
            HarnessError::Unavailable("there is no `mvn` (Maven) on the PATH to resolve Kafka's jars with".into())
        })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Err(HarnessError::Failed(format!("Maven could not resolve Kafka {KAFKA_VERSION}:\n{text}")))
}
