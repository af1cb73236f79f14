//! Runs that an engine takes up although it will not go on with them: beyond its places, because a command for them has
//! come, or without their secrets or credentials. Such a run does what was asked of it, and begins nothing for which it would need a
//! place or a secret.

use std::sync::Arc;
use std::time::Duration;

use super::discovery::{Following, View, Ways};
use super::effects::Effects;
use super::lacking::{Lack, Lacks};
use super::run_driver::{DriveError, RunDriver};
use super::secrets::RunSecrets;
use crate::clock::{Clock, sleep_until};
use crate::credentials::NotUsed;
use crate::run::{Effect, Input, Machine, Millis, Run, RunStatus, Timestamp, Transition};

/// How long such a run waits for its command: several looks of its engine, one of which may fail.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// How often a run that goes on looks whether its secrets and credentials are still here: as often as it is looked at while
/// it is left to other engines.
const LOOK_AGAIN: Millis = Millis::from_secs(10);

/// When a run has to look again whether this engine has what it needs.
pub(super) struct Needed {
    cluster: Following,
    /// Whether its playbook names secrets.
    secrets: bool,
    due: Timestamp,
    clock: Arc<dyn Clock>,
}

impl Needed {
    /// For a run that looks for the first time after this.
    pub(super) fn by(cluster: Following, secrets: &RunSecrets, clock: Arc<dyn Clock>) -> Self {
        let due = clock.now().plus(LOOK_AGAIN);
        Self { cluster, secrets: !secrets.are_none(), due, clock }
    }

    /// Returns when it is time to look again, which it is from time to time if anything is named. A change of the cluster is
    /// not waited for: others wait for it too, and who is woken first would be chance.
    pub(super) async fn may_lack(&mut self) {
        loop {
            sleep_until(self.clock.as_ref(), self.due).await;
            self.due = self.clock.now().plus(LOOK_AGAIN);
            if self.secrets || names_any(&self.cluster.now()) {
                return;
            }
        }
    }
}

/// Whether the cluster names credentials for its agents or its platform.
fn names_any(view: &View) -> bool {
    let of_agents = match &view.ways {
        Ways::By(reach) => reach.credentials.is_some(),
        Ways::Unknown | Ways::Unreadable => false,
    };
    of_agents || view.discovery.as_ref().is_some_and(|from| from.credentials.is_some())
}

impl RunDriver {
    /// Whether the run would go on, and has no place here, or not all of its secrets and credentials. Once it has done what
    /// was asked, such a run waits in the store as before. Effects that were committed but not performed by then are
    /// performed by the next engine.
    pub(super) fn makes_way(&self, machine: &Machine) -> bool {
        match machine.run().progress.status {
            RunStatus::Pending | RunStatus::Starting | RunStatus::Running => {
                self.lacks.any() || self.place.is_beyond()
            }
            // Agents that have started go on.
            RunStatus::Paused => self.lacks.any() && machine.rests_until().is_none(),
            // It waits for a person, or is ending.
            RunStatus::PendingApprove
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        }
    }

    /// Whether the run makes way now. What is lacking is looked for again if it would, since it may have come meanwhile.
    pub(super) async fn leaves(&mut self, machine: &Machine, effects: &Effects) -> bool {
        if self.lacks.any() && self.makes_way(machine) {
            self.read(effects.secrets(), &effects.following()).await;
        }
        self.makes_way(machine)
    }

    /// Looks again for what a run needs that goes on here, if another engine might go on with it instead. In an engine alone,
    /// its calls wait for credentials, and its steps say which secret is gone.
    pub(super) async fn look_for_needed(&mut self, effects: &Effects) {
        if self.lacks.any() || self.lacking.has_others() {
            self.read(effects.secrets(), &effects.following()).await;
        }
    }

