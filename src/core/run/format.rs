//! Says which engines may go on with a run: those that know the format in which it is stored.
//!
//! Engines of several versions share a store while they are upgraded one after the other. A version introduces a
//! new format if it writes something that earlier versions would take for damaged, or would lose. It then adds one
//! to [`KNOWN_FORMAT`], and the runs in which it writes such things [`need`](super::Progress::needs) that format.
//! Engines that don't know the format leave those runs alone.

use super::document::{Progress, Snapshot};
use crate::playbook::{ClusterGuards, Grants, Stage, StageOn};

/// The format of runs that don't state one.
pub const FIRST_FORMAT: u32 = 1;

/// The newest format that this version can go on with.
pub const KNOWN_FORMAT: u32 = 6;

/// The format of runs that count their log, or that have a memo which is in no event. An engine of the first
/// format would drop both from the run: nothing would bound its log any more, and a replay would ask the strategy
/// with another memo.
const COUNTED: u32 = 2;

/// The format of runs whose steps may send HTTP requests or wait for signals. An engine of an earlier format can't
/// read such calls in a journal, and refuses them as not granted.
const BEYOND_AGENTS: u32 = 3;

/// The format of runs whose steps may use secrets. An engine of an earlier format would send the tokens that stand for
/// them, and would not take them out of answers.
const WITH_SECRETS: u32 = 4;

/// The format of runs whose cluster has guards, and of runs that are narrower than their playbook, or that have rescue or
/// finally steps or stages on the run. An engine of an earlier format would start agents whatever guards say, would go
/// over all agents and stages, and would do those steps on every agent.
const GUARDED_OR_MORE_OF_STAGES: u32 = 5;

/// The format of runs whose playbook says whose approvals count, how many, or until when. An engine of an earlier format would
/// let anybody approve them, and can't read what their histories say about approvals.
const APPROVED_BY_RULES: u32 = 6;

/// The format that a run needs because of the guards of its cluster. A history says also if only the statuses changed that
/// are healthy, and an engine of an earlier format could not read that.
pub(super) fn needed_for(guards: &ClusterGuards) -> u32 {
    if guards.is_default() { FIRST_FORMAT } else { GUARDED_OR_MORE_OF_STAGES }
}

/// The format that a run with this snapshot needs from its beginning.
pub(super) fn needed_by(snapshot: &Snapshot) -> u32 {
    let playbook = &snapshot.playbook;
    let any = |is_such: fn(&Grants) -> bool| {
        let pinned = playbook.plugins.values().map(|pin| &pin.grants);
        let steps = playbook.stages.iter().flat_map(|stage| &stage.steps);
        pinned.chain(steps.map(|step| &step.grants)).any(is_such)
    };
    match (any(Grants::has_secrets), any(Grants::is_beyond_agents)) {
        _ if !playbook.approvers.is_anybody() => APPROVED_BY_RULES,
        _ if is_more_of_stages(snapshot) => GUARDED_OR_MORE_OF_STAGES,
        (true, _) => WITH_SECRETS,
        (false, true) => BEYOND_AGENTS,
        (false, false) => FIRST_FORMAT,
    }
}

fn is_more_of_stages(snapshot: &Snapshot) -> bool {
    let is_more = |stage: &Stage| {
        stage.always
            || stage.on == StageOn::Run
            || stage.steps.iter().any(|step| !step.role.is_main())
    };
    !snapshot.narrowed.is_none() || snapshot.playbook.stages.iter().any(is_more)
}

impl Progress {
    /// The format that an engine must know to lose nothing of the run. It never decreases: documents that needed
    /// it may still be in the store.
    pub(super) fn needed(&self) -> u32 {
        let needed = match self.log.is_empty() && !self.stage.untold_memo {
            true => FIRST_FORMAT,
            false => COUNTED,
        };
        needed.max(needed_for(&self.guards)).max(self.needs)
    }
}

/// The format of a run that does not state one.
pub(super) const fn first() -> u32 {
    FIRST_FORMAT
}

/// Whether a run need not state this format.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(super) const fn is_first(needs: &u32) -> bool {
    *needs <= FIRST_FORMAT
}
