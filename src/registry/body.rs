//! Reads answers within bounds of size and pace.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::bounds::{Bounds, MAX_REFUSAL};
use super::error::RegistryError;
use super::origin::Origin;
use super::pull::Progress;
use crate::outbound::innermost;

/// What is read, from whom, and how much of it there may be.
pub(super) struct Expected<'a> {
    pub(super) origin: &'a Origin,
    pub(super) what: &'a str,
    pub(super) most: usize,
}

impl Expected<'_> {
    fn too_large(&self, found: String) -> RegistryError {
        RegistryError::TooLarge { what: self.what.to_owned(), found, most: self.most as u64 }
    }

    fn slow(&self, message: String) -> RegistryError {
        let (origin, what) = (self.origin.clone(), self.what.to_owned());
        RegistryError::Slow { origin, what, message }
    }
}

/// Reads the whole body of an answer. A body that is too large is given up as soon as that is known.
pub(super) async fn read(
    mut response: Response,
    expected: &Expected<'_>,
    bounds: &Bounds,
    progress: Option<&Progress>,
) -> Result<Bytes, RegistryError> {
    if let Some(length) = response.content_length().filter(|length| *length > expected.most as u64)
    {
        return Err(expected.too_large(format!("{length} bytes")));
    }
    let begun = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let chunk = timeout(bounds.silence, response.chunk()).await;
        let chunk = chunk.map_err(|_| {
            expected.slow(format!("found nothing for {} s", bounds.silence.as_secs_f32()))
        })?;
        let chunk = chunk.map_err(|error| RegistryError::Unreachable {
            origin: expected.origin.clone(),
            message: format!("{} broke off: {}", expected.what, innermost(&error.without_url())),
        })?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        if body.len() + chunk.len() > expected.most {
            return Err(expected.too_large("more bytes".to_owned()));
        }
        body.extend_from_slice(&chunk);
        if let Some(progress) = progress {
            progress.add(chunk.len() as u64);
        }
        let (found, time) = (body.len(), begun.elapsed());
        if (found as u64) < fewest(time, bounds) {
            let (time, rate) = (time.as_secs_f32(), bounds.rate);
            return Err(expected.slow(format!(
                "found {found} bytes in {time:.1} s, expected at least {rate} a second"
            )));
        }
    }
}

/// Bytes that have to be there after this time.
fn fewest(time: Duration, bounds: &Bounds) -> u64 {
    let counted = time.saturating_sub(bounds.grace);
    u64::try_from(counted.as_millis()).unwrap_or(u64::MAX).saturating_mul(bounds.rate.into())
        / 1_000
}

/// The codes in a refusal, as `, MANIFEST_UNKNOWN`. Nothing else of it is shown: whoever makes a server ask must not
/// read the answer of another.
pub(super) async fn codes(mut response: Response, bounds: &Bounds) -> String {
    let mut body = Vec::new();
    let deadline = Instant::now() + bounds.silence;
    while body.len() < MAX_REFUSAL {
        match tokio::time::timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    codes_in(&body)
}

/// The most codes that are shown, and the longest code.
const MAX_CODES: usize = 3;
const MAX_CODE: usize = 40;

fn codes_in(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = value["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_code = |code: &&str| {
        code.len() <= MAX_CODE && code.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let codes = errors.iter().filter_map(|error| error["code"].as_str()).filter(is_code);
    codes.take(MAX_CODES).map(|code| format!(", {code}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_of_a_refusal_are_shown() {
        let body = br#"{"errors":[{"code":"DENIED","message":"secret"},{"code":"see root:x:0"},{"code":"X_Y"}]}"#;
        assert_eq!(codes_in(body), ", DENIED, X_Y");
        for other in [&b"root:x:0:0"[..], b"{}", b"{\"errors\":{}}", b"[1]", b""] {
            assert_eq!(codes_in(other), "");
        }
    }

    #[test]
    fn the_pace_counts_after_a_while() {
        let bounds = Bounds::default();
        assert_eq!(fewest(bounds.grace, &bounds), 0);
        assert_eq!(fewest(bounds.grace + Duration::from_secs(10), &bounds), 320 * 1024);
    }
}
