//! Where a registry of schemas is, and who asks it.

use std::fmt;

use bytes::Bytes;

/// As a pipeline or the settings name it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RegistryAddress {
    /// `http://` or `https://`, with the path that comes before that of the API; without a user.
    pub url: String,
    /// Who asks.
    pub auth: RegistryAuth,
    /// Certificates that the server's is checked by, PEM; `None` are the machine's.
    pub ca: Option<Bytes>,
}

/// Who asks a registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RegistryAuth {
    /// Nobody.
    None,
    /// `authorization: Basic …`
    Basic {
        /// The name.
        user: String,
        /// Never printed.
        password: String,
    },
    /// `authorization: Bearer TOKEN`
    Bearer(String),
}

impl fmt::Debug for RegistryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAddress").field("url", &self.url).finish_non_exhaustive()
    }
}
