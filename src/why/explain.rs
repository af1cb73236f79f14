//! The paragraph: one function for each situation of a run.

use super::agents::{action_of, action_out_since, failed, in_flight, not_answering, unheard};
use super::explanation::{ActionOut, Explanation, InFlight, Known, NextCommand};
use super::narrowed::options;
use super::waiting::{whole, without_others};
use super::words::{agents, at, counts, length, moment, near, quoted, since, word};
use crate::run::{
    AgentState, Asks, CANCEL_DEADLINE, KNOWN_FORMAT, Millis, Progress, ReasonCode, Run, RunStatus,
    Snapshot, Timestamp, Unanswered, WaitsFor,
};

/// How long an action may be out in a run that goes on before giving it up is named: most end by
/// themselves.
pub(super) const GIVE_UP_AFTER: Millis = Millis::from_secs(10 * 60);

/// Explains why `run` is as it is at the moment `now`.
///
/// `known` has some of its agents: those in flight that [`most_telling`](super::most_telling) keeps,
/// with their attempts, and some that failed. Which are missing is told by the counts of the run.
///
/// # Example
/// ```
/// use replibook::run::{Timestamp, new_run};
/// use replibook::why::{Known, explain};
/// # use serde_json::{Map, json};
/// # let playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "required",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [],
/// # }))?;
///
/// let id = "0192a3b4-0000-7000-8000-000000000001".parse()?;
/// let created = Timestamp::from_millis(0);
/// let (run, _) = new_run(id, &playbook, Map::new(), "eu", None, created);
/// let why = explain(&run, &Known::default(), Timestamp::from_millis(65_000));
/// let begin = "The run has been PENDING_APPROVE since 1970-01-01T00:00:00Z (1m05s).";
/// assert!(why.text.starts_with(begin), "{}", why.text);
/// assert_eq!(why.next[0].command, format!("run approve {id}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn explain(run: &Run, known: &Known, now: Timestamp) -> Explanation {
    let mut telling = Telling { run, known, now, text: String::new(), next: Vec::new() };
    match run.progress.status {
        RunStatus::PendingApprove => telling.pending_approve(),
        RunStatus::Pending => telling.pending(),
        RunStatus::Starting => telling.starting(),
        RunStatus::Running => telling.running(),
        RunStatus::Paused => telling.paused(),
        RunStatus::Cancelling => telling.cancelling(),
        RunStatus::Finishing => telling.finishing(),
        RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => telling.ended(),
    }
    telling.say_unserved();
    telling.say_needs();
    let actions = telling.actions();
    let Telling { text, next, .. } = telling;
    let (status, since) = (run.progress.status, run.progress.since);
    Explanation { status, since, text, next, actions }
}

pub(super) struct Telling<'a> {
    pub(super) run: &'a Run,
    pub(super) known: &'a Known,
    pub(super) now: Timestamp,
    text: String,
    next: Vec<NextCommand>,
}

