//! Plays one history, from its plan to what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use replibook::clock::{Clock, TokioClock};
use replibook::playbook::PluginInfo;
use replibook::plugin::PluginHost;
use replibook::run::{
    AgentId, Approves, Command, CommandId, Digest, EngineId, Millis, ReasonCode, RunId, RunSeed,
    RunStatus, SentSignal, Timestamp, Verb, new_run, seeded,
};
use replibook::store::{
    Cluster, MemoryStore, NewRun, Plugin, Store as _, StoreError, StoreOptions,
};
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::agents::Agents;
use crate::alarm::Alarm;
use crate::campaign::GUESTS;
use crate::documents;
use crate::engines::{self, Surroundings};
use crate::guard_plan::START;
use crate::illness::Patient;
use crate::ledger::{SharedLedger, Violation};
use crate::outcome::Outcome;
use crate::plan::{CALM, Plan, RunPlan, SignalPlan};
use crate::platform::Platforms;
use crate::web::Web;

/// How often the history is looked at from outside.
const LOOK: Millis = Millis(500);

/// The outcome of a history.
pub(crate) struct Told {
    pub(crate) violation: Option<Violation>,
    pub(crate) outcome: Outcome,
    /// How many virtual milliseconds it took.
    pub(crate) lasted: u64,
    pub(crate) trace: Vec<String>,
}

/// Plays a plan, on this thread.
pub(crate) fn play(plan: &Plan, plugins: &PluginHost, traced: bool) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let told = runtime.block_on(async {
        let start = START;
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let ledger = SharedLedger::new(clock.clone(), start, plan, traced);
        let _alarm = tracing::subscriber::set_default(Alarm::new(ledger.clone()));
        History::new(plan, plugins, clock, start, ledger).await.play().await
    });
    // Tasks that are frozen or dead are still there.
    runtime.shutdown_background();
    told
}

struct History<'a> {
    plan: &'a Plan,
    around: Surroundings,
    /// The plugins that are in the store.
    known: Vec<PluginInfo>,
    commands: u128,
    /// How often the operator had agents of each run tried again, and in which pause the last time.
    retried: BTreeMap<RunId, (u32, Timestamp)>,
    patient: Option<Patient>,
    /// The sums of what each run has asked so far, as people saw it.
    seen: BTreeMap<RunId, Vec<Digest>>,
    /// When the Cluster object was to change last, if its guards were refused then. They are applied again until no
    /// run stands in their way.
    refused: Option<u64>,
}

impl<'a> History<'a> {
    async fn new(
        plan: &'a Plan,
        plugins: &PluginHost,
        clock: Arc<dyn Clock>,
        start: Timestamp,
        ledger: SharedLedger,
    ) -> Self {
        let memory = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
        replibook::api::install_builtins(memory.as_ref(), plugins, clock.as_ref()).await.unwrap();
        let (text, spec) = documents::cluster(plan, 0);
        memory.put_cluster(&Cluster { text, spec, applied_at: start }).await.unwrap();
        let shared = Arc::new(plan.clone());
        let builtins = plugins.builtins().iter().map(|builtin| builtin.info.clone());
        let mut known: Vec<_> = builtins.collect();
        for (info, bytes) in GUESTS.iter().cloned() {
            memory.put_plugin(&Plugin::new(info.clone(), start), bytes).await.unwrap();
            known.push(info);
        }
        let around = Surroundings {
            memory,
            agents: Agents::new(&plan.agents, clock.clone(), start, ledger.clone()),
            platforms: Platforms::new(shared, clock.clone(), start),
            web: Web::new(&plan.agents, clock.clone(), start, ledger.clone()),
            clock,
            start,
            plugins: plugins.clone(),
            outages: plan.outages.clone().into(),
            ledger,
            unreachable_after: Millis(plan.agent_patience),
            tells: plan.tells,
        };
        let patient = plan.ill.map(|ill| Patient::new(ill, run_id(ill.run)));
        Self {
            plan,
            around,
            known,
            commands: 0,
            retried: BTreeMap::new(),
            patient,
            seen: BTreeMap::new(),
            refused: None,
        }
    }

    async fn play(mut self) -> Told {
        let stop = CancellationToken::new();
        let engines: Vec<_> = self
            .plan
            .engines
            .iter()
            .enumerate()
            .map(|(number, plan)| {
                let live = engines::live(self.around.clone(), number, plan.clone(), stop.clone());
                tokio::spawn(live)
            })
            .collect();
        self.watch().await;
        let lasted = self.around.clock.now().since(self.around.start).0;
        stop.cancel();
        let ledger = self.around.ledger.clone();
        for engine in engines {
            let patience = Millis::from_secs(120).to_std();
            if !ledger.is_over() && tokio::time::timeout(patience, engine).await.is_err() {
                ledger.fail("an engine stops when it is asked to", String::new());
            }
        }
        if !ledger.is_over() {
            ledger.close(self.plan);
        }
        let outcome = ledger.read(Outcome::of);
        let (violation, trace) = ledger.conclusion();
        Told { violation, outcome, lasted, trace }
    }

