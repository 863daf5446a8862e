//! Who may send: a token, or a user with a password. Signatures need the body and are in `signature.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use millstream_spec::model::HttpAuth;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// Whether the headers of a request say that it may be sent, as far as headers can.
pub(crate) fn check(auth: &HttpAuth, headers: &HeaderMap) -> Result<(), Problem> {
    let given = || {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let first = all.next()?.to_str().ok()?;
        let (scheme, rest) = first.split_once(' ')?;
        // Two of them: whoever looked at the other one decided on something else.
        all.next().is_none().then(|| (scheme.to_ascii_lowercase(), rest.trim()))
    };
    match auth {
        HttpAuth::None | HttpAuth::Hmac { .. } | HttpAuth::Webhook(_) => Ok(()),
        HttpAuth::Bearer(token) => match given() {
            Some((scheme, rest)) if scheme == "bearer" && same(rest.as_bytes(), token.reveal().as_bytes()) => Ok(()),
            _ => Err(unauthorized("this path wants `authorization: Bearer TOKEN`", "Bearer realm=\"millstream\"")),
        },
        HttpAuth::Basic { user, password } => {
            let wanted = format!("{user}:{}", password.reveal());
            let decoded =
                given().filter(|(scheme, _)| scheme == "basic").and_then(|(_, rest)| STANDARD.decode(rest).ok());
            match decoded {
                Some(decoded) if same(&decoded, wanted.as_bytes()) => Ok(()),
                _ => Err(unauthorized(
                    "this path wants a user and a password (`authorization: Basic …`)",
                    "Basic realm=\"millstream\", charset=\"UTF-8\"",
                )),
            }
        }
    }
}

/// A request that nobody may send, and how it would be right.
pub(crate) fn unauthorized(detail: &str, wanted: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).header(WWW_AUTHENTICATE, wanted)
}

/// Compares in a time that tells nothing of either, not even a length.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one).as_slice().ct_eq(Sha256::digest(other).as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use millstream_spec::model::Secret;

    fn with(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|v| (AUTHORIZATION, HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_token_is_right_or_wrong() {
        let auth = HttpAuth::Bearer(Secret::new("s3cret".to_owned()));
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(check(&auth, &with(&[good])).is_ok(), "{good}");
        }
        for bad in ["Bearer s3cre", "Bearer s3crett", "Bearer", "Basic s3cret", "s3cret", "Bearer ", "Bearer S3cret"] {
            let problem = check(&auth, &with(&[bad])).expect_err(bad);
            assert_eq!(problem.status(), 401);
            assert!(!problem.said().1.contains("s3cret"));
        }
        assert!(check(&auth, &HeaderMap::new()).is_err());
        assert!(check(&auth, &with(&["Bearer s3cret", "Bearer s3cret"])).is_err(), "two");
        assert!(check(&HttpAuth::None, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_password_is_right_or_wrong() {
        let auth = HttpAuth::Basic { user: "shop".to_owned(), password: Secret::new("a:b".to_owned()) };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let check = |value: &str| {
            let value = HeaderValue::from_str(value).expect("a value");
            check(&auth, &[(AUTHORIZATION, value)].into_iter().collect()).is_ok()
        };
        assert!(check(&basic("shop:a:b")));
        for bad in ["shop:a", "shop:a:b ", ":a:b", "shop", ""] {
            assert!(!check(&basic(bad)), "{bad}");
        }
        assert!(!check("Basic not-base64!") && !check("Bearer c2hvcDphOmI="));
    }
}
