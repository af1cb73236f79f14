//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it finds something. Panics with `what` if that takes longer than `limit`.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
}
