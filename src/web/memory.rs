//! Memory for large bodies and answers. It is handed out in shares, so that a server never holds more than it can
//! bear and no client alone can use it up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::Client;

/// Bytes per permit, so that the number of permits stays small.
const SHARE: usize = 1024;

/// How many bytes a server holds at once. Whoever needs more waits until others have finished. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    permits: Arc<Semaphore>,
    most: usize,
    /// The memory that this is a part of, if it is one client's.
    whole: Option<Box<Self>>,
    /// The parts that clients have at the moment.
    parts: Arc<Mutex<HashMap<Client, Weak<Semaphore>>>>,
}

/// A share of the memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Memory,
    /// None while the share is empty.
    permit: Option<OwnedSemaphorePermit>,
    /// The same share of the whole, if the memory is a part of one.
    of_whole: Option<Box<Self>>,
}

impl Memory {
    /// A memory of `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        let permits = Arc::new(Semaphore::new(most / SHARE));
        Self { permits, most, whole: None, parts: Arc::default() }
    }

    /// The part that one client may have: half. So others have to wait only if several clients take all that they
    /// can.
    pub(crate) fn of(&self, client: Client) -> Self {
        let most = self.most / 2;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = parts.get(&client).and_then(Weak::upgrade);
        let permits = known.unwrap_or_else(|| {
            parts.retain(|_, part| part.strong_count() > 0);
            let made = Arc::new(Semaphore::new(most / SHARE));
            parts.insert(client, Arc::downgrade(&made));
            made
        });
        Self { permits, most, whole: Some(Box::new(self.clone())), parts: Arc::default() }
    }

    /// Takes `bytes` once they are free, or the whole memory if `bytes` is more than that.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let mut share = self.nothing();
        share.grow_to(bytes).await;
        share
    }

    /// A share that is still empty.
    pub(crate) fn nothing(&self) -> Share {
        let of_whole = self.whole.as_ref().map(|whole| Box::new(whole.nothing()));
        Share { memory: self.clone(), permit: None, of_whole }
    }

    fn shares(&self, bytes: usize) -> usize {
        bytes.div_ceil(SHARE).min(self.most / SHARE)
    }
}

impl Share {
    /// Grows the share to at least this many bytes once there is room, but at most to the whole memory. Two shares
    /// that both grow may wait for each other, so whoever grows bit by bit needs a way out.
    pub(crate) async fn grow_to(&mut self, bytes: usize) {
        let missing = self.missing(bytes);
        if missing > 0 {
            // The semaphore is never closed.
            self.add(Arc::clone(&self.memory.permits).acquire_many_owned(missing).await.ok());
        }
        if let Some(of_whole) = &mut self.of_whole {
            Box::pin(of_whole.grow_to(bytes)).await;
        }
    }

    /// Like [`grow_to`](Self::grow_to), but only if there is room now. Returns whether there was.
    pub(crate) fn try_grow_to(&mut self, bytes: usize) -> bool {
        let (before, missing) = (self.permits(), self.missing(bytes));
        if missing > 0 {
            let more = Arc::clone(&self.memory.permits).try_acquire_many_owned(missing).ok();
            if more.is_none() {
                return false;
            }
            self.add(more);
        }
        let has_room = self.of_whole.as_mut().is_none_or(|whole| whole.try_grow_to(bytes));
        if !has_room {
            self.keep(before);
        }
        has_room
    }

    /// Gives back what exceeds this many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.keep(self.memory.shares(bytes));
        if let Some(of_whole) = &mut self.of_whole {
            of_whole.shrink_to(bytes);
        }
    }

    fn keep(&mut self, permits: usize) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(permits)));
        }
    }

    fn permits(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn missing(&self, bytes: usize) -> u32 {
        let missing = self.memory.shares(bytes).saturating_sub(self.permits());
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: Option<OwnedSemaphorePermit>) {
        match (&mut self.permit, more) {
            (Some(permit), Some(more)) => permit.merge(more),
            (permit, more) => *permit = permit.take().or(more),
        }
    }

    /// Wraps `bytes` so that the share is kept until the last of them is sent.
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
    #[tokio::test]
    async fn one_client_has_half_of_it() {
        let client = |n: u8| Client::at(([10, 0, 0, n], 1).into());
        let memory = Memory::new(8 * SHARE);
        let first = memory.of(client(1)).take(3 * SHARE).await;
        let mut second = memory.of(client(1)).nothing();
        assert!(!second.try_grow_to(2 * SHARE) && second.try_grow_to(SHARE));
        assert!(memory.of(client(1)).take(1).now_or_never().is_none());
        let other = memory.of(client(2)).take(4 * SHARE).await;
        // Everything is taken.
        let third = memory.of(client(3));
        assert!(third.take(1).now_or_never().is_none());
        second.shrink_to(0);
        let mut share = third.nothing();
        assert!(share.try_grow_to(SHARE) && !share.try_grow_to(2 * SHARE));
        drop((first, other));
        assert!(share.try_grow_to(4 * SHARE) && !second.try_grow_to(5 * SHARE));
        drop((share, second));
        memory.take(8 * SHARE).await;
        assert_eq!(memory.parts.lock().unwrap().len(), 3);
        let _fourth = memory.of(client(4));
        assert_eq!(memory.parts.lock().unwrap().len(), 2, "of those that are gone nothing is left");
    }
}
