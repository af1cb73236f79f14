//! Loads a run with everything that is needed to go on with it, in pages. Only the journals of open attempts are
//! read, so that a long history costs little.

use super::World;
use super::committer::Committer;
use super::run_clock::last_moment;
use super::run_driver::DriveError;
use crate::run::{AgentRecord, AttemptKey, Journal, Loaded, Timestamp};
use crate::store::{Found, MAX_PAGE, StoreError};

/// How many journals the first page has, and the fewest that any page has. Where open attempts are rare among
/// attempts that are over, a page with few of them costs as much as a single journal.
const FEWEST_JOURNALS: u32 = 16;

/// The next page has this many times the journals that were of use in the page before.
const PAGE_GROWTH: u32 = 4;

/// Loads the run whose lease `committer` holds, and the last moment that the run knows of. Waits for a store that
/// does not answer.
pub(super) async fn load(
    world: &World,
    committer: &Committer,
) -> Result<(Loaded, Timestamp), DriveError> {
    let id = committer.lease.run();
    let store = world.store.as_ref();
    let run = committer.until_answered(|| store.run(id)).await.map_err(DriveError::Load)?;
    let run = run.ok_or(DriveError::Gone(id))?;
    committer.knows(&run.progress);
    let mut records: Vec<AgentRecord> = Vec::new();
    loop {
        let after = records.last().map(|record| record.seq);
        let page = committer.until_answered(|| store.records(id, None, after, MAX_PAGE)).await;
        let page = page.map_err(DriveError::Load)?;
        let last = page.len() < MAX_PAGE as usize;
        records.extend(page);
        if last {
            break;
        }
    }
    let keys = records.iter().flat_map(AgentRecord::open_attempts);
    let read = |before, limit| {
        committer.until_answered(move || store.read_journals(id, None, Some(before), limit))
    };
    let journals = wanted(keys.collect(), read).await.map_err(DriveError::Load)?;
    let last = run.progress.next_event.saturating_sub(2);
    let events = committer.until_answered(|| store.read_events(id, last, 1)).await;
    let events = events.map_err(DriveError::Load)?;
    let loaded = Loaded { run, records, journals };
    // The event only tells the time. If it can't be read, the rest of the run knows the time nearly as well.
    let event = events.last().and_then(|event| event.as_ref().ok());
    let last = last_moment(&loaded, event);
    Ok((loaded, last))
}

/// The journals of these attempts; an attempt that has just begun has none. `read` returns at most a given number
/// of journals after a key, in order. The keys are in order too, and open attempts are mostly neighbours, so that
/// a page holds many of them. An attempt in between that is over may have a damaged journal: nothing is read from
/// that.
async fn wanted<F>(
    keys: Vec<AttemptKey>,
    read: impl Fn(AttemptKey, u32) -> F,
) -> Result<Vec<Journal>, StoreError>
where
    F: Future<Output = Result<Found<Journal>, StoreError>>,
{
    let mut found = Vec::new();
    let mut keys = keys.into_iter().peekable();
    let mut limit = FEWEST_JOURNALS;
    while let Some(first) = keys.peek().copied() {
        let before = AttemptKey { attempt: first.attempt.saturating_sub(1), ..first };
        let page = read(before, limit).await?;
        let was_last = page.len() < limit as usize;
        let held = found.len();
        for journal in page {
            // The wanted attempts before this one have no journal.
            let of = match &journal {
                Ok(journal) => Some(journal.key),
                Err(damage) => damage.attempt(),
            };
            // If the damage hides whose journal it is, it may belong to a wanted attempt.
            let Some(of) = of else {
                found.push(journal?);
                continue;
            };
            while keys.next_if(|key| *key < of).is_some() {}
            if keys.next_if(|key| *key == of).is_some() {
                found.push(journal?);
            }
        }
        if was_last {
            break;
        }
        let useful = u32::try_from(found.len() - held).unwrap_or(MAX_PAGE);
        limit = useful.saturating_mul(PAGE_GROWTH).clamp(FEWEST_JOURNALS, MAX_PAGE);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::run::{AgentId, AgentSeq, RunId};
    use crate::store::Damage;

    fn key(agent: u32, attempt: u32) -> AttemptKey {
        AttemptKey { agent: AgentSeq(agent), stage: 0, step: 0, attempt }
    }

    fn journal(key: AttemptKey) -> Journal {
        Journal::new(
            RunId(Uuid::from_u128(1)),
            key,
            AgentId(key.agent.0.to_string()),
            "act".to_owned(),
            Timestamp::from_millis(0),
            Value::Null,
        )
    }

    /// Which of `keys` are found in a store that holds `stored`, and how many pages it took.
    async fn find(stored: &[AttemptKey], keys: &[AttemptKey]) -> (Vec<AttemptKey>, u32) {
        let pages = Cell::new(0);
        let read = |before, limit: u32| {
            pages.set(pages.get() + 1);
            let after = stored.iter().filter(move |key| **key > before);
            let page = after.take(limit as usize).copied().map(journal).map(Ok).collect();
            std::future::ready(Ok(page))
        };
        let found = wanted(keys.to_vec(), read).await.unwrap();
        (found.iter().map(|journal| journal.key).collect(), pages.get())
    }

    #[tokio::test]
    async fn journals_of_neighbours_come_in_few_pages() {
        let all: Vec<_> = (0..5_000).map(|agent| key(agent, 1)).collect();
        let (found, pages) = find(&all, &all[1_000..4_000]).await;
        assert_eq!(found, all[1_000..4_000]);
        assert!(pages < 10, "{pages}");
    }

    #[tokio::test]
    async fn only_the_present_attempts_are_taken_and_some_have_no_journal() {
        let stored = [key(1, 1), key(1, 2), key(3, 1), key(4, 1), key(4, 2), key(4, 3)];
        let keys = [key(0, 1), key(1, 2), key(2, 1), key(4, 3), key(5, 1)];
        assert_eq!(find(&stored, &keys).await.0, [key(1, 2), key(4, 3)]);
        assert_eq!(find(&[], &keys).await.0, []);
        assert_eq!(find(&stored, &[]).await, (Vec::new(), 0));
    }

    #[tokio::test]
    async fn attempts_that_are_far_apart_are_found_too() {
        let stored: Vec<_> = (0..10_000).map(|agent| key(agent, 1)).collect();
        let keys: Vec<_> = stored.iter().copied().step_by(700).collect();
        assert_eq!(find(&stored, &keys).await.0, keys);
    }

    #[tokio::test]
    async fn a_damaged_journal_counts_only_if_it_is_wanted() {
        let find = async |damaged: &str, keys: &[AttemptKey]| {
            let damaged = Damage {
                what: "a journal".to_owned(),
                key: damaged.to_owned(),
                why: "as asked".to_owned(),
            };
            let page = vec![Err(damaged), Ok(journal(key(2, 3)))];
            let read = |_, _| std::future::ready(Ok(page.clone()));
            wanted(keys.to_vec(), read).await.map(|found| found.len())
        };
        assert_eq!(find("2.0.0.1", &[key(1, 1), key(2, 3)]).await.unwrap(), 1);
        for (damaged, wanted) in [("2.0.0.1", key(2, 1)), ("2..0.1", key(2, 3)), ("", key(2, 3))] {
            let error = find(damaged, &[wanted]).await.unwrap_err();
            assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        }
    }
}
