//! Signatures of webhooks: HMAC-SHA256 over the body in one header, or as Standard Webhooks has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::{HeaderMap, StatusCode};
use millstream_spec::model::{Encoding, HttpAuth};
use sha2::Sha256;

use crate::auth::{same, unauthorized};
use crate::problem::Problem;

/// How far the sender's clock may be off, in seconds.
const TOLERANCE: i64 = 300;
/// Signatures in one header at most: one per secret while a secret is changed.
const MAX_SIGNATURES: usize = 10;

/// Whether a request's body is signed as the source wants it. `now` is in seconds since 1970.
pub(crate) fn check(auth: &HttpAuth, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), Problem> {
    match auth {
        HttpAuth::None | HttpAuth::Bearer(_) | HttpAuth::Basic { .. } => Ok(()),
        HttpAuth::Hmac { secret, header, encoding, prefix } => {
            let given = one(headers, header)?;
            let given = given.strip_prefix(prefix.as_str()).ok_or_else(|| wrong(header))?;
            let decoded = match encoding {
                Encoding::Hex => unhex(given),
                Encoding::Base64 => STANDARD.decode(given).ok(),
            };
            let signed = sign(secret.reveal().as_bytes(), &[body]);
            if decoded.is_some_and(|given| same(&given, &signed)) { Ok(()) } else { Err(wrong(header)) }
        }
        HttpAuth::Webhook(secret) => {
            let (id, at) = (one(headers, "webhook-id")?, one(headers, "webhook-timestamp")?);
            let signatures = one(headers, "webhook-signature")?;
            let sent: i64 = at.parse().map_err(|_| wrong("webhook-timestamp"))?;
            if now.saturating_sub(sent).saturating_abs() > TOLERANCE {
                let detail = format!("`webhook-timestamp` is more than {TOLERANCE} s away from this machine's clock");
                return Err(unauthorized(&detail, SIGNATURE).field("webhook-timestamp"));
            }
            let signed = sign(&key(secret.reveal()), &[id.as_bytes(), b".", at.as_bytes(), b".", body]);
            let versions = signatures.split(' ').take(MAX_SIGNATURES).filter_map(|one| one.strip_prefix("v1,"));
            let mut good =
                versions.filter_map(|given| STANDARD.decode(given).ok()).filter(|given| same(given, &signed));
            good.next().map(drop).ok_or_else(|| wrong("webhook-signature"))
        }
    }
}

const SIGNATURE: &str = "Signature realm=\"millstream\"";

/// `whsec_` and base64; another text is the key itself.
fn key(secret: &str) -> Vec<u8> {
    let decoded = secret.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    decoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

fn sign(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Problem> {
    let mut all = headers.get_all(name).iter();
    let missing =
        || unauthorized(&format!("this path wants the header `{name}`, with a signature"), SIGNATURE).field(name);
    let first = all.next().ok_or_else(missing)?;
    if all.next().is_some() {
        let detail = format!("the header `{name}` is there twice");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request_header", detail).field(name));
    }
    first.to_str().map(str::trim).map_err(|_| wrong(name))
}

fn wrong(name: &str) -> Problem {
    unauthorized(&format!("`{name}` is not the signature of this body"), SIGNATURE).field(name)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4) | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use millstream_spec::model::Secret;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let pair = |(n, v): &(&str, &str)| Some((HeaderName::try_from(*n).ok()?, HeaderValue::from_str(v).ok()?));
        all.iter().filter_map(pair).collect()
    }

    /// The well-known example of HMAC-SHA256: RFC 4231, test case 2.
    #[test]
    fn a_body_is_signed_in_one_header() {
        let auth = |encoding, prefix: &str| HttpAuth::Hmac {
            secret: Secret::new("Jefe".to_owned()),
            header: "x-signature".to_owned(),
            encoding,
            prefix: prefix.to_owned(),
        };
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        let check =
            |auth: &HttpAuth, value: &str, body: &[u8]| check(auth, &headers(&[("x-signature", value)]), body, 0);
        assert!(check(&auth(Encoding::Hex, ""), hex, body).is_ok());
        assert!(check(&auth(Encoding::Hex, "sha256="), &format!("sha256={hex}"), body).is_ok());
        let base64 = STANDARD.encode(unhex(hex).expect("hex"));
        assert!(check(&auth(Encoding::Base64, ""), &base64, body).is_ok());
        for (value, body) in [(hex, &b"what do ya want for nothing!"[..]), (&hex[..62], body), ("", body), ("zz", body)]
        {
            assert_eq!(check(&auth(Encoding::Hex, ""), value, body).expect_err("wrong").status(), 401);
        }
        assert!(check(&auth(Encoding::Hex, "sha256="), hex, body).is_err(), "without its prefix");
    }

    #[test]
    fn a_standard_webhook_is_signed_with_its_id_and_time() {
        let auth = HttpAuth::Webhook(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()));
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(key.len(), 24);
        let signed = STANDARD.encode(sign(&key, &[b"msg_1.1614265330.{}"]));
        // The same example holds who signs: `filters/io/src/webhook/sign.rs`.
        assert_eq!(signed, "ZztYR0IIDCBCUcYzh8ZE+qsQWpIgtHU7R1hpe8htaD4=");
        let with = |signature: &str, at: &str| {
            let all = [("webhook-id", "msg_1"), ("webhook-timestamp", at), ("webhook-signature", signature)];
            check(&auth, &headers(&all), b"{}", 1_614_265_330 + 299).map_err(|p| p.status())
        };
        assert_eq!(with(&format!("v1,{signed}"), "1614265330"), Ok(()));
        assert_eq!(with(&format!("v1a,xx v1,bm8= v1,{signed}"), "1614265330"), Ok(()), "one of several");
        assert_eq!(with(&format!("v1,{signed}"), "1614265331"), Err(401));
        assert_eq!(with(&format!("v1,{signed}"), "1614265000"), Err(401), "too old");
        assert_eq!(with(&signed, "1614265330"), Err(401), "no version");
        assert_eq!(with(&format!("v1,{signed}"), "-9223372036854775808"), Err(401));
        assert_eq!(check(&auth, &HeaderMap::new(), b"{}", 0).map_err(|p| p.status()), Err(401));
    }
}
