//! Memory for large bodies and answers: never more than a server can bear.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes for each permit, so that the number of permits stays small.
const SHARE: usize = 1024;

/// How much a server holds at once. Whoever needs more waits for others to finish. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    permits: Arc<Semaphore>,
    most: usize,
}

/// A part of the memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    /// None only once the semaphore is closed, which never happens.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// A memory of this many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most / SHARE)), most }
    }

    /// Takes `bytes` of it once they are free, or all of it if `bytes` is more than that.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let shares = bytes.div_ceil(SHARE).min(self.most / SHARE);
        let shares = u32::try_from(shares).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Share { _permit: Arc::clone(&self.permits).acquire_many_owned(shares).await.ok() }
    }
}

impl Share {
    /// Bytes that keep this part until the last of them is sent.
    pub(crate) fn around(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Kept { bytes, _share: self })
    }
}

struct Kept {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_wants_more_than_is_left_waits_until_the_bytes_are_sent() {
        let memory = Memory::new(4 * SHARE);
        let first = memory.take(3 * SHARE).await;
        let second = memory.take(1).await;
        assert!(memory.take(1).now_or_never().is_none());
        let bytes = first.around(vec![7; 3]);
        assert!(memory.take(1).now_or_never().is_none());
        assert_eq!(bytes[..], [7; 3]);
        drop(bytes);
        memory.take(3 * SHARE).await;
        drop(second);
        memory.take(usize::MAX).await;
    }
}
