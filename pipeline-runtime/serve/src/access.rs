//! Who may use the API: on the loopback interface whoever is there, elsewhere who has the token.

use std::net::SocketAddr;

use hyper::{HeaderMap, StatusCode};
use millstream_spec::model::{HttpAuth, Secret};

use crate::auth;
use crate::problem::Problem;

/// What is asked of who asks.
pub(crate) enum Access {
    /// Nothing.
    Open,
    /// `authorization: Bearer TOKEN`.
    Token(HttpAuth),
    /// Nobody has said a token, and others than this machine can reach it.
    Closed,
}

impl Access {
    /// For a server at an address.
    pub(crate) fn at(address: SocketAddr, token: Option<Secret>) -> Self {
        match token {
            Some(token) => Self::Token(HttpAuth::Bearer(token)),
            None if address.ip().is_loopback() => Self::Open,
            None => Self::Closed,
        }
    }

    /// Whether a request may be answered.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Open => Ok(()),
            Self::Token(token) => auth::check(token, headers),
            Self::Closed => {
                let detail = "the API is closed where other machines reach it, until MILLSTREAM_TOKEN says a token";
                Err(Problem::new(StatusCode::FORBIDDEN, "no_token", detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_loopback_it_wants_a_token() {
        let (here, there) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
        let none = HeaderMap::new();
        assert!(Access::at(here, None).check(&none).is_ok());
        assert_eq!(Access::at(there, None).check(&none).unwrap_err().status(), 403);
        let mut given = HeaderMap::new();
        given.insert("authorization", "Bearer abc".parse().unwrap());
        for address in [here, there] {
            let access = Access::at(address, Some(Secret::new("abc".to_owned())));
            assert_eq!(access.check(&none).unwrap_err().status(), 401);
            assert!(access.check(&given).is_ok());
        }
    }
}