    /// Does what people do, until all runs have ended or something is wrong.
    async fn watch(&mut self) {
        let mut runs: Vec<usize> = (0..self.plan.runs.len()).collect();
        runs.sort_by_key(|run| self.plan.runs[*run].at);
        let mut runs = runs.into_iter().peekable();
        let mut commands = self.plan.commands.clone();
        commands.sort_by_key(|command| command.at);
        let mut commands = commands.into_iter().peekable();
        let mut signals = self.plan.signals.clone();
        signals.sort_by_key(|signal| signal.at);
        let mut signals = signals.into_iter().peekable();
        let mut turns = self.plan.turns().into_iter().peekable();
        let mut drains = self.plan.drain_turns().into_iter().peekable();
        let ledger = self.around.ledger.clone();
        loop {
            let at = self.around.clock.now().since(self.around.start).0;
            if let Some(turn) = self.refused {
                self.apply_cluster(turn).await;
            }
            while let Some(turn) = turns.next_if(|turn| *turn <= at) {
                self.apply_cluster(turn).await;
            }
            while let Some((_, engine, drain)) = drains.next_if(|(turn, ..)| *turn <= at) {
                self.drain(engine, drain).await;
            }
            while let Some(run) = runs.next_if(|run| self.plan.runs[*run].at <= at) {
                self.start_run(run).await;
            }
            while let Some(command) = commands.next_if(|command| command.at <= at) {
                let agent = command.agent.map(|agent| AgentId(format!("node-{agent}")));
                self.command(run_id(command.run), command.verb, agent).await;
            }
            while let Some(signal) = signals.next_if(|signal| signal.at <= at) {
                self.signal(signal).await;
            }
            if ledger.is_over() || runs.peek().is_none() && ledger.read(|l| l.all_ended()) {
                return;
            }
            if let Some(patient) = &mut self.patient {
                patient.look(at, &self.around).await;
            }
            self.operate().await;
            ledger.look(&self.around.memory.engines().await.unwrap());
            if at > self.plan.ends_by {
                let left = ledger.read(|ledger| {
                    let left = ledger.runs.values().filter(|run| !run.status.is_final());
                    left.map(|run| (run.status, run.progress.reason.clone())).collect::<Vec<_>>()
                });
                ledger.fail("a run ends", format!("{left:?}"));
            }
            let due = runs.peek().map(|run| self.plan.runs[*run].at);
            let due = due.into_iter().chain(turns.peek().copied());
            let due = due.chain(drains.peek().map(|(turn, ..)| *turn));
            let due = due.chain(signals.peek().map(|signal| signal.at));
            let next = due.chain(commands.peek().map(|command| command.at)).min();
            let wait = next.map_or(LOOK.0, |next| LOOK.0.min(next.saturating_sub(at)));
            self.around.clock.sleep(Millis(wait).to_std()).await;
        }
    }

    /// Applies the Cluster object of this moment, if it has changed.
    /// Where first guards are refused because several runs go, all but them.
    async fn apply_cluster(&mut self, at: u64) {
        let applied_at = self.around.clock.now();
        let put = async |(text, spec)| {
            self.around.memory.put_cluster(&Cluster { text, spec, applied_at }).await
        };
        self.refused = match put(documents::cluster(self.plan, at)).await {
            Err(StoreError::ClusterInUse { .. }) => {
                put(documents::cluster_without_guards(self.plan, at)).await.unwrap();
                Some(at)
            }
            put => {
                put.unwrap();
                None
            }
        };
    }

    /// Drains an engine or ends its draining, whichever life the engine is in.
    async fn drain(&self, engine: usize, drain: bool) {
        let memory = &self.around.memory;
        self.around.ledger.note(engine, if drain { "is drained" } else { "takes runs again" });
        let is_it = |id: &EngineId| id.0.starts_with(&format!("engine-{engine}."));
        for known in memory.engines().await.unwrap() {
            let id = known.report.id;
            if is_it(&id) {
                memory.drain_engine(&id, drain, None, None).await.unwrap();
            }
        }
    }

    async fn start_run(&mut self, index: usize) {
        let plan = &self.plan.runs[index];
        let playbook = documents::playbook(plan, &self.known);
        let (id, now) = (run_id(index), self.around.clock.now());
        let by = plan.approvers.map(|approvers| approvers.starter().to_owned());
        let (run, events) = new_run(id, &playbook, Map::new(), documents::CLUSTER, by, now);
        let (run, events) = replibook::run::narrowed((run, events), plan.narrow.of(&playbook));
        let run = seeded(run, || RunSeed::new([3; 32]));
        self.around.ledger.created(&run, &events, plan, self.plan);
        let request = Digest::of(b"simulated");
        let new = NewRun { run, events, idempotency_key: None, request };
        self.around.memory.create_run(&new).await.unwrap();
    }