impl Telling<'_> {
    pub(super) fn say(&mut self, sentence: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(sentence);
        if !sentence.ends_with(['.', '?', '!']) {
            self.text.push('.');
        }
    }

    /// Names a command of `replictl run`, with the run.
    pub(super) fn offer(&mut self, effect: &str, command: &str) {
        let command = match command.split_once(' ') {
            Some((verb, options)) => format!("run {verb} {} {options}", self.run.id()),
            None => format!("run {command} {}", self.run.id()),
        };
        self.next.push(NextCommand { effect: effect.to_owned(), command });
    }

    /// The actions that may still be running, each once.
    fn actions(&self) -> Vec<ActionOut> {
        let Known { running, failed, silent, waits: _, others_hidden: _ } = self.known;
        let running = running.iter().map(|agent| &agent.record);
        let out = running.chain(silent).chain(failed).filter_map(action_of);
        let mut actions: Vec<ActionOut> = Vec::new();
        for action in out {
            if actions.iter().all(|known| known.agent != action.agent) {
                actions.push(action);
            }
        }
        actions
    }

    /// Names the agents that give no good answer.
    pub(super) fn say_silent(&mut self) {
        if let Some(text) = not_answering(self.run, &self.known.silent, self.now) {
            self.say(&text);
        }
    }

    /// Says that the run would go on, but no engine drives it.
    fn say_unserved(&mut self) {
        match &self.known.waits {
            // It is the whole of what such a run is told.
            None | Some(WaitsFor::Place(_)) => {}
            Some(waits) => self.say(&format!("It {}", self.why_waits(waits))),
        }
    }

    /// Says that engines of this version leave the run alone, if they do.
    fn say_needs(&mut self) {
        let Progress { needs, status, .. } = self.run.progress;
        if needs > KNOWN_FORMAT && !status.is_final() {
            self.say(&format!(
                "It is of format {needs}, and engines of this version know up to {KNOWN_FORMAT}: they leave \
                 it alone, and one of a newer version goes on with it"
            ));
        }
    }

    pub(super) fn count(&self, state: AgentState) -> u32 {
        self.run.progress.count(state)
    }

    /// What the run gives as its reason.
    fn message(&self) -> Option<&str> {
        self.run.progress.reason.as_ref().map(|reason| quoted(&reason.message))
    }

    /// `The run has been PAUSED since 09:00:00 (4m05s)`, and where it is.
    pub(super) fn begin(&mut self, with_stage: bool) {
        let progress = &self.run.progress;
        let (from, lasts) = (moment(progress.since), length(self.now.since(progress.since)));
        let mut text = format!("The run has been {} since {from} ({lasts})", progress.status);
        if with_stage {
            text.push_str(&format!(", in {}", self.stage()));
        }
        if let Some(counts) = counts(&progress.counts).filter(|_| with_stage) {
            text.push_str(&format!(": {counts}"));
        }
        self.say(&text);
        if let Some(of) = &self.run.snapshot.retry_of {
            self.say(&format!("It goes over the {of} agents of run {} again", of.run));
        }
        self.say_narrowed();
        self.say_closing();
        if let Some(gone) = &progress.gone {
            self.say(&gone.to_string());
        }
        self.say_passed_over();
    }

    /// `stage upgrade (2 of 3)`.
    fn stage(&self) -> String {
        let (stages, index) =
            (&self.run.snapshot.playbook.stages, usize::from(self.run.progress.stage.index));
        let name = stages.get(index).map_or("", |stage| stage.name.as_str());
        match stages.len() {
            0 | 1 => format!("stage {name}"),
            all => format!("stage {name} ({} of {all})", index + 1),
        }
    }

    /// Says who has approved what the run asks, whose approval is wanted, and until when.
    pub(super) fn say_approvals(&mut self) {
        if let Some(asks) = self.run.asks().filter(Asks::has_rules) {
            self.say(&format!("It has {}", asks.so_far()));
        }
    }

    fn pending_approve(&mut self) {
        self.begin(false);
        let reason = self.run.progress.reason.as_ref().map(|reason| reason.code);
        if reason == Some(ReasonCode::ApprovalOverdue) {
            let message = self.message().unwrap_or("it was not approved in time").to_owned();
            self.say(&format!("It waits for a person: {message}"));
            self.say("Nothing was done yet");
            self.offer("ask for approval again", "resume");
            self.offer("refuse it", "reject");
            return;
        }
        let message = self.message().unwrap_or("a person has to approve it").to_owned();
        self.say(&format!("It waits for a person: {message}"));
        self.say_approvals();
        self.say("Nothing was done yet");
        self.offer("let it go", "approve");
        self.offer("refuse it", "reject");
    }

    fn why_waits(&self, waits: &WaitsFor) -> String {
        if self.known.others_hidden { without_others(waits) } else { whole(waits) }
    }

    fn pending(&mut self) {
        self.begin(false);
        let cluster = &self.run.snapshot.cluster;
        // Beside other runs there is no queue, and who has its turn has left it.
        let reason = self.run.progress.reason.as_ref().map(|reason| reason.code);
        let is_behind = reason == Some(ReasonCode::ClusterBusy);
        // While the cluster has guards, even a run that may go beside others takes turns.
        let mut queues = self.run.snapshot.locks_cluster() || is_behind;
        match (&self.known.waits, self.message()) {
            // What it waited for last is over.
            (Some(waits @ WaitsFor::Place(_)), _) => {
                queues = false;
                let why = self.why_waits(waits);
                self.say(&format!("It may start on cluster {cluster}, and {why}"));
                self.say("It starts by itself once that engine has a place, or another one has room");
            }
            (_, Some(message)) if queues => {
                let queued = format!("It is queued for cluster {cluster}: it {message}");
                self.say(&queued);
                self.say("It starts by itself when its turn comes");
            }
            (_, _) if queues => self.say(&format!(
                "It is queued for cluster {cluster}, and starts by itself once an engine takes it up"
            )),
            (_, _) => self.say(&format!(
                "It may start on cluster {cluster} beside other runs, and does so by itself once an engine \
                 takes it up"
            )),
        }
        let effect = if queues { "take it out of the queue" } else { "end it before it starts" };
        self.offer(effect, "cancel");
    }

    fn starting(&mut self) {
        self.begin(false);
        let made: u32 =
            self.run.progress.counts.values().fold(0, |sum, count| sum.saturating_add(*count));
        let cluster = &self.run.snapshot.cluster;
        let made = format!(
            "It asks the agents of cluster {cluster} about themselves and makes a record for each, {} \
             so far; then stage {} begins by itself",
            agents(made),
            self.run.stage_name(),
        );
        self.say(&made);
        self.say_unanswered();
        self.offer("end it", "cancel");
    }

    fn running(&mut self) {
        self.begin(true);
        let stage = &self.run.progress.stage;
        let (entering, retrying) = (stage.entering, stage.retrying.is_some());
        let asked = u32::try_from(stage.refresh.len()).unwrap_or(u32::MAX);
        if entering {
            self.say(
                "It takes the agents of the cluster into the stage, which begins by itself then",
            );
            self.say_unanswered();
        }
        if asked > 0 {
            let asked = agents(asked);
            self.say(&format!("The strategy wants to know how {asked} are, before it decides"));
        }
        if let Some(text) = unheard(&self.run.progress.stage.unheard, self.now) {
            self.say(&text);
        }
        if retrying {
            self.say("It puts failed agents back in the queue");
        }
        let busy = self.count(AgentState::Running) > 0;
        if busy {
            self.say_in_flight("It waits for agents that are in flight");
        }
        self.say_silent();
        self.say_held();
        if !entering {
            self.say_planned(busy);
        }
        self.say_left_out();
        self.offer_signals();
        self.offer("start no further agent", "pause");
        self.offer_override();
        self.offer_give_up(GIVE_UP_AFTER);
        self.offer("end it", "cancel");
    }

    /// Says which agents keep the stage from beginning.
    fn say_unanswered(&mut self) {
        let Some(Unanswered { agents: all, first, until }) = &self.run.progress.stage.unanswered
        else {
            return;
        };
        let names: Vec<String> = first.iter().map(ToString::to_string).collect();
        let more =
            if usize::try_from(*all).unwrap_or(usize::MAX) > names.len() { ", …" } else { "" };
        let (agents, names) = (agents(*all), names.join(", "));
        let until = at(*until, self.now);
        self.say(&format!(
            "It asks {agents} again that did not answer ({names}{more}), since whom the stage selects \
             depends on what they say: {until} at the latest they take part as unreachable"
        ));
    }

    pub(super) fn say_in_flight(&mut self, head: &str) {
        let agents = in_flight(self.run, &self.known.running, self.now);
        self.say(&format!("{head}: {agents}"));
    }

    fn cancelling(&mut self) {
        self.begin(true);
        if let Some(message) = self.message() {
            let asked = format!("A person asked for that: {message}");
            self.say(&asked);
        }
        let until = self.run.progress.since.plus(CANCEL_DEADLINE);
        let until = near(until, self.now);
        let closes = self.closes();
        if self.count(AgentState::Running) > 0 {
            let does = match closes {
                true => "Its last stages go on",
                false => "It starts nothing further and waits for actions that are out",
            };
            self.say_in_flight(&format!("{does}, until {until} at the latest"));
        }
        self.say_silent();
        let outcome = self.outcome_of_closing();
        self.say(&format!("Then it ends as {outcome}, by itself"));
        if closes {
            self.offer("end it without them", "cancel");
        }
        self.offer_give_up(Millis(0));
    }

    fn finishing(&mut self) {
        let outcome = self.run.progress.outcome.unwrap_or(RunStatus::Finishing);
        let why = self.message().map(|message| format!(" ({message})")).unwrap_or_default();
        let since = since(self.run.progress.since, self.now);
        self.say(&format!(
            "The run is FINISHING {since}: it ends as {outcome}{why}, by itself, once all its records \
             have their finish time"
        ));
    }

    fn ended(&mut self) {
        let progress = &self.run.progress;
        let ended = progress.finish_ts.or(progress.finishing_at).unwrap_or(progress.since);
        let began = progress.started_at.unwrap_or(self.run.snapshot.created_at);
        let mut text = format!(
            "The run ended as {} at {}, after {}",
            progress.status,
            moment(ended),
            length(ended.since(began))
        );
        if let Some(message) = self.message() {
            text.push_str(&format!(": {message}"));
        }
        self.say(&text);
        if let Some(of) = &self.run.snapshot.retry_of {
            self.say(&format!("It went over the {of} agents of run {} again", of.run));
        }
        self.say_narrowed();
        let stages = self.run.snapshot.number_of_stages();
        match (counts(&progress.outcomes), counts(&progress.counts)) {
            (Some(counts), _) if stages > 1 => {
                self.say(&format!("Over all {stages} stages it left {counts}"));
            }
            // Earlier versions counted only the agents of the last stage.
            (_, Some(counts)) => {
                let stage = self.stage();
                self.say(&format!("In {stage} it left {counts}"));
            }
            (_, None) => self.say("It did not get to any agent"),
        }
        self.say_passed_over();
        self.say_failed();
        self.say_left_out();
        self.offer_after_end();
    }

    fn offer_after_end(&mut self) {
        let progress = &self.run.progress;
        let left = self.left();
        let count = |state: AgentState| left.get(&state).copied().unwrap_or(0);
        let no_agent = left.values().all(|count| *count == 0);
        let is_done = progress.status == RunStatus::Done;
        // A stage on the run may have failed and no agent.
        let failures =
            progress.failures > 0 && (count(AgentState::Failed) > 0 || !progress.stage.once);
        let unfinished = [AgentState::Pending, AgentState::Running, AgentState::Added];
        let settled = count(AgentState::Done) + count(AgentState::Skipped) > 0;
        let is_left = unfinished.into_iter().any(|state| count(state) > 0)
            || self.run.came_to().between && settled;
        let counted = match progress.closing.is_some() {
            true => progress.failures,
            false => progress.stage.failures,
        };
        let cut_off = count(AgentState::Failed) > counted;
        if progress.reason.as_ref().map(|reason| reason.code) == Some(ReasonCode::NobodySelected) {
            let command = format!("get agents --cluster {}", word(&self.run.snapshot.cluster));
            let effect = "see the agents of the cluster".to_owned();
            self.next.push(NextCommand { effect, command });
            return;
        }
        if no_agent && !is_done {
            self.offer_start_anew();
            return;
        }
        if failures {
            self.offer("go over the failed agents again", "retry");
            if self.version_is_at_fault() {
                let effect = "go over them with a mended version";
                self.offer_retry_mended(effect, "retry --failed");
            }
        }
        if is_left || cut_off {
            self.offer("go over those that were not finished", "retry --unfinished");
        }
    }

    /// Of a run that came to nobody: there is nothing to go over again.
    fn offer_start_anew(&mut self) {
        let Snapshot { playbook, cluster, .. } = self.run.snapshot.as_ref();
        let code = self.run.progress.reason.as_ref().map(|reason| reason.code);
        let (effect, version) = match code == Some(ReasonCode::ExpressionFailed) {
            true => ("start a mended version", "VERSION".to_owned()),
            false => ("start it anew", playbook.version.to_string()),
        };
        let (name, cluster) = (word(&playbook.name), word(cluster));
        let narrow = options(&self.run.snapshot.narrowed);
        let command = format!("run start {name}@{version} --cluster {cluster}{narrow}");
        self.next.push(NextCommand { effect: effect.to_owned(), command });
    }

    fn say_passed_over(&mut self) {
        let passed_over = self.run.progress.passed_over;
        if !passed_over.is_none() {
            let were = if passed_over.failures == 1 { "was" } else { "were" };
            let told = passed_over.to_string().replacen("passed", &format!("{were} passed"), 1);
            self.say(&format!("By the playbook {told}"));
        }
    }

    /// Names agents that failed.
    pub(super) fn say_failed(&mut self) {
        if self.count(AgentState::Failed) == 0 || self.known.failed.is_empty() {
            return;
        }
        let text = failed(self.run, &self.known.failed, self.now);
        self.say(&format!("Failed: {text}"));
        if self.version_is_at_fault() {
            self.say(
                "These failures will come again with the same version: only a new version of the \
                 playbook or of the plugin mends them, in a new run",
            );
        }
    }

    /// Names an action that is still out although its agent has failed.
    pub(super) fn say_left_out(&mut self) {
        let out = self.known.failed.iter().find_map(|record| {
            record.outstanding.as_ref().map(|action| (record.agent.clone(), action.since))
        });
        if let Some((agent, from)) = out {
            let since = since(from, self.now);
            self.say(&format!("An action of {agent} may still be running there, {since}"));
        }
    }

    /// Offers to give up the actions that are out for longer than `after`.
    pub(super) fn offer_give_up(&mut self, after: Millis) {
        let (known, now) = (self.known, self.now);
        let is_out = |agent: &&InFlight| {
            action_out_since(agent).is_some_and(|from| now.since(from) >= after)
        };
        for agent in known.running.iter().filter(is_out) {
            let id = &agent.record.agent;
            let effect = format!("wait no longer for {id}");
            self.offer(&effect, &format!("give-up --agent {}", word(id.as_str())));
        }
    }
}
