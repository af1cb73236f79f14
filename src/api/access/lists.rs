//! Reads lists without what somebody may not view. Neither how many items are left out nor where a page ends tells of them.

use crate::api::error::ApiError;
use crate::playbook::access::Sight;
use crate::store::Found;

use super::caller::Caller;

/// Which runs a list has, for the store; `None`: all.
pub(in crate::api) fn sights(caller: &Caller) -> Option<Vec<Sight>> {
    (!caller.views_all()).then(|| caller.rights().sights())
}

/// Reads items until there are `limit` that may be viewed, or no more. Whatever `read` gives, the last item of the answer
/// may be viewed, so that the key of a page is no key of anything else. What can't be read is left out.
///
/// There are few enough playbooks and clusters for that, and each round is one page of the store.
pub(in crate::api) async fn read_seen<K, S, F>(
    after: Option<K>,
    limit: u32,
    read: impl Fn(Option<K>, u32) -> F,
    key: impl Fn(&S) -> K,
    sees: Option<impl Fn(&S) -> bool>,
) -> Result<Found<S>, ApiError>
where
    F: Future<Output = Result<Found<S>, ApiError>>,
{
    let Some(sees) = sees else { return read(after, limit).await };
    let (mut seen, mut after) = (Vec::new(), after);
    loop {
        let room = limit.saturating_sub(u32::try_from(seen.len()).unwrap_or(u32::MAX));
        if room == 0 {
            return Ok(seen);
        }
        let found = read(after.take(), room).await?;
        let is_last = found.len() < room as usize;
        for item in found.into_iter().flatten() {
            after = Some(key(&item));
            if sees(&item) {
                seen.push(Ok(item));
            }
        }
        // Without a key the list can't go on.
        if is_last || after.is_none() {
            return Ok(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_is_full_of_what_may_be_viewed() {
        let read = async |after: Option<u32>, limit: u32| {
            let first = after.map_or(0, |after| after + 1);
            let found: Found<u32> = (first..100).take(limit as usize).map(Ok).collect();
            Ok::<_, ApiError>(found)
        };
        let page = async |after, limit, sees: Option<fn(&u32) -> bool>| {
            let found = read_seen(after, limit, read, |item: &u32| *item, sees).await.unwrap();
            found.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(page(None, 3, None).await, [0, 1, 2]);
        assert_eq!(page(None, 3, Some(|item| item % 40 == 39)).await, [39, 79]);
        assert_eq!(page(Some(39), 1, Some(|item| item % 40 == 39)).await, [79]);
        assert_eq!(page(None, 3, Some(|_| false)).await, Vec::<u32>::new());
    }
}
