//! Runs that an engine can't go on with: they are set aside, and tried again rarely, so that they neither keep the
//! engine busy nor need a person before they can go on.

use std::future::pending;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::run_driver::DriveError;
use crate::clock::{Clock, sleep_until};
use crate::run::{EngineId, Millis, RunStatus, Timestamp, Trouble, TroubleCode};
use crate::store::{Failed, StoreError};

/// How long a run must go on before its trouble is taken to be over, if the failure was caused by what the run
/// did: longer than its next try at the same thing usually takes.
const WELL_AFTER: Millis = Millis::from_secs(60);

/// How long the engine leaves a run alone that it could not even set aside, so that the run does not keep it busy.
const REST: Duration = Duration::from_secs(10);

/// What ended a driver, in the form that the store keeps. The message has all causes in one line.
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

/// Looks after a run whose driver failed. If the run still belongs to this engine, it is set aside; if not even
/// that is possible, it is left alone for a while.
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
        // The store did not answer, and the driver waited for it only as long as the run was ours.
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

/// Stores why the driver failed, and gives back the lease so that nobody takes up the run before it has rested.
/// Returns whether that worked.
async fn set_aside(committer: &Committer, engine: &EngineId, error: DriveError) -> bool {
    let failed = failed(error);
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    let store = committer.store.as_ref();
    let kept = committer.until_answered(|| store.set_aside(run, epoch, engine, &failed)).await;
    match kept {
        Ok(Trouble { tries, code, message, .. }) => {
            let code = code.as_str();
            match tries {
                // Further failures of the same kind are no news.
                1 => tracing::error!(%run, code, "the run can't go on and is set aside: {message}"),
                _ => tracing::debug!(%run, code, tries, "the run still can't go on: {message}"),
            }
            true
        }
        // Either the answer to the first try was lost, or another engine has the run.
        Err(StoreError::Fenced { .. }) => true,
        Err(error) => {
            let message = &failed.message;
            tracing::error!(%run, %error, "failed to set aside a run that can't go on: {message}");
            false
        }
    }
}

/// Whether a run that is driven was in trouble before, and may still be.
pub(super) struct Health {
    trouble: Option<TroubleCode>,
    /// When the run can be taken to be well, if it `goes`.
    well_at: Timestamp,
    /// Whether the run can do what it failed at before, as far as is known.
    goes: bool,
}

impl Health {
    /// The health of the committer's run, which is being taken up.
    pub(super) async fn of(committer: &Committer, now: Timestamp) -> Result<Self, StoreError> {
        let runs = [committer.lease.run()];
        let store = committer.store.as_ref();
        let known = committer.until_answered(|| store.troubles_of(&runs)).await?.pop();
        let trouble = known.map(|trouble| trouble.code);
        let (well_at, goes) = match trouble {
            // The driver goes on only if the run could be read, so damage is over.
            Some(TroubleCode::Damaged) | None => (now, true),
            Some(TroubleCode::IllegalInput | TroubleCode::Panicked) => (now.plus(WELL_AFTER), true),
            Some(TroubleCode::TooLarge | TroubleCode::Refused | TroubleCode::Abandoned) => {
                (now.plus(WELL_AFTER), false)
            }
        };
        Ok(Self { trouble, well_at, goes })
    }

    /// Forgets the trouble of a run that goes well: once it has gone on for some time and, if the store had
    /// refused one of its writes, once it could commit again (`committed`). A run that is FINISHING may still fail
    /// at its last commit; that commit ends its trouble.
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

    /// Returns once the run may be taken to be well. Never returns if the run is not in trouble, or if time alone
    /// does not end its trouble.
    pub(super) async fn may_be_well(&self, clock: &dyn Clock) {
        match self.trouble {
            Some(_) if self.goes => sleep_until(clock, self.well_at).await,
            Some(_) | None => pending().await,
        }
    }
}