    /// Lets runs go on that have waited for a person for long enough.
    async fn operate(&mut self) {
        let now = self.around.clock.now();
        let calm = now.since(self.around.start).0 > CALM;
        for (run, status, why, since) in self.around.ledger.read(|ledger| ledger.waiting()) {
            let asked = self.commands;
            let hurries = calm && self.plan_of(run).approvers.is_some();
            if now.since(since).0 < self.plan.patience && !hurries {
                continue;
            }
            let verb = match status {
                RunStatus::PendingApprove if why == Some(ReasonCode::ApprovalOverdue) => {
                    Verb::Resume
                }
                RunStatus::PendingApprove => Verb::Approve,
                // Some operators first try a command that is refused.
                _ if why == Some(ReasonCode::Approval) && asked.is_multiple_of(3) => Verb::Resume,
                _ if why == Some(ReasonCode::Approval) => self.retry_or(Verb::Approve, run, since),
                // If all agents have left the cluster for good, another stage would find none.
                _ if calm && why == Some(ReasonCode::StartFailed) => Verb::Cancel,
                _ => self.retry_or(Verb::Resume, run, since),
            };
            // A store or an engine that is away makes the last command wait. One command at a time is enough.
            let engine = CommandId(Uuid::from_u128(COMMANDS + asked));
            if asked > 0 && self.is_waiting(engine).await {
                continue;
            }
            match verb {
                Verb::Approve => self.approve(run, calm).await,
                _ => self.command(run, verb, None).await,
            }
        }
    }

    fn plan_of(&self, run: RunId) -> &'a RunPlan {
        let index = (0..self.plan.runs.len()).find(|index| run_id(*index) == run).unwrap();
        &self.plan.runs[index]
    }

    /// Somebody approves what the run asks; some approve what they saw long ago.
    async fn approve(&mut self, run: RunId, calm: bool) {
        let Some(approvers) = self.plan_of(run).approvers else {
            return self.command(run, Verb::Approve, None).await;
        };
        let ledger = self.around.ledger.clone();
        let question = ledger.read(|ledger| ledger.runs[&run].progress.question.clone());
        let Some(question) = question else { return };
        let seen = self.seen.entry(run).or_default();
        if seen.last() != Some(&question.seen) {
            seen.push(question.seen.clone());
        }
        let mixed = u64::try_from(self.commands + 1).unwrap().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mixed >> 32;
        let is_old = !calm && mixed.is_multiple_of(3);
        let seen = if is_old { seen[0].clone() } else { question.seen.clone() };
        let person = approvers.next(&question, mixed, calm);
        let approves = person.approves(seen);
        let asked =
            Asked { by: person.name, approves: Some(approves), ..Asked::new(Verb::Approve) };
        self.submit(run, asked).await;
    }

    fn retry_or(&mut self, go_on: Verb, run: RunId, since: Timestamp) -> Verb {
        let (times, last) = self.retried.get(&run).copied().unwrap_or_default();
        if times >= self.plan_of(run).retries || last == since {
            return go_on;
        }
        self.retried.insert(run, (times + 1, since));
        Verb::Retry
    }

    async fn is_waiting(&self, id: CommandId) -> bool {
        let command = self.around.memory.command(id).await.unwrap();
        command.is_some_and(|command| command.outcome.is_none() && command.finish_ts.is_none())
    }

    async fn command(&mut self, run: RunId, verb: Verb, agent: Option<AgentId>) {
        self.submit(run, Asked { agent, ..Asked::new(verb) }).await;
    }

    /// Sends a signal, unless its run does not exist yet.
    async fn signal(&mut self, plan: SignalPlan) {
        let run = run_id(plan.run);
        if !self.around.ledger.read(|ledger| ledger.runs.contains_key(&run)) {
            return;
        }
        let payload = json!(self.commands).into();
        let signal = SentSignal { name: documents::SIGNAL.to_owned(), payload };
        let agent = plan.agent.map(|agent| AgentId(format!("node-{agent}")));
        let asked = Asked { agent, signal: Some(signal), ..Asked::new(Verb::Signal) };
        self.submit(run, asked).await;
    }

    async fn submit(&mut self, run: RunId, asked: Asked) {
        let Asked { verb, agent, signal, approves, by } = asked;
        self.commands += 1;
        let command = Command {
            // Some operators want actions that ended well late to be done again.
            again: verb == Verb::Retry && self.commands.is_multiple_of(4),
            id: CommandId(Uuid::from_u128(COMMANDS + self.commands)),
            run,
            verb,
            signal,
            override_guard: None,
            approves,
            actor: Some(by.to_owned()),
            agent,
            why: None,
            at: self.around.clock.now(),
            outcome: None,
            finish_ts: None,
        };
        self.around.ledger.asked(&command);
        self.around.memory.submit(&command).await.unwrap();
    }
}

/// What is asked of a run, and by whom.
struct Asked {
    verb: Verb,
    agent: Option<AgentId>,
    signal: Option<SentSignal>,
    approves: Option<Approves>,
    by: &'static str,
}

impl Asked {
    fn new(verb: Verb) -> Self {
        Self { verb, agent: None, signal: None, approves: None, by: "ann" }
    }
}

/// Where the identifiers of commands begin.
const COMMANDS: u128 = 2 << 64;

fn run_id(index: usize) -> RunId {
    RunId(Uuid::from_u128((1 << 64) + index as u128))
}
