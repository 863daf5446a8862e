//! Which addresses may be called where a record names the address. Pure.
//!
//! A pattern is an address: scheme, host, port and the beginning of the path. Its host may be `*` or begin with `*.`; then any
//! such name is meant, and only while it resolves to public addresses, so that nobody has a server of this network called. A host
//! that is written out is a permission, whatever it resolves to.
//!
//! What is decided here holds for the address as it is written. What its name resolves to is looked at when it is called.

use std::net::IpAddr;

use hyper::Uri;

use crate::http::resolver::Reach;
use crate::public::is_public;

/// One entry of a list of what may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tls: bool,
    host: Host,
    port: u16,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case.
    Exact(String),
    /// What the name ends with, the dot included; nothing is any name.
    Below(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let (tls, rest) = scheme(text).ok_or("does not begin with `http://` or `https://`")?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("has a user name in it");
        }
        if path.contains(['*', '?', '#']) {
            return Err("has a path that is more than the beginning of one");
        }
        let (host, port) = host_and_port(authority, tls).ok_or("has no valid host and port")?;
        let host = match host.strip_prefix('*') {
            None if host.contains('*') => return Err("has a `*` that does not stand for the beginning of a name"),
            None => Host::Exact(host),
            Some(below) if below.contains('*') => return Err("has more than one `*`"),
            Some("") => Host::Below(String::new()),
            Some(below) if below.len() > 1 && below.starts_with('.') => Host::Below(below.to_owned()),
            Some(_) => return Err("has a `*` that stands for a part of a word; write `*.example.com`"),
        };
        if !tls && matches!(host, Host::Below(_)) {
            return Err("stands for many hosts without TLS; write `https://`, or the host in full");
        }
        Ok(Self { tls, host, port, path: path.to_owned() })
    }

    fn covers(&self, tls: bool, host: &str, port: u16, path: &str) -> bool {
        let named = match &self.host {
            Host::Exact(exact) => exact == host,
            Host::Below(below) => host.len() > below.len() && host.ends_with(below.as_str()),
        };
        named && (tls, port) == (self.tls, self.port) && path.starts_with(&self.path)
    }
}

/// The address that a text is, and what may be called there; or why nothing may.
pub(super) fn allowed(patterns: &[Pattern], url: &str) -> Result<(Uri, Reach), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is no address")?;
    let reach = reach(patterns, &uri)?;
    Ok((uri, reach))
}

/// What may be called at an address, or why nothing may.
fn reach(patterns: &[Pattern], uri: &Uri) -> Result<Reach, &'static str> {
    let text = uri.to_string();
    let (tls, _) = scheme(&text).ok_or("does not begin with `http://` or `https://`")?;
    let authority = uri.authority().ok_or("names no host")?.as_str();
    if authority.contains('@') {
        return Err("has a user name in it");
    }
    let (host, port) = host_and_port(authority, tls).ok_or("has no valid host and port")?;
    // What a server makes of `/a/../b` is its own decision, and not the pattern's.
    let path = uri.path();
    let dots = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    let hides = |path: &str| ["%2f", "%5c", "%25"].iter().any(|hidden| path.contains(hidden));
    if path.split(['/', '\\']).any(dots) || hides(&path.to_ascii_lowercase()) {
        return Err("has a path that leads elsewhere than it says");
    }
    let covering = || patterns.iter().filter(|pattern| pattern.covers(tls, &host, port, path));
    if covering().any(|pattern| matches!(pattern.host, Host::Exact(_))) {
        return Ok(Reach::Anything);
    }
    if covering().next().is_none() {
        return Err("is none of those that are allowed");
    }
    match address(&host) {
        Some(address) if !is_public(address) => Err("is an address of this network"),
        _ => Ok(Reach::Public),
    }
}

fn scheme(text: &str) -> Option<(bool, &str)> {
    let cut = |scheme: &str| {
        text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &text[scheme.len()..])
    };
    cut("https://").map(|rest| (true, rest)).or_else(|| cut("http://").map(|rest| (false, rest)))
}

/// The host in lower case, without the dot that a full name may end with.
fn host_and_port(authority: &str, tls: bool) -> Option<(String, u16)> {
    let after = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after..].find(':') {
        Some(at) => (&authority[..after + at], authority[after + at + 1..].parse().ok().filter(|port| *port > 0)?),
        None => (authority, if tls { 443 } else { 80 }),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._*:[]".contains(c);
    (!host.is_empty() && host.chars().all(legal)).then_some((host, port))
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(patterns: &[&str], url: &str) -> Result<Reach, &'static str> {
        let patterns: Vec<Pattern> = patterns.iter().map(|p| Pattern::read(p).expect("a pattern")).collect();
        allowed(&patterns, url).map(|(_, reach)| reach)
    }

    #[test]
    fn patterns_cover_hosts_ports_and_beginnings_of_paths() {
        let patterns =
            ["https://*.example.com/", "https://hooks.test/in/", "http://127.0.0.1:8080", "http://[::1]:81/"];
        for (uri, reach) in [
            ("https://a.example.com/x?y=1", Reach::Public),
            ("https://a.b.example.com", Reach::Public),
            ("HTTPS://A.Example.COM./x", Reach::Public),
            ("https://a.example.com:443/", Reach::Public),
            ("https://hooks.test/in/7", Reach::Anything),
            ("http://127.0.0.1:8080/any", Reach::Anything),
            ("http://[::1]:81/", Reach::Anything),
        ] {
            assert_eq!(all(&patterns, uri), Ok(reach), "{uri}");
        }
        for uri in [
            "http://a.example.com/",
            "https://example.com/",
            "https://badexample.com/",
            "https://a.example.com:8443/",
            "https://a.example.com.evil.test/",
            "https://hooks.test/out",
            "https://hooks.test/in",
            "https://hooks.test/in/../out",
            "https://hooks.test/in/%2e%2E/out",
            "https://hooks.test/in/..%2fout",
            "https://hooks.test/in/..%5cout",
            "https://hooks.test/in/%252e%252e/out",
            "https://user@a.example.com/",
            "https://hooks.test@evil.test/in/",
            "http://127.0.0.1/",
            "http://localhost:8080/",
            "/in/7",
        ] {
            assert!(all(&patterns, uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_wildcard_is_no_permission_for_this_network() {
        for uri in ["https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/", "https://[::ffff:169.254.169.254]/"] {
            assert_eq!(all(&["https://*/"], uri), Err("is an address of this network"), "{uri}");
        }
        assert_eq!(all(&["https://*/"], "https://9.9.9.9/"), Ok(Reach::Public));
        assert_eq!(all(&["https://*/", "https://10.1.2.3/"], "https://10.1.2.3/"), Ok(Reach::Anything));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for bad in [
            "a.example.com",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://a*.example.com/",
            "https://*example.com/",
            "https://*.*.com/",
            "http://*.example.com/",
            "http://*/",
            "https://a/*",
            "https://u@a/",
            "https://a:0/",
            "https://a:99999/",
        ] {
            assert!(Pattern::read(bad).is_err(), "{bad}");
        }
    }
}
