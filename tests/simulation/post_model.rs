//! Requests to agents: each is sent at the right time and under a lease, and none of them can run an action
//! twice.

use std::collections::BTreeMap;

use replibook::agent::{ActionRequest, AgentError, Scheduled};
use replibook::run::{
    AgentId, AgentState, AttemptKey, CallName, Journal, RunId, RunStatus, Timestamp,
};
use uuid::Uuid;

use crate::ledger::{Check, Holder, expect};
use crate::run_model::RunModel;

/// An action whose call was committed.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) run: RunId,
    pub(crate) key: AttemptKey,
    pub(crate) agent: AgentId,
    pub(crate) call: usize,
    /// How many requests are on their way.
    under_way: u32,
    /// Whether the agent did not answer a request, and nothing at its address has answered since.
    unheard: bool,
    /// Whether a request may have taken effect, and no later answer has said that the agent does not know the
    /// action.
    may_be_known: bool,
    pub(crate) executions: u32,
    forgotten: u32,
}

#[derive(Default)]
pub(crate) struct Posts {
    pub(crate) by_id: BTreeMap<Uuid, Post>,
    /// How many actions ran that no commit had announced.
    unannounced: u32,
}

impl Posts {
    /// Takes notice of the calls that a commit announced.
    pub(crate) fn committed(&mut self, model: &RunModel, journals: &[Journal]) {
        for journal in journals {
            let pending = journal.pending.as_ref();
            if pending.is_none_or(|pending| pending.name != CallName::RunAction) {
                continue;
            }
            let call = journal.answers.len();
            let number = u32::try_from(call).unwrap();
            let id = journal.key.action_id(model.id, &journal.agent, number);
            self.by_id.entry(id).or_insert(Post {
                run: model.id,
                key: journal.key,
                agent: journal.agent.clone(),
                call,
                under_way: 0,
                unheard: false,
                may_be_known: false,
                executions: 0,
                forgotten: 0,
            });
        }
    }

    /// Other actions that the same run gave to the same agent.
    pub(crate) fn others_of_attempt(&self, id: Uuid) -> Vec<Uuid> {
        let Some(post) = self.by_id.get(&id) else { return Vec::new() };
        let same = |other: &Post| other.run == post.run && other.agent == post.agent;
        let others = self.by_id.iter().filter(|(other, post)| **other != id && same(post));
        others.map(|(other, _)| *other).collect()
    }

    /// The agent of an action, and when it was started in its stage.
    pub(crate) fn started(
        &self,
        id: Uuid,
        runs: &BTreeMap<RunId, RunModel>,
    ) -> Option<(AgentId, Timestamp)> {
        let post = self.by_id.get(&id)?;
        let record = runs.get(&post.run)?.records.get(&post.key.agent)?;
        Some((post.agent.clone(), record.started_at?))
    }

    /// A request leaves an engine. `busy` are actions of the same run that the agent still works on.
    pub(crate) fn begins(
        &mut self,
        engine: usize,
        request: &ActionRequest,
        runs: &BTreeMap<RunId, RunModel>,
        holders: &BTreeMap<RunId, Holder>,
        now: Timestamp,
        busy: &[Uuid],
    ) -> Check {
        let id = request.id;
        let post = self.by_id.get_mut(&id).ok_or_else(|| {
            ("a call is committed before it is performed", format!("{id} is not in a commit"))
        })?;
        let model = &runs[&post.run];
        let journal = &model.journals[&post.key];
        let pending = journal.pending.as_ref().filter(|_| journal.answers.len() == post.call);
        let say = || format!("{id} of {}", post.agent);
        expect(pending.is_some(), "a call that has its answer is not performed", say)?;
        let holder = holders.get(&post.run);
        let holds = holder.is_some_and(|holder| holder.engine == engine && now < holder.until);
        expect(holds, "actions are sent under a lease", || format!("{}: {holder:?}", say()))?;
        let goes =
            matches!(model.status, RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling);
        let state = model.state_of(&post.agent);
        let told = model.told.get(&post.key.agent).map(|told| told.state);
        let running = [state, told].contains(&Some(AgentState::Running));
        expect(goes && running, "only agents that run get actions", || {
            format!("{}: {state:?} in {}", say(), model.status)
        })?;
        expect(post.under_way == 0, "never two requests of one action at once", say)?;
        expect(
            !post.may_be_known,
            "an action that may be known is looked at before it is sent",
            say,
        )?;
        expect(!post.unheard, "who is there is seen after a silence", say)?;
        let accepted = pending.is_some_and(|pending| pending.accepted);
        expect(!accepted, "an accepted action is not sent again", say)?;
        let gave_up = model.given_up.contains(&post.agent);
        expect(busy.is_empty() || gave_up, "an agent gets one action of a run at a time", || {
            format!("{} while it works on {busy:?}", say())
        })?;
        post.under_way += 1;
        Ok(())
    }

    /// Checks that a request is for an agent that stays, and goes to that agent's address.
    pub(crate) fn goes_to(
        &self,
        address: &str,
        id: Uuid,
        runs: &BTreeMap<RunId, RunModel>,
    ) -> Check {
        let Some(post) = self.by_id.get(&id) else { return Ok(()) };
        let model = &runs[&post.run];
        let Some(told) = model.told.get(&post.key.agent) else { return Ok(()) };
        let say = || format!("{id} of {} at {address}: {told:?}", post.agent);
        expect(!told.leaving, "nothing is sent to an agent that leaves", say)?;
        let now = &model.records[&post.key.agent].address;
        let there = address == told.address || address == now;
        expect(there, "an action is sent to the address of its agent", say)
    }

    pub(crate) fn ends(&mut self, id: Uuid, scheduled: &Result<Scheduled, AgentError>) {
        let Some(post) = self.by_id.get_mut(&id) else { return };
        post.under_way = post.under_way.saturating_sub(1);
        post.unheard |= matches!(scheduled, Err(AgentError::Connect { .. }));
        post.may_be_known |= match scheduled {
            Ok(Scheduled::Accepted | Scheduled::Known) => true,
            Err(error) => error.may_have_taken_effect(),
        };
    }

    /// At the agent's address, something has said who it is, or that it can't say so.
    pub(crate) fn told_who(&mut self, agent: &AgentId) {
        for post in self.by_id.values_mut().filter(|post| post.agent == *agent) {
            post.unheard = false;
        }
    }

    pub(crate) fn looked(&mut self, id: Uuid, found: bool) {
        if let Some(post) = self.by_id.get_mut(&id).filter(|post| !found && post.under_way == 0) {
            post.may_be_known = false;
        }
    }

    pub(crate) fn executed(&mut self, id: Uuid) -> Check {
        let Some(post) = self.by_id.get_mut(&id) else {
            self.unannounced += 1;
            return Ok(());
        };
        post.executions += 1;
        // An action that the agent has forgotten may run again, unless its acceptance was committed.
        let once = post.executions <= 1 + post.forgotten;
        expect(once, "an action takes effect once", || format!("{id} of {} ran again", post.agent))
    }

    pub(crate) fn forgot(&mut self, id: Uuid) {
        if let Some(post) = self.by_id.get_mut(&id) {
            post.forgotten += 1;
        }
    }
}
