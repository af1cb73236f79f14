//! Makes new runs: with a snapshot, a progress and a first event, but without agents.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::approving::{Question, required};
use super::document::{Progress, ReasonCode, Run, Snapshot, StageProgress, StatusReason};
use super::format;
use super::history::{Happened, RunEvent};
use super::retry_of::RetryOf;
use super::secret::RunSeed;
use super::status::RunStatus;
use crate::ids::RunId;
use crate::playbook::{Approval, ClusterGuards, Narrowing, Playbook};
use crate::time::Timestamp;

/// Makes a run and its first event. The run has the whole playbook in it, so nothing that is applied later changes
/// it. Nothing in it depends on the size of the cluster: the agent records are made once the run starts.
///
/// `params` must fit the playbook's schema, with the defaults filled in. `started_by` is who asked, as the person
/// gave it.
///
/// # Example
/// ```
/// use replibook_core::ids::RunId;
/// use replibook_core::run::{RunStatus, new_run};
/// use replibook_core::time::Timestamp;
/// # use serde_json::{Map, json};
/// # let playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "required",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [],
/// # }))?;
///
/// let id: RunId = "0192a3b4-0000-7000-8000-000000000001".parse()?;
/// let now: Timestamp = "2026-11-22T09:00:00Z".parse()?;
/// // This playbook asks for approval.
/// let (run, events) = new_run(id, &playbook, Map::new(), "eu", Some("ada".to_owned()), now);
/// assert_eq!(run.progress.status, RunStatus::PendingApprove);
/// assert_eq!((events[0].seq, events[0].actor.as_deref()), (1, Some("ada")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn new_run(
    id: RunId,
    playbook: &Playbook,
    params: Map<String, Value>,
    cluster: &str,
    started_by: Option<String>,
    now: Timestamp,
) -> (Run, Vec<RunEvent>) {
    let snapshot = Snapshot {
        id,
        playbook: playbook.clone(),
        params,
        cluster: cluster.to_owned(),
        retry_of: None,
        narrowed: Narrowing::default(),
        started_by,
        created_at: now,
        seed: None,
    };
    begin(snapshot, None)
}

/// The run that [`new_run`] made, narrower than its playbook. The first event says so.
///
/// # Example
/// ```
/// use replibook_core::playbook::{Narrowing, NarrowingAsked};
/// use replibook_core::run::{Happened, narrowed, new_run};
/// # use replibook_core::{ids::RunId, time::Timestamp};
/// # use serde_json::{Map, json};
/// # let stage = json!({
/// #     "name": "all", "select": null, "strategy": { "plugin": "rolling", "with": {} },
/// #     "budget": { "max_failed": { "count": 0 }, "scope": "stage", "on_exceeded": "pause" },
/// #     "membership": { "added": "include", "removed": "ignore" }, "steps": [],
/// # });
/// # let playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [stage],
/// # }))?;
///
/// # let (id, now) = (RunId(uuid::Uuid::nil()), Timestamp::default());
/// let made = new_run(id, &playbook, Map::new(), "eu", None, now);
/// let asked = NarrowingAsked { limit: Some(3), ..NarrowingAsked::default() };
/// let (run, events) = narrowed(made, Narrowing::check(&playbook, asked)?);
/// assert_eq!(run.snapshot.narrowed.limit, Some(3));
/// let Happened::Status { reason: Some(reason), .. } = &events[0].what else { panic!() };
/// assert_eq!(reason.message, "is narrower than its playbook: at most 3 agents");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn narrowed((run, events): (Run, Vec<RunEvent>), narrowing: Narrowing) -> (Run, Vec<RunEvent>) {
    if narrowing.is_none() {
        return (run, events);
    }
    let cause = format!("is narrower than its playbook: {narrowing}");
    let snapshot = Snapshot { narrowed: narrowing, ..Snapshot::clone(&run.snapshot) };
    begin(snapshot, Some(cause))
}

