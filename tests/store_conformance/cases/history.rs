//! Reading what belongs to a run: records, journals, events and lines, in pages and in order.

use replibook_core::run::{
    AgentId, AgentSeq, AgentState, AttemptKey, EngineId, LogLevel, LogLine, OldLines, Writes,
};
use replibook_store::{Lease, LogCursor, MAX_COMMIT_DOCUMENTS, MAX_PAGE, StoreError};

use crate::backends::Fixture;
use crate::samples::{event, journal, key, line, new_run, one_of_each, record, run_id};

/// Runs number 1 and 2, both with these documents.
async fn with(on: &Fixture, writes: impl Fn(replibook_core::run::RunId) -> Writes) {
    for n in [1, 2] {
        on.store.create_run(&new_run(n)).await.unwrap();
        let lease = on.claim("e").await;
        let progress = one_of_each(lease.run).progress;
        let writes = Writes { progress, ..writes(lease.run) };
        on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
}

pub(crate) async fn agent_records_are_read_by_state_and_page(on: Fixture) {
    let states = [AgentState::Done, AgentState::Pending, AgentState::Done, AgentState::Failed];
    with(&on, |run| {
        let records = (0..12).rev().map(|seq| record(run, seq, states[seq as usize % 4]));
        Writes { records: records.collect(), ..Writes::default() }
    })
    .await;
    let run = run_id(1);
    let list = async |state, after: Option<u32>, limit| {
        let after = after.map(AgentSeq);
        let found = on.store.records(run, state, after, limit).await.unwrap();
        assert!(found.iter().all(|record| record.run == run));
        found.iter().map(|record| record.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 100).await, (0..12).collect::<Vec<_>>());
    assert_eq!(list(None, Some(3), 2).await, [4, 5]);
    assert_eq!(list(None, Some(11), 2).await, [0; 0]);
    assert_eq!(list(None, None, 0).await, [0; 0]);
    assert_eq!(list(Some(AgentState::Done), None, 4).await, [0, 2, 4, 6]);
    assert_eq!(list(Some(AgentState::Done), Some(6), 4).await, [8, 10]);
    assert_eq!(list(Some(AgentState::Removed), None, 4).await, [0; 0]);

    let one = on.store.record(run, &AgentId::from("node-7")).await.unwrap();
    assert_eq!(one, Some(record(run, 7, AgentState::Failed)));
    assert_eq!(on.store.record(run, &AgentId::from("node-99")).await.unwrap(), None);
    assert_eq!(on.store.record(run_id(9), &AgentId::from("node-7")).await.unwrap(), None);
}

pub(crate) async fn journals_are_read_in_order_of_their_keys(on: Fixture) {
    let sorted = [key(0, 0, 1), key(0, 0, 2), key(0, 0, 10), key(0, 1, 1), key(1, 0, 1)];
    let later = AttemptKey { stage: 1, ..key(0, 0, 1) };
    let sorted = [sorted[0], sorted[1], sorted[2], sorted[3], later, sorted[4]];
    with(&on, |run| {
        let order = [4, 0, 5, 2, 1, 3];
        let journals = order.map(|index| journal(run, sorted[index])).to_vec();
        Writes { journals, ..Writes::default() }
    })
    .await;
    let list = async |agent: Option<u32>, after, limit| {
        let agent = agent.map(AgentSeq);
        let found = on.store.journals(run_id(2), agent, after, limit).await.unwrap();
        assert!(found.iter().all(|journal| journal.run == run_id(2)));
        found.iter().map(|journal| journal.key).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 100).await, sorted);
    assert_eq!(list(None, Some(sorted[1]), 3).await, sorted[2..5]);
    assert_eq!(list(Some(0), None, 100).await, sorted[..5]);
    assert_eq!(list(Some(0), Some(sorted[2]), 1).await, sorted[3..4]);
    assert_eq!(list(Some(1), Some(sorted[2]), 100).await, sorted[5..]);
    assert_eq!(list(Some(0), Some(sorted[5]), 100).await, []);
    assert_eq!(list(Some(2), None, 100).await, []);
}

pub(crate) async fn log_lines_are_read_in_order(on: Fixture) {
    // Lines of event 2: the strategy's first, then the agents' by name. Then those of event 10.
    let sorted = |run| {
        vec![
            line(run, 2, None, 0),
            line(run, 2, None, 1),
            line(run, 2, Some(1), 0),
            line(run, 2, Some(1), 10),
            line(run, 2, Some(2), 2),
            line(run, 10, Some(1), 11),
        ]
    };
    with(&on, |run| {
        let mut logs = sorted(run);
        logs.reverse();
        Writes { logs, ..Writes::default() }
    })
    .await;
    let run = run_id(1);
    let sorted = sorted(run);
    let list = async |agent: Option<&str>, after: Option<usize>, limit| {
        let agent = agent.map(AgentId::from);
        let after = after.map(|index| LogCursor::of(&sorted[index]));
        on.store.logs(run, agent.as_ref(), after.as_ref(), limit).await.unwrap()
    };
    assert_eq!(list(None, None, 100).await, sorted);
    assert_eq!(list(None, Some(1), 2).await, sorted[2..4]);
    assert_eq!(list(None, Some(5), 2).await, []);
    let of_one = [sorted[2].clone(), sorted[3].clone(), sorted[5].clone()];
    assert_eq!(list(Some("node-1"), None, 100).await, of_one);
    assert_eq!(list(Some("node-1"), Some(2), 1).await, of_one[1..2]);
    assert_eq!(list(Some("node-1"), Some(1), 100).await, of_one, "after a line of another");
    assert_eq!(list(Some("node-1"), Some(4), 100).await, of_one[2..]);
    assert_eq!(list(Some("node-3"), None, 100).await, []);
}

