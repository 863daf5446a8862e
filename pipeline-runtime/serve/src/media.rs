//! What a request says that its body is.

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{HeaderMap, StatusCode};
use millstream_spec::model::Format;

use crate::problem::Problem;

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// It is the payload.
    Plain,
    /// It is the payload of an event whose attributes are headers.
    Binary,
    /// It is an event.
    Structured,
    /// It is a list of events.
    Batch,
}

/// By the headers of a request to a source of this format.
pub(crate) fn of(format: &Format, headers: &HeaderMap) -> Result<Media, Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let shown = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        return Err(unsupported(
            format!("a body with `content-encoding: {shown}` is not read; send it as it is"),
            "content-encoding",
        ));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let said = types.next();
    if types.next().is_some() {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_request_header",
            "the header `content-type` is there twice",
        )
        .field("content-type"));
    }
    let text = match said.map(|s| s.to_str()) {
        None => None,
        Some(Ok(text)) => Some(text.to_ascii_lowercase()),
        Some(Err(_)) => return Err(unsupported("`content-type` is not readable".to_owned(), "content-type")),
    };
    let (essence, parameters) = match text.as_deref() {
        None => (None, ""),
        Some(text) => {
            let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
            (Some(essence.trim()), parameters)
        }
    };
    let charset = parameters.split(';').filter_map(|p| p.trim().strip_prefix("charset=")).next();
    let is_binary = headers.keys().any(|name| name.as_str().starts_with("ce-"));
    match essence {
        Some("application/cloudevents+json") => return Ok(Media::Structured),
        Some("application/cloudevents-batch+json") => return Ok(Media::Batch),
        Some(other) if other.starts_with("application/cloudevents") => {
            return Err(unsupported(format!("events come as JSON, not as `{other}`"), "content-type"));
        }
        _ => {}
    }
    let readable = charset.is_none_or(|c| matches!(c.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"));
    let fits = match (format, essence) {
        // Avro, Protobuf, MessagePack and CBOR are refused beside `http` when the pipeline is checked.
        (Format::Raw | Format::Avro(_) | Format::Registered(_) | Format::Protobuf(_) | Format::Packed(_), _) => true,
        (_, None) => true,
        (Format::Text, Some(essence)) => essence.starts_with("text/") && readable,
        (Format::Json | Format::Csv { .. }, Some(essence)) => {
            (essence == "application/json" || essence == "text/json" || essence.ends_with("+json")) && readable
        }
    };
    match (fits, format, is_binary) {
        (true, _, true) => Ok(Media::Binary),
        (true, _, false) => Ok(Media::Plain),
        (false, Format::Text, _) => Err(unsupported(
            format!("this path takes UTF-8 text: send `content-type: text/plain`, not `{}`", shown(essence, charset)),
            "content-type",
        )),
        (false, ..) => Err(unsupported(
            format!("this path takes JSON: send `content-type: application/json`, not `{}`", shown(essence, charset)),
            "content-type",
        )),
    }
}

fn shown(essence: Option<&str>, charset: Option<&str>) -> String {
    let charset = charset.map_or_else(String::new, |c| format!("; charset={c}"));
    format!("{}{charset}", essence.unwrap_or_default())
}

fn unsupported(detail: String, field: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn media(format: &Format, all: &[(&'static str, &'static str)]) -> Result<Media, u16> {
        let pairs = all.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        of(format, &pairs.collect()).map_err(|p| p.status())
    }

    #[test]
    fn a_content_type_fits_or_not() {
        let of = |format, value| media(format, &[("content-type", value)]);
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.shop.order+json", "text/json"]
        {
            assert_eq!(of(&Format::Json, good), Ok(Media::Plain), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin1"] {
            assert_eq!(of(&Format::Json, bad), Err(415), "{bad}");
        }
        assert_eq!(of(&Format::Text, "text/csv"), Ok(Media::Plain));
        assert_eq!(of(&Format::Text, "application/json"), Err(415));
        assert_eq!(of(&Format::Raw, "image/png"), Ok(Media::Plain));
        assert_eq!(media(&Format::Json, &[]), Ok(Media::Plain));
        assert_eq!(media(&Format::Json, &[("content-encoding", "gzip")]), Err(415));
        assert_eq!(media(&Format::Json, &[("content-type", "text/json"), ("content-type", "text/json")]), Err(400));
    }

    #[test]
    fn events_are_told_by_their_headers() {
        let of = |value| media(&Format::Json, &[("content-type", value)]);
        assert_eq!(of("application/cloudevents+json; charset=utf-8"), Ok(Media::Structured));
        assert_eq!(of("application/cloudevents-batch+json"), Ok(Media::Batch));
        assert_eq!(of("application/cloudevents+avro"), Err(415));
        assert_eq!(media(&Format::Json, &[("ce-id", "1")]), Ok(Media::Binary));
    }
}