/// Makes a run that goes over agents of the finished run `of` again, with the same playbook, plugins and
/// parameters. It needs approval and the lock of the cluster like any other run.
///
/// `of` is the snapshot of the run that `retry` names. `why` is the reason that the person gave.
pub fn new_retry(
    id: RunId,
    of: &Snapshot,
    retry: RetryOf,
    started_by: Option<String>,
    why: Option<&str>,
    now: Timestamp,
) -> (Run, Vec<RunEvent>) {
    // Tokens of the other run must be of no use in this one.
    let (retry_of, seed) = (Some(retry), None);
    let snapshot = Snapshot { id, retry_of, started_by, created_at: now, seed, ..of.clone() };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let message = format!("goes over the {retry} agents of run {} again{why}", retry.run);
    let message = match snapshot.narrowed.is_none() {
        true => message,
        false => format!(
            "{message}; like that run it is narrower than its playbook: {}",
            snapshot.narrowed
        ),
    };
    begin(snapshot, Some(message))
}

/// The run with a seed for the tokens of its secrets, which must be random. Without one, no step gets secrets. A run whose
/// playbook names none needs no seed.
///
/// # Example
/// ```
/// use replibook_core::run::{RunSeed, new_run, seeded};
/// # use replibook_core::{ids::RunId, time::Timestamp};
/// # use serde_json::{Map, json};
/// # let playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [],
/// # }))?;
///
/// # let (id, now) = (RunId(uuid::Uuid::nil()), Timestamp::default());
/// let (run, _) = new_run(id, &playbook, Map::new(), "eu", None, now);
/// // This playbook names no secret.
/// assert_eq!(seeded(run, || RunSeed::new([7; 32])).snapshot.seed, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn seeded(run: Run, seed: impl FnOnce() -> RunSeed) -> Run {
    if run.snapshot.secrets().is_empty() {
        return run;
    }
    let snapshot = Snapshot { seed: Some(seed()), ..Snapshot::clone(&run.snapshot) };
    Run { snapshot: Arc::new(snapshot), ..run }
}

/// The run as it begins on a cluster with these guards: only an engine that keeps guards may take it up. The run does not
/// get the guards themselves here: its engine gives it those that the cluster has by then.
///
/// # Example
/// ```
/// use replibook_core::playbook::{ClusterGuards, Freeze};
/// use replibook_core::run::{FIRST_FORMAT, guarded, new_run};
/// # use replibook_core::{ids::RunId, time::{Millis, Timestamp}};
/// # use serde_json::{Map, json};
/// # let playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [],
/// # }))?;
///
/// # let (id, now) = (RunId(uuid::Uuid::nil()), Timestamp::default());
/// let (run, _) = new_run(id, &playbook, Map::new(), "eu", None, now);
/// let to = now.plus(Millis::from_secs(3600));
/// let freezes = vec![Freeze { from: now, to, reason: "a fair".to_owned() }];
/// let guards = ClusterGuards { freezes, ..ClusterGuards::default() };
/// assert!(guarded(run, &guards).progress.needs > FIRST_FORMAT);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn guarded(mut run: Run, guards: &ClusterGuards) -> Run {
    run.progress.needs = run.progress.needs.max(format::needed_for(guards));
    run
}

/// Makes the run and its first event, which says `cause`.
fn begin(snapshot: Snapshot, cause: Option<String>) -> (Run, Vec<RunEvent>) {
    let status = first_status(&snapshot);
    let reason = match snapshot.playbook.approval {
        Approval::Granted => None,
        Approval::Required => Some(required()),
    };
    let told = match (&reason, cause) {
        (reason, None) => reason.clone(),
        (None, Some(message)) => Some(StatusReason { code: ReasonCode::Operator, message }),
        (Some(StatusReason { code, message }), Some(cause)) => {
            Some(StatusReason { code: *code, message: format!("{message}; it {cause}") })
        }
    };
    let now = snapshot.created_at;
    let first = RunEvent {
        run: snapshot.id,
        seq: 1,
        at: now,
        actor: snapshot.started_by.clone(),
        what: Happened::Status { from: None, to: status, reason: told },
        finish_ts: None,
    };
    let progress = Progress {
        needs: format::needed_by(&snapshot),
        reason,
        next_event: first.seq + 1,
        ..first_progress(&snapshot)
    };
    (Run { snapshot: Arc::new(snapshot), progress }, vec![first])
}

