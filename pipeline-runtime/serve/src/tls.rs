//! TLS of what is served: a certificate and its key from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::ServeError;

/// Where certificate and key are, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its root after it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a connection needs.
pub(crate) fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, ServeError> {
    let wrong = |path: &Path, why: String| ServeError::Tls(format!("`{}`: {why}", path.display()));
    let certs = CertificateDer::pem_file_iter(&files.cert).map_err(|e| wrong(&files.cert, e.to_string()))?;
    let certs: Vec<CertificateDer<'static>> =
        certs.collect::<Result<_, _>>().map_err(|e| wrong(&files.cert, e.to_string()))?;
    if certs.is_empty() {
        return Err(wrong(&files.cert, "there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&files.cert, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certs, key);
    let mut config =
        config.map_err(|e| wrong(&files.key, format!("not the key of `{}`: {e}", files.cert.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
