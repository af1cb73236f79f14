//! Takes up a run: before anything begins in it, it knows its cluster and the guards that count now.

use std::sync::Arc;

use super::discovery::{Following, known_members};
use super::effects::Effects;
use super::guards::{self, Gate};
use super::run_driver::{DriveError, RunDriver};
use crate::playbook::ClusterGuards;
use crate::run::{Input, Loaded, Machine, Run, RunStatus, Transition};

impl RunDriver {
    /// Takes up the run. Commands of people come first where the run makes way, so that nothing begins here. `None` if
    /// nobody asks anything of a run that lacks a secret: then nothing of it is written. Such a run stays here first for as
    /// long as no other engine can have what it lacks.
    ///
    /// `guards` are those of the cluster, if the run has to go by others than it knows.
    pub(super) async fn begin(
        &mut self,
        loaded: Loaded,
        guards: Option<Arc<ClusterGuards>>,
        effects: &Effects,
    ) -> Result<Option<(Machine, Vec<Transition>)>, DriveError> {
        let (mut machine, first) = Machine::load(loaded, self.now())?;
        let mut transitions = vec![first];
        let mut asked = Vec::new();
        if self.makes_way(&machine) {
            asked = self.asked().await;
            if asked.is_empty() && self.lacks.any() {
                asked = self.stays(effects).await;
                if asked.is_empty() {
                    return Ok(None);
                }
            }
        }
        // They may have changed while nobody drove the run.
        if let Some(guards) = guards {
            transitions.push(machine.apply(Input::Guards(guards), self.now())?);
        }
        for command in asked {
            transitions.push(machine.apply(command, self.now())?);
        }
        transitions.push(machine.settle(self.now())?);
        Ok(Some((machine, transitions)))
    }

    /// Follows the cluster of the run, even while the run only waits, so that the members are known when it
    /// starts.
    pub(super) async fn follow(&self, loaded: &Loaded) -> Following {
        let status = loaded.run.progress.status;
        // A run that is cancelled takes no changes either, but stages that are always done may still take in its agents.
        let records = match status.is_under_way() || status == RunStatus::Cancelling {
            true => loaded.records.as_slice(),
            // Such a run takes no changes yet, or none any more, so what its records know may be long out of date.
            false => &[],
        };
        let known = known_members(records);
        let known = known.iter().map(|(id, agent)| (id.clone(), agent.address.clone()));
        self.world.followers.follow(&loaded.run.snapshot.cluster, known.collect()).await
    }

    /// The guards by which a run goes from now on. `None` for one that starts nobody now, which is told of them in time,
    /// for one that goes by them already, and if the Cluster object can't be read: then those count that the run knows.
    pub(super) async fn guards(&self, gate: &Gate, run: &Run) -> Option<Arc<ClusterGuards>> {
        if !guards::matter_to(run) || self.lacks.any() {
            return None;
        }
        match gate.look().await {
            Ok(guards) => guards,
            Err(error) => {
                let (run, cluster) = (run.id(), &run.snapshot.cluster);
                tracing::warn!(%run, %cluster, error, "failed to read the guards of the cluster");
                None
            }
        }
    }
}
