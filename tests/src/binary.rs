//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `millstream` of this workspace, built on the first call in the profile of the tests; or the one that
/// `MILLSTREAM_TEST_BINARY` names.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let named = || std::env::var_os("MILLSTREAM_TEST_BINARY").filter(|p| !p.is_empty()).map(PathBuf::from);
    BINARY.get_or_init(|| named().unwrap_or_else(|| build("millstream"))).clone()
}

/// Builds a binary of the workspace that has the name of its package; its path.
///
/// # Panics
/// When it cannot be built.
pub fn build(package: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", package]).current_dir(workspace());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let built = command.status().unwrap_or_else(|e| panic!("cannot run cargo: {e}"));
    assert!(built.success(), "`cargo build -p {package}` failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join(if cfg!(debug_assertions) { "debug" } else { "release" }).join(package)
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
