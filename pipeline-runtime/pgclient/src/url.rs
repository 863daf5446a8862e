//! The URL of a database: what the client is told, and how far its TLS is trusted.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode};

use crate::trouble::Trouble;

/// How far the other side is trusted, by the words of `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whoever answers: `disable`, `prefer`, `require`.
    Anybody,
    /// Whoever has a certificate of a known authority: `verify-ca`.
    Authority,
    /// The same, and it is for this host: `verify-full`.
    Host,
}

/// A database, and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host, user, database and what else the client is told.
    pub config: Config,
    /// How far a certificate is looked at.
    pub trust: Trust,
    /// Certificates of authorities, in PEM; `None` is the machine's.
    pub roots: Option<PathBuf>,
}

impl Target {
    /// Reads a URL as `psql` does. What it says of certificates is ours; all else is the client's.
    ///
    /// # Errors
    /// `postgres_url`, without the URL: there is a password in it.
    pub fn parse(url: &str) -> Result<Self, Trouble> {
        parse(url)
    }
}

fn parse(url: &str) -> Result<Target, Trouble> {
    let wrong = |what: String| Trouble::new("postgres_url", what);
    let (before, parameters) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut others) = (None, None, Vec::new());
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let decoded = || percent_decode_str(value).decode_utf8().map(|text| text.into_owned());
        match name {
            "sslmode" => mode = Some(value.to_owned()),
            "sslrootcert" if value == "system" => {
                mode.get_or_insert_with(|| "verify-full".to_owned());
            }
            "sslrootcert" => {
                roots = Some(PathBuf::from(decoded().map_err(|_| wrong("`sslrootcert` is not UTF-8".into()))?));
            }
            "sslcert" | "sslkey" | "sslpassword" | "sslcrl" => {
                return Err(wrong(format!("`{name}` of the URL is not supported yet")));
            }
            _ => others.push(parameter),
        }
    }
    let (ssl, trust) = match mode.as_deref() {
        Some("disable") => (SslMode::Disable, Trust::Anybody),
        None | Some("prefer" | "allow") => (SslMode::Prefer, Trust::Anybody),
        // As libpq does: who names authorities wants them to count.
        Some("require") if roots.is_some() => (SslMode::Require, Trust::Authority),
        Some("require") => (SslMode::Require, Trust::Anybody),
        Some("verify-ca") => (SslMode::Require, Trust::Authority),
        Some("verify-full") => (SslMode::Require, Trust::Host),
        Some(_) => {
            let words = "`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`";
            return Err(wrong(format!("`sslmode` of the URL is none of {words}")));
        }
    };
    let rest = if others.is_empty() { before.to_owned() } else { format!("{before}?{}", others.join("&")) };
    let mut config: Config =
        rest.parse().map_err(|e: tokio_postgres::Error| wrong(format!("the URL cannot be read: {}", reason(&e))))?;
    if config.get_hosts().is_empty() {
        return Err(wrong("the URL names no host".into()));
    }
    if config.get_application_name().is_none() {
        config.application_name("millstream");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    config.ssl_mode(ssl).channel_binding(ChannelBinding::Disable).tcp_user_timeout(Duration::from_secs(20));
    Ok(Target { config, trust, roots })
}

/// What the client found wrong: names of options, never their values.
fn reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_psql() {
        let of = |text: &str| {
            let target = parse(&format!("postgres://u:p@h:1/d{text}")).expect(text);
            (target.config.get_ssl_mode(), target.trust, target.roots.is_some())
        };
        assert_eq!(of(""), (SslMode::Prefer, Trust::Anybody, false));
        assert_eq!(of("?sslmode=disable"), (SslMode::Disable, Trust::Anybody, false));
        assert_eq!(of("?sslmode=require"), (SslMode::Require, Trust::Anybody, false));
        assert_eq!(of("?sslmode=require&sslrootcert=a.pem"), (SslMode::Require, Trust::Authority, true));
        assert_eq!(of("?sslmode=verify-ca"), (SslMode::Require, Trust::Authority, false));
        assert_eq!(of("?connect_timeout=3&sslmode=verify-full"), (SslMode::Require, Trust::Host, false));
        assert_eq!(of("?sslrootcert=system"), (SslMode::Require, Trust::Host, false));
        let spaced = parse("postgresql://h/d?sslrootcert=%2Fa%20b.pem&sslmode=verify-full").expect("a path");
        assert_eq!(spaced.roots, Some(PathBuf::from("/a b.pem")));
    }

    #[test]
    fn a_secret_is_in_no_message() {
        for bad in [
            "postgres://u:geheim@h/d?sslmode=geheim",
            "postgres://u:geheim@h/d?geheim=1",
            "postgres://u:geheim@h:geheim/d",
            "postgres://u:geheim@/d",
            "postgres://u:geheim@h/d?sslkey=geheim",
        ] {
            match parse(bad) {
                Ok(_) => assert!(bad.ends_with("@/d"), "{bad} is taken"),
                Err(trouble) => {
                    assert_eq!(trouble.code, "postgres_url");
                    assert!(!trouble.message.replace("option `geheim`", "").contains("geheim"), "{trouble:?}");
                }
            }
        }
    }
}
