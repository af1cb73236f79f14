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
    memory: Memory,
    /// None while it is empty.
    permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// A memory of this many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most / SHARE)), most }
    }

    /// Takes `bytes` of it once they are free, or all of it if `bytes` is more than that.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let mut share = self.nothing();
        share.grow_to(bytes).await;
        share
    }

    /// A part that has nothing yet.
    pub(crate) fn nothing(&self) -> Share {
        Share { memory: self.clone(), permit: None }
    }

    fn shares(&self, bytes: usize) -> usize {
        bytes.div_ceil(SHARE).min(self.most / SHARE)
    }
}

impl Share {
    /// Makes it at least this large once there is room, or as large as the whole memory. A share that grows
    /// while others do may wait for them as they wait for it: whoever grows bit by bit needs a way out.
    pub(crate) async fn grow_to(&mut self, bytes: usize) {
        let missing = self.missing(bytes);
        if missing > 0 {
            // The semaphore is never closed.
            self.add(Arc::clone(&self.memory.permits).acquire_many_owned(missing).await.ok());
        }
    }

    /// The same, if there is room now.
    pub(crate) fn try_grow_to(&mut self, bytes: usize) -> bool {
        let missing = self.missing(bytes);
        if missing > 0 {
            let more = Arc::clone(&self.memory.permits).try_acquire_many_owned(missing).ok();
            if more.is_none() {
                return false;
            }
            self.add(more);
        }
        true
    }

    /// Gives back what is above so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let keeps = self.memory.shares(bytes);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(keeps)));
        }
    }

    fn missing(&self, bytes: usize) -> u32 {
        let has = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(self.memory.shares(bytes).saturating_sub(has)).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: Option<OwnedSemaphorePermit>) {
        match (&mut self.permit, more) {
            (Some(permit), Some(more)) => permit.merge(more),
            (permit, more) => *permit = permit.take().or(more),
        }
    }

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

    #[tokio::test]
    async fn a_share_grows_and_shrinks() {
        let memory = Memory::new(4 * SHARE);
        let mut first = memory.nothing();
        first.grow_to(SHARE).await;
        first.grow_to(1).await;
        let mut second = memory.take(2 * SHARE).await;
        assert!(first.try_grow_to(SHARE + 1) && !first.try_grow_to(2 * SHARE + 1));
        assert!(first.grow_to(3 * SHARE).now_or_never().is_none());
        second.shrink_to(SHARE);
        assert!(first.try_grow_to(3 * SHARE));
        drop((first, second));
        memory.take(4 * SHARE).await;
    }
}