pub(crate) async fn old_lines_are_removed_by_level_in_bounded_parts(on: Fixture) {
    const MORE: u64 = 5;
    let most = MAX_COMMIT_DOCUMENTS as u64;
    let numbered = |run, event, agent, level, number: u64| LogLine {
        number,
        level,
        ..line(run, event, agent, u32::try_from(number).unwrap())
    };
    let (run, other) = (run_id(1), run_id(2));
    for n in [1, 2] {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&EngineId("e".to_owned()), 2).await.unwrap();
    let progress = one_of_each(run).progress;
    let write = async |lease: &Lease, logs: Vec<LogLine>| {
        let writes = Writes { progress: progress.clone(), logs, ..Writes::default() };
        on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    };
    let old = (1..=most).map(|n| numbered(run, 3, None, LogLevel::Debug, n));
    write(&leases[0], old.collect()).await;
    let kept = vec![
        numbered(run, 2, None, LogLevel::Debug, 1),
        numbered(run, 3, Some(1), LogLevel::Info, most + 1),
        numbered(run, 4, Some(1), LogLevel::Debug, most + MORE + 2),
        numbered(run, 5, None, LogLevel::Debug, most + 2),
    ];
    write(&leases[0], kept.clone()).await;
    let more = (0..MORE).map(|n| numbered(run, 4, Some(1), LogLevel::Debug, most + 2 + n));
    write(&leases[0], more.collect()).await;
    write(&leases[1], vec![numbered(other, 3, None, LogLevel::Debug, 1)]).await;

    let old = OldLines { level: LogLevel::Debug, from: 3, to: 4, last: most + MORE + 1 };
    let forget = async || on.store.forget_lines(run, leases[0].epoch, &old).await.unwrap();
    assert_eq!([forget().await, forget().await, forget().await], [most, MORE, 0]);
    assert_eq!(on.store.logs(run, None, None, 1_000).await.unwrap(), kept);
    assert_eq!(on.store.logs(other, None, None, 1_000).await.unwrap().len(), 1);

    let error = on.store.forget_lines(run, leases[0].epoch + 1, &old).await.unwrap_err();
    assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
}

pub(crate) async fn lines_of_early_versions_are_the_oldest(on: Fixture) {
    // These lines belong to no attempt.
    let lines = |run| vec![line(run, 2, None, 1), line(run, 7, None, 1)];
    with(&on, |run| Writes { logs: lines(run), ..Writes::default() }).await;
    let (run, lease) = (run_id(1), on.store.renew(&EngineId("e".to_owned())).await.unwrap());
    let lease = lease.iter().find(|lease| lease.run == run).unwrap();
    let old = OldLines { level: LogLevel::Info, from: 2, to: 6, last: 9 };
    assert_eq!(on.store.forget_lines(run, lease.epoch, &old).await.unwrap(), 1);
    assert_eq!(on.store.logs(run, None, None, 10).await.unwrap(), lines(run)[1..]);
}

pub(crate) async fn events_are_read_by_sequence(on: Fixture) {
    with(&on, |run| Writes {
        events: [10, 9, 3, 2].map(|seq| event(run, seq)).to_vec(),
        ..Writes::default()
    })
    .await;
    let list = async |after, limit| {
        let found = on.store.events(run_id(1), after, limit).await.unwrap();
        assert!(found.iter().all(|event| event.run == run_id(1)));
        found.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(list(0, 100).await, [1, 2, 3, 9, 10]);
    assert_eq!(list(2, 2).await, [3, 9]);
    assert_eq!(list(4, 1).await, [9]);
    assert_eq!(list(10, 100).await, [0; 0]);
    assert_eq!(list(u64::MAX, 100).await, [0; 0]);
    assert_eq!(on.store.events(run_id(9), 0, 100).await.unwrap(), []);
}

pub(crate) async fn no_page_is_larger_than_the_largest(on: Fixture) {
    let run = run_id(1);
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let most = u32::try_from(MAX_COMMIT_DOCUMENTS).unwrap();
    for first in [0, most] {
        let numbers = first..first + most;
        let progress = one_of_each(run).progress;
        let writes = [
            Writes {
                records: numbers.clone().map(|n| record(run, n, AgentState::Done)).collect(),
                ..Writes::default()
            },
            Writes {
                journals: numbers.clone().map(|n| journal(run, key(n, 0, 1))).collect(),
                ..Writes::default()
            },
            Writes {
                logs: numbers.clone().map(|n| line(run, 2, Some(0), n)).collect(),
                ..Writes::default()
            },
            Writes {
                events: numbers.map(|n| event(run, u64::from(n) + 2)).collect(),
                ..Writes::default()
            },
        ];
        for writes in writes {
            let writes = Writes { progress: progress.clone(), ..writes };
            on.store.commit(run, lease.epoch, &writes).await.unwrap();
        }
    }
    let (store, all, page) = (&on.store, u32::MAX, MAX_PAGE as usize);
    assert_eq!(store.records(run, None, None, all).await.unwrap().len(), page);
    let done = Some(AgentState::Done);
    assert_eq!(store.records(run, done, None, all).await.unwrap().len(), page);
    assert_eq!(store.journals(run, None, None, all).await.unwrap().len(), page);
    assert_eq!(store.logs(run, None, None, all).await.unwrap().len(), page);
    let agent = AgentId::from("node-0");
    assert_eq!(store.logs(run, Some(&agent), None, all).await.unwrap().len(), page);
    assert_eq!(store.events(run, 0, all).await.unwrap().len(), page);
}
