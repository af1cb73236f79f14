//! How long to wait for a registry that is busy: as long as it says, within bounds.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::bounds::Bounds;

/// Whether a status says that the same request may be answered later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    is_failure(status) || matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Whether a registry failed without a word on when to come again. Those that keep files fail so for a moment when somebody
/// else writes what is read.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status == StatusCode::INTERNAL_SERVER_ERROR
}

/// How long a registry asks to wait. `None` if it does not say so in seconds.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The wait before another try; `None` if the registry asks for more than it may.
pub(super) fn before(tried: u32, headers: &HeaderMap, bounds: &Bounds) -> Option<Duration> {
    let usual = bounds.first_wait.saturating_mul(1 << tried.saturating_sub(1).min(16));
    match asked(headers) {
        Some(asked) => (asked <= bounds.wait).then_some(asked.max(bounds.first_wait)),
        None => Some(usual.min(bounds.wait)),
    }
}

/// Waits.
pub(super) async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_waited_for_within_bounds() {
        let bounds = Bounds::default();
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            headers
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(before(1, &headers("5"), &bounds), seconds(5));
        assert_eq!(before(1, &headers("0"), &bounds), seconds(1), "never at once");
        assert_eq!(before(1, &headers("61"), &bounds), None);
        assert_eq!(before(1, &headers("18446744073709551615"), &bounds), None);
        for other in ["soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(before(2, &headers(other), &bounds), seconds(2), "{other}");
        }
        assert_eq!(before(3, &HeaderMap::new(), &bounds), seconds(4));
        assert_eq!(before(u32::MAX, &HeaderMap::new(), &bounds), seconds(60));
    }
}
