//! Runs that an engine can't go on with: they are set aside, tried again rarely, and ended once a person
//! has given them up.

use std::future::pending;

use super::World;
use super::committer::Committer;
use super::run_driver::DriveError;
use crate::clock::{Clock, sleep_until};
use crate::run::{EngineId, Millis, RunStatus, Timestamp, Trouble, TroubleCode};
use crate::store::{Ending, Failed, MAX_PAGE, StoreError};

/// How long a run must go on after a failure before the trouble is taken to be over, if what the run did
/// caused the failure: longer than its next try at the same thing usually takes.
const WELL_AFTER: Millis = Millis::from_secs(60);

/// How many parts of the ends of abandoned runs one look does: a few seconds of work for a store. The
/// next look does the rest.
const PARTS: u32 = 50;

/// What ended a driver, as it is kept; its causes in one line.
fn failed(error: DriveError) -> Failed {
    let code = match &error {
        DriveError::Store(StoreError::TooLarge { .. }) => TroubleCode::TooLarge,
        DriveError::Store(StoreError::Damaged(_) | StoreError::Corrupt { .. })
        | DriveError::Gone(_) => TroubleCode::Damaged,
        DriveError::Store(_) => TroubleCode::Refused,
        DriveError::Input(_) => TroubleCode::IllegalInput,
        DriveError::Panicked => TroubleCode::Panicked,
    };
    Failed { code, message: format!("{:#}", anyhow::Error::new(error)) }
}

/// Keeps why the driver failed, and gives the lease back such that nobody takes the run up before it has
/// rested. Returns whether that worked.
pub(super) async fn set_aside(committer: &Committer, engine: &EngineId, error: DriveError) -> bool {
    let failed = failed(error);
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    let store = committer.store.as_ref();
    let kept = committer.until_answered(|| store.set_aside(run, epoch, engine, &failed)).await;
    match kept {
        Ok(Trouble { tries, code, message, .. }) => {
            let code = code.as_str();
            match tries {
                // Further failures of that kind are no news.
                1 => tracing::error!(%run, code, "the run can't go on and is set aside: {message}"),
                _ => tracing::debug!(%run, code, tries, "the run still can't go on: {message}"),
            }
            true
        }
        // The answer to the first try may have been lost; or another engine has the run.
        Err(StoreError::Fenced { .. }) => true,
        Err(error) => {
            let message = &failed.message;
            tracing::error!(%run, %error, "failed to set a run aside that can't go on: {message}");
            false
        }
    }
}

/// Goes on with the ends of abandoned runs. Usually the request to abandon one has done all of it.
pub(super) async fn end_abandoned(world: &World) -> Result<(), StoreError> {
    let mut parts = 0;
    for trouble in world.store.troubles(None, MAX_PAGE).await? {
        while trouble.abandoned.is_some() && parts < PARTS {
            parts += 1;
            match world.store.end_abandoned(trouble.run).await? {
                Ending::Going => {}
                Ending::Waits(_) => break,
                Ending::Ended => {
                    tracing::info!(run = %trouble.run, "the abandoned run has ended");
                    world.signals.changed(trouble.run);
                    world.signals.ended(trouble.run);
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Whether a run that is driven was in trouble before, and still may be.
pub(super) struct Health {
    trouble: Option<TroubleCode>,
    /// When it can be taken to be well.
    well_at: Timestamp,
}

impl Health {
    /// The health of the committer's run, which is taken up now.
    pub(super) async fn of(committer: &Committer, now: Timestamp) -> Result<Self, StoreError> {
        let runs = [committer.lease.run()];
        let store = committer.store.as_ref();
        let known = committer.until_answered(|| store.troubles_of(&runs)).await?.pop();
        let well_at = match known.as_ref().map(|trouble| trouble.code) {
            // The run could be read just now.
            Some(TroubleCode::Damaged) | None => now,
            Some(
                TroubleCode::TooLarge
                | TroubleCode::Refused
                | TroubleCode::IllegalInput
                | TroubleCode::Panicked
                | TroubleCode::Abandoned,
            ) => now.plus(WELL_AFTER),
        };
        Ok(Self { trouble: known.map(|trouble| trouble.code), well_at })
    }

    /// Forgets the trouble of a run that goes well: once it was committed to, and has gone on for some
    /// time or is about to end.
    pub(super) async fn look(
        &mut self,
        committer: &Committer,
        status: RunStatus,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.trouble.is_none() || now < self.well_at && !status.is_settled() {
            return Ok(());
        }
        let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
        let store = committer.store.as_ref();
        committer.until_answered(|| store.recover(run, epoch)).await?;
        self.trouble = None;
        tracing::info!(%run, "the run that could not go on is well again");
        Ok(())
    }

    /// Returns once the run may be taken to be well; never if it is not in trouble.
    pub(super) async fn may_be_well(&self, clock: &dyn Clock) {
        match self.trouble {
            Some(_) => sleep_until(clock, self.well_at).await,
            None => pending().await,
        }
    }
}
