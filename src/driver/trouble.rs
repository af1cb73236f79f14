//! Runs that an engine can't go on with: they are set aside, and tried again rarely.

use std::future::pending;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::run_driver::DriveError;
use crate::clock::{Clock, sleep_until};
use crate::run::{EngineId, Millis, RunStatus, Timestamp, Trouble, TroubleCode};
use crate::store::{Failed, StoreError};

/// How long a run must go on after a failure before the trouble is taken to be over, if what the run did
/// caused the failure: longer than its next try at the same thing usually takes.
const WELL_AFTER: Millis = Millis::from_secs(60);

/// How long the engine leaves a run alone that could not even be set aside, so that the run does not
/// keep it busy.
const REST: Duration = Duration::from_secs(10);

/// What ended a driver, as it is kept; its causes in one line.
fn failed(error: DriveError) -> Failed {
    let code = match &error {
        DriveError::Store(StoreError::TooLarge { .. }) => TroubleCode::TooLarge,
        DriveError::Load(
            StoreError::Damaged(_) | StoreError::Broken { .. } | StoreError::Corrupt { .. },
        )
        | DriveError::Store(StoreError::Broken { .. })
        | DriveError::Gone(_) => TroubleCode::Damaged,
        DriveError::Load(_) | DriveError::Store(_) => TroubleCode::Refused,
        DriveError::Input(_) => TroubleCode::IllegalInput,
        DriveError::Panicked => TroubleCode::Panicked,
    };
    Failed { code, message: format!("{:#}", anyhow::Error::new(error)) }
}

/// Does what is to be done for a run whose driver failed: if it is still this engine's, it is set aside, or left
/// alone for a while where not even that can be done.
pub(super) async fn look_after(
    committer: &Committer,
    engine: &EngineId,
    error: DriveError,
    stop: &CancellationToken,
) {
    let run = committer.lease.run();
    match &error {
        DriveError::Store(StoreError::Fenced { .. }) => {
            tracing::warn!(%run, "the run is another engine's now");
        }
        // A store that does not answer is waited for only as long as the run is ours.
        DriveError::Store(StoreError::Unavailable { .. })
        | DriveError::Load(StoreError::Unavailable { .. })
            if committer.lease.is_lost() =>
        {
            tracing::warn!(%run, "lost the run while the store did not answer");
        }
        DriveError::Store(_)
        | DriveError::Load(_)
        | DriveError::Input(_)
        | DriveError::Gone(_)
        | DriveError::Panicked => {
            if !set_aside(committer, engine, error).await {
                rest(committer.clock.as_ref(), stop).await;
            }
        }
    }
}

/// Leaves a run alone for a while, unless the engine stops.
pub(super) async fn rest(clock: &dyn Clock, stop: &CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = clock.sleep(REST) => {}
    }
}

/// Keeps why the driver failed, and gives the lease back such that nobody takes the run up before it has
/// rested. Returns whether that worked.
async fn set_aside(committer: &Committer, engine: &EngineId, error: DriveError) -> bool {
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

/// Whether a run that is driven was in trouble before, and still may be.
pub(super) struct Health {
    trouble: Option<TroubleCode>,
    /// When it can be taken to be well, if it `goes`.
    well_at: Timestamp,
    /// Whether it can do again what it failed at, as far as is known.
    goes: bool,
}

impl Health {
    /// The health of the committer's run, which is taken up now.
    pub(super) async fn of(committer: &Committer, now: Timestamp) -> Result<Self, StoreError> {
        let runs = [committer.lease.run()];
        let store = committer.store.as_ref();
        let known = committer.until_answered(|| store.troubles_of(&runs)).await?.pop();
        let trouble = known.map(|trouble| trouble.code);
        let (well_at, goes) = match trouble {
            // The driver goes on only once the run could be read.
            Some(TroubleCode::Damaged) | None => (now, true),
            Some(TroubleCode::IllegalInput | TroubleCode::Panicked) => (now.plus(WELL_AFTER), true),
            Some(TroubleCode::TooLarge | TroubleCode::Refused | TroubleCode::Abandoned) => {
                (now.plus(WELL_AFTER), false)
            }
        };
        Ok(Self { trouble, well_at, goes })
    }

    /// Forgets the trouble of a run that goes well: once it has gone on for some time and, if the store had
    /// refused a write of it, once something of it was `committed` again. A run that is FINISHING may still
    /// fail at its last commit, which is what ends its trouble.
    pub(super) async fn look(
        &mut self,
        committer: &Committer,
        committed: bool,
        status: RunStatus,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.goes = (self.goes || committed) && !status.is_settled();
        if self.trouble.is_none() || !self.goes || now < self.well_at {
            return Ok(());
        }
        let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
        let store = committer.store.as_ref();
        committer.until_answered(|| store.recover(run, epoch)).await?;
        self.trouble = None;
        tracing::info!(%run, "the run that could not go on is well again");
        Ok(())
    }

    /// Whether the run is in trouble that time alone ends.
    pub(super) fn is_waiting(&self) -> bool {
        self.trouble.is_some() && self.goes
    }

    /// Returns once the run may be taken to be well; never if it is not in trouble, or if more than time is
    /// missing.
    pub(super) async fn may_be_well(&self, clock: &dyn Clock) {
        match self.trouble {
            Some(_) if self.goes => sleep_until(clock, self.well_at).await,
            Some(_) | None => pending().await,
        }
    }
}