/// The progress with which a run begins: nothing has happened yet.
pub(super) fn first_progress(snapshot: &Snapshot) -> Progress {
    let index = snapshot.first_stage();
    let once = snapshot.is_once(index);
    let stage = StageProgress { index, once, ..StageProgress::default() };
    let question = Question::before_start(snapshot);
    Progress { stage, question, ..Progress::new(first_status(snapshot), snapshot.created_at) }
}

/// The status with which a run begins.
const fn first_status(snapshot: &Snapshot) -> RunStatus {
    match snapshot.playbook.approval {
        Approval::Granted => RunStatus::Pending,
        Approval::Required => RunStatus::PendingApprove,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::playbook::Approvers;

    fn playbook(approval: &str) -> Playbook {
        let document = json!({
            "name": "restart", "version": "1.0.0", "summary": null, "vcs": null,
            "approval": approval, "concurrency": "queue", "params": {}, "plugins": {},
            "stages": [],
        });
        serde_json::from_value(document).unwrap()
    }

    fn start(approval: &str) -> (Run, Vec<RunEvent>) {
        let now = Timestamp::from_millis(1_000);
        let by = Some("ada".to_owned());
        new_run(RunId(Uuid::from_u128(7)), &playbook(approval), Map::new(), "eu", by, now)
    }

    #[test]
    fn a_run_waits_in_the_queue_and_its_first_event_says_who_started_it() {
        let (run, events) = start("granted");
        assert_eq!(run.progress.status, RunStatus::Pending);
        assert_eq!(run.progress.reason, None);
        assert_eq!(run.progress.next_event, 2);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].actor.as_deref(), Some("ada"));
        let what = Happened::Status { from: None, to: RunStatus::Pending, reason: None };
        assert_eq!((events[0].seq, &events[0].what), (1, &what));
    }

    #[test]
    fn rules_about_approvals_need_an_engine_that_keeps_them() {
        let (id, now) = (RunId(Uuid::from_u128(7)), Timestamp::from_millis(5));
        let needs = |playbook: &Playbook| {
            new_run(id, playbook, Map::new(), "eu", None, now).0.progress.needs
        };
        let approvers = Approvers { count: 2, ..Approvers::default() };
        for approval in ["granted", "required"] {
            assert_eq!(needs(&playbook(approval)), format::FIRST_FORMAT);
            assert_eq!(needs(&Playbook { approvers: approvers.clone(), ..playbook(approval) }), 6);
        }
    }

    #[test]
    fn a_run_that_needs_approval_says_so() {
        let (run, _) = start("required");
        assert_eq!(run.progress.status, RunStatus::PendingApprove);
        let reason = run.progress.reason.map(|reason| reason.code);
        assert_eq!(reason, Some(ReasonCode::ApprovalRequired));
    }

    #[test]
    fn a_run_over_the_agents_of_another_one_has_its_snapshot_and_says_so() {
        for (approval, expected) in [
            ("granted", "goes over the failed and skipped agents of run 00000000-"),
            ("required", "approval before it starts; it goes over the failed and skipped"),
        ] {
            let (of, _) = start(approval);
            let retry = RetryOf { run: of.id(), failed: true, skipped: true, unfinished: false };
            let (id, now) = (RunId(Uuid::from_u128(8)), Timestamp::from_millis(2_000));
            let by = Some("bob".to_owned());
            let (run, events) = new_retry(id, &of.snapshot, retry, by, Some("mended"), now);
            assert_eq!(run.snapshot.retry_of, Some(retry));
            assert_eq!((run.id(), run.snapshot.created_at, run.progress.since), (id, now, now));
            assert_eq!(run.snapshot.playbook, of.snapshot.playbook);
            assert_eq!(run.progress.status, of.progress.status);
            // The reason of the run is what it waits for, which is something else.
            assert_eq!(run.progress.reason, of.progress.reason);
            assert_eq!(events[0].actor.as_deref(), Some("bob"));
            let Happened::Status { reason: Some(reason), .. } = &events[0].what else { panic!() };
            assert!(reason.message.contains(expected), "{}", reason.message);
            assert!(reason.message.ends_with("again: mended"), "{}", reason.message);
        }
    }
}