    /// Reads all secrets of the run, and looks for the credentials of its cluster. Notes whether this engine lacks any, and
    /// says which: that is a warning once, since the run is looked at again and again.
    pub(super) async fn read(&mut self, secrets: &RunSecrets, cluster: &Following) {
        let (run, read) = (self.lease.run(), secrets.read_all().await);
        let credentials = self.world.followers.credentials();
        let (unread, unusable) = (read.err(), cluster.lacking(credentials).await);
        let secrets = unread.as_ref().map_or(Lack::No, |error| match error.is_gone() {
            true => Lack::Name,
            false => Lack::Use,
        });
        let is_there = |why: &NotUsed| why.lacking().is_some_and(|name| credentials.is_there(name));
        let of_cluster = unusable.as_ref().map_or(Lack::No, |why| match is_there(why) {
            true => Lack::Use,
            false => Lack::Name,
        });
        self.lacks = Lacks { secrets, credentials: of_cluster };
        let why = [unread.map(|error| error.to_string()), unusable.map(|why| why.to_string())];
        let why = why.into_iter().flatten().collect::<Vec<_>>().join("; ");
        match self.lacks.any() {
            false => self.lacking.found(run),
            true if self.lacking.is_new(run) => tracing::warn!(%run, "{why}"),
            true => tracing::debug!(%run, "{why}"),
        }
    }

    /// Keeps a run here as long as it lacks something that no other engine can have either, and looks for it from time to
    /// time. It needs no place meanwhile. Returns the commands for it that end this; empty if the run is to be given up: it
    /// is taken up anew once nothing is lacking, here or elsewhere.
    pub(super) async fn stays(&mut self, effects: &Effects) -> Vec<Input> {
        let Some(_staying) = self.lacking.keep(self.lacks) else { return Vec::new() };
        self.place.give_back();
        let clock = self.own.clone();
        while self.lacking.is_nowhere(self.lacks) {
            let looks = clock.now().plus(LOOK_AGAIN);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Vec::new(),
                () = self.lease.lost() => return Vec::new(),
                command = self.commands.recv() => return self.with_others(command),
                () = sleep_until(clock.as_ref(), looks) => {}
            }
            self.read(effects.secrets(), &effects.following()).await;
        }
        Vec::new()
    }

    /// A command, and others that came with it.
    fn with_others(&mut self, command: Option<Input>) -> Vec<Input> {
        let mut asked: Vec<Input> = command.into_iter().collect();
        while let Ok(command) = self.commands.try_recv() {
            asked.push(command);
        }
        asked
    }

    /// Gives up a run that makes way. One that lacks a secret here is left to other engines for a while. If none of them
    /// can have it, whoever takes up the run keeps it.
    pub(super) fn left(&self) -> Result<(), DriveError> {
        let run = self.lease.run();
        if self.lacks.any() {
            if !self.lacking.may_keep(self.lacks) {
                self.lacking.note(run, self.own.now());
            }
        } else if self.place.is_beyond() {
            tracing::info!(%run, "giving the run back: there is no place for it");
        } else {
            tracing::info!(%run, "the run has all that it needs again, and is taken up anew");
        }
        self.given_up()
    }

    /// Keeps the place of a resumed run that would suffer from waiting in the store: either a hold on agents has
    /// ended, and their time-outs would pass meanwhile, or absences were accepted, which only this driver knows. A run
    /// that lacks a secret goes all the same, and the next engine may pause it again because of the absences.
    pub(super) fn keep_if_resumed(&self, was_held: &mut bool, run: &Run, done: &[Transition]) {
        let was_held = std::mem::replace(was_held, run.progress.hold);
        let mut effects = done.iter().flat_map(|transition| &transition.effects);
        if (was_held && !run.progress.hold)
            || effects.any(|effect| matches!(effect, Effect::AcceptAbsence(_)))
        {
            self.place.keep();
        }
    }

    /// The commands for the run. The engine hands them out with its next look; empty if none comes in time.
    /// A run that lacks a secret needs no place meanwhile. It keeps its place if too many are left to other engines
    /// already: its engine would take up the next one at once, and then this one again, all the time.
    pub(super) async fn asked(&mut self) -> Vec<Input> {
        if self.lacks.any() && self.lacking.has_room(self.own.now()) {
            self.place.give_back();
        }
        let clock = self.world.clock.clone();
        let command = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.lease.lost() => None,
            command = self.commands.recv() => command,
            () = clock.sleep(ASKED_WITHIN) => None,
        };
        self.with_others(command)
    }
}
