//! What all back ends do in the same way for a run in trouble, so that they keep the same document.

use super::documents::{Abandon, Failed};
use super::options::Moment;
use replibook_core::run::{
    Abandoned, EngineId, RunId, Timestamp, Trouble, TroubleCode, trouble_message,
};

/// The trouble to store after one more failure.
pub(super) fn failed(
    before: Option<Trouble>,
    (run, cluster): (RunId, Option<String>),
    engine: &EngineId,
    failure: &Failed,
    at: &Moment,
) -> Trouble {
    let new = Trouble {
        run,
        cluster,
        code: failure.code,
        message: trouble_message(&failure.message),
        since: at.now,
        tries: 1,
        tried_at: at.now,
        engine: Some(engine.clone()),
        abandoned: None,
        finish_ts: None,
    };
    Trouble::after(before, new)
}

/// From when on the run may be tried again.
pub(super) fn rests_until(trouble: &Trouble, at: &Moment) -> Timestamp {
    at.now.plus(trouble.rest())
}

/// The trouble to store for a run that is given up. `lease_until` is the end of the lease that an engine has on
/// it, and `finishing_at` the `finish_ts` that some of its records may already have.
pub(super) fn abandoned(
    before: Option<Trouble>,
    (run, cluster): (RunId, Option<String>),
    request: &Abandon,
    lease_until: Option<Timestamp>,
    finishing_at: Option<Timestamp>,
    at: &Moment,
) -> Trouble {
    let Abandon { actor, why, force: _ } = request;
    let abandoned = Abandoned {
        actor: actor.clone(),
        why: why.clone(),
        at: finishing_at.filter(|then| at.is_recent(*then)).unwrap_or(at.now),
        not_before: lease_until.map_or(at.now, |until| until.max(at.now)),
    };
    let none = || Trouble {
        run,
        cluster,
        code: TroubleCode::Abandoned,
        message: trouble_message(&abandoned.reason().message),
        since: at.now,
        tries: 0,
        tried_at: at.now,
        engine: None,
        abandoned: None,
        finish_ts: None,
    };
    Trouble { abandoned: Some(abandoned.clone()), ..before.unwrap_or_else(none) }
}
