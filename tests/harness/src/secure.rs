//! TLS and SASL of a test cluster: a key store made with `keytool`, a user for PLAIN and SCRAM, and a guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{HarnessError, HarnessResult};

/// The user of secure listeners.
pub const USER: &str = "millstream";
/// Its password.
pub const PASSWORD: &str = "mill-secret";
/// Another user, of PLAIN alone, who has no rights where an authorizer asks for some.
pub const GUEST: &str = "guest";
/// Its password.
pub const GUEST_PASSWORD: &str = "guest-secret";
/// Of the key store.
pub(crate) const STORE_PASSWORD: &str = "store-secret";

/// Addresses of the secure listeners of a cluster started with [`crate::Options::secure`].
#[derive(Clone, Debug)]
pub struct Secure {
    /// `SASL_PLAINTEXT`: `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512` for [`USER`].
    pub sasl: String,
    /// `SSL`, no client certificate asked.
    pub tls: String,
    /// `SASL_SSL`.
    pub sasl_tls: String,
    /// The certificate to trust, PEM.
    pub ca: PathBuf,
}

/// Makes `store.p12` and `ca.pem` in the folder.
pub(crate) fn make_store(folder: &Path) -> HarnessResult<()> {
    let store = folder.join("store.p12");
    keytool(&[
        "-genkeypair",
        "-alias",
        "broker",
        "-keyalg",
        "EC",
        "-validity",
        "3650",
        "-storetype",
        "PKCS12",
        "-dname",
        "CN=localhost",
        "-ext",
        "SAN=dns:localhost,ip:127.0.0.1",
        "-storepass",
        STORE_PASSWORD,
        "-keystore",
        &store.display().to_string(),
    ])?;
    keytool(&[
        "-exportcert",
        "-rfc",
        "-alias",
        "broker",
        "-storepass",
        STORE_PASSWORD,
        "-keystore",
        &store.display().to_string(),
        "-file",
        &folder.join("ca.pem").display().to_string(),
    ])
}

fn keytool(arguments: &[&str]) -> HarnessResult<()> {
    let output = Command::new("keytool")
        .args(arguments)
        .output()
        .map_err(|_| HarnessError::Unavailable("there is no `keytool` on the PATH (it comes with Java)".into()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(HarnessError::Failed(format!("keytool failed: {}", String::from_utf8_lossy(&output.stdout))))
}
