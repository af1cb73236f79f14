//! What really happened in a history, as the store and the agents tell it, and whether it may happen.
//!
//! Of the engines, the ledger knows only what they wrote and sent. The first thing that must not happen ends
//! the history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use replibook::agent::platform::PlatformError;
use replibook::agent::{ActionRequest, AgentError, Scheduled};
use replibook::clock::Clock;
use replibook::run::{
    AgentId, AgentRecord, Command, Millis, PlatformNode, ReasonCode, Run, RunEvent, RunId,
    RunStatus, Timestamp, Writes,
};
use replibook::store::{Cluster, Engine, Lease, MemoryStore, Store as _};
use uuid::Uuid;

use crate::agents::{Agents, whose};
use crate::asked_model::Asked;
use crate::cluster_plan::STRANGERS;
use crate::ears::Hearing;
use crate::gate::{Gate, lock};
use crate::guard_model::NodesAsked;
use crate::outcome;
use crate::plan::{AgentPlan, Plan, RunPlan};
use crate::platform::stranger;
use crate::post_model::Posts;
use crate::run_model::{Node, RunModel};
use crate::sharing_model::{Held, Sharing};
use crate::web_model::Requests;

/// Something happened that must not happen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Violation {
    /// The rule, which is the same text for each violation of it.
    pub(crate) rule: &'static str,
    pub(crate) what: String,
    /// When it happened, in virtual milliseconds from the start.
    pub(crate) at: u64,
}

/// The result of a check: an error has the rule that is violated, and how.
pub(crate) type Check = Result<(), (&'static str, String)>;

/// An error unless `holds`.
pub(crate) fn expect(holds: bool, rule: &'static str, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err((rule, what())) }
}

/// A history is stopped after this many passages of an engine's border for each second that it may take: many
/// times what the busiest ones need.
const CALLS_A_SECOND: u64 = 200;

/// How old the knowledge of the node at an agent's address may be when the agent starts, together with the
/// longest time that a request takes, in milliseconds.
const FRESH: i64 = 11_000;

/// How long an engine may keep a run in which nothing happens until a person says something.
const PARKED_WITHIN: Millis = Millis::from_secs(20);

/// Which engine has the lease of a run, according to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) engine: usize,
    epoch: u64,
    pub(crate) until: Timestamp,
    since: Timestamp,
}

pub(crate) struct Ledger {
    pub(crate) runs: BTreeMap<RunId, RunModel>,
    pub(crate) posts: Posts,
    pub(crate) requests: Requests,
    hearing: Hearing,
    pub(crate) holders: BTreeMap<RunId, Holder>,
    /// When each run was last committed to.
    pub(crate) touched: BTreeMap<RunId, Timestamp>,
    sharing: Sharing,
    asked: Asked,
    /// When the node of each agent was last asked how it is.
    nodes_asked: NodesAsked,
    /// Whether nothing in this history delays what engines do.
    quiet: bool,
    /// The run that was made ill, so that engines may set it aside.
    pub(crate) ill: Option<RunId>,
    violation: Option<Violation>,
    calls: u64,
    max_calls: u64,
    /// What happened, as text; none unless somebody wants to read it.
    trace: Option<Vec<String>>,
}

#[derive(Clone)]
pub(crate) struct SharedLedger {
    ledger: Arc<Mutex<Ledger>>,
    pub(crate) clock: Arc<dyn Clock>,
    start: Timestamp,
}

impl SharedLedger {
    pub(crate) fn new(clock: Arc<dyn Clock>, start: Timestamp, plan: &Plan, traced: bool) -> Self {
        let agents = (0..plan.agents.len()).map(|agent| format!("node-{agent}"));
        let all = agents.chain((0..STRANGERS).map(stranger)).map(AgentId).collect();
        let ledger = Ledger {
            runs: BTreeMap::new(),
            posts: Posts::default(),
            requests: Requests::default(),
            hearing: Hearing::new(all, plan.is_quiet()),
            holders: BTreeMap::new(),
            touched: BTreeMap::new(),
            sharing: Sharing::new(plan),
            asked: Asked::default(),
            nodes_asked: NodesAsked::new(),
            quiet: plan.is_quiet(),
            ill: None,
            violation: None,
            calls: 0,
            max_calls: plan.ends_by / 1_000 * CALLS_A_SECOND,
            trace: traced.then(Vec::new),
        };
        Self { ledger: Arc::new(Mutex::new(ledger)), clock, start }
    }

    fn at(&self) -> u64 {
        self.clock.now().since(self.start).0
    }

    /// Changes or checks the ledger. A check that fails ends the history.
    pub(crate) fn with(
        &self,
        say: impl FnOnce() -> String,
        check: impl FnOnce(&mut Ledger) -> Check,
    ) {
        let at = self.at();
        let mut ledger = lock(&self.ledger);
        if let Some(trace) = &mut ledger.trace {
            trace.push(format!("{at:>7} {}", say()));
        }
        let checked = check(&mut ledger);
        ledger.conclude(checked, at);
    }

    /// Reads the ledger.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&lock(&self.ledger))
    }

    /// Whether the history is to end, because something is wrong or too many calls were made.
    pub(crate) fn is_over(&self) -> bool {
        let at = self.at();
        let mut ledger = lock(&self.ledger);
        ledger.calls += 1;
        if ledger.calls > ledger.max_calls {
            let what = format!("{} calls were made and it is not over", ledger.calls);
            ledger.conclude(Err(("a run ends", what)), at);
        }
        ledger.violation.is_some()
    }

    /// Something went wrong that no check of the ledger covers.
    pub(crate) fn fail(&self, rule: &'static str, what: String) {
        self.with(|| what.clone(), |_| Err((rule, what.clone())));
    }

    pub(crate) fn note(&self, engine: usize, what: &str) {
        self.with(|| format!("engine {engine} {what}"), |_| Ok(()));
    }

    pub(crate) fn created(&self, run: &Run, events: &[RunEvent], plan: &RunPlan, whole: &Plan) {
        let agents = whole.agents.iter().enumerate();
        let nodes = agents.map(|(n, agent)| (AgentId(format!("node-{n}")), self.node(agent)));
        let nodes = nodes.collect();
        let say = || format!("run {} is created", run.id());
        self.with(say, |ledger| {
            ledger.runs.insert(run.id(), RunModel::new(run, events, plan, nodes));
            Ok(())
        });
    }

    fn node(&self, plan: &AgentPlan) -> Node {
        let windows = plan.other.iter().chain(&plan.proxied);
        let changes = windows.flat_map(|window| [window.from, window.to]);
        let changes = changes.filter(|at| *at < u64::MAX);
        let changes = changes.map(|at| self.start.plus(Millis(at))).collect();
        Node { role: plan.role, changes }
    }

    pub(crate) fn committed(&self, gate: &Gate, run: RunId, epoch: u64, writes: &Writes) {
        let engine = gate.engine;
        let say = || format!("engine {engine} commits {epoch}: {}", outcome::in_words(writes));
        let now = self.clock.now();
        self.with(say, |ledger| {
            ledger.touched.insert(run, now);
            let Ledger { runs, posts, requests, hearing, nodes_asked, .. } = ledger;
            let model = runs.get_mut(&run).ok_or(("runs are created first", run.to_string()))?;
            let (known, leaving) = (model.events.len(), model.leaving.clone());
            model.commit(epoch, writes, now)?;
            model.keeps_guards(known, nodes_asked)?;
            hearing.committed(gate.whose(), model, known, &leaving, now)?;
            if model.status.is_final() {
                hearing.forgets(gate.whose());
            }
            posts.committed(model, &writes.journals);
            requests.committed(model, &writes.journals)?;
            ledger.one_holder()
        });
    }

    /// An engine does not know whether its commit took effect.
    pub(crate) fn unsure(&self, run: RunId) {
        if let Some(model) = lock(&self.ledger).runs.get_mut(&run) {
            model.repeats.unsure();
        }
    }

    /// Checks everything that the store has of a run whose end was just committed.
    pub(crate) async fn finished(&self, run: RunId, store: &MemoryStore) {
        let checked = outcome::check_stamps(run, store).await;
        self.with(|| format!("run {run} is over"), |_| checked);
    }

    /// From now on this run may be set aside.
    pub(crate) fn is_ill(&self, run: RunId) {
        let say = || format!("run {run} is made ill");
        self.with(say, |ledger| {
            ledger.ill = Some(run);
            Ok(())
        });
    }

    /// A person has done something about a run in trouble.
    pub(crate) fn treated(&self, run: RunId, what: &str) {
        self.with(|| format!("run {run} is {what}"), |_| Ok(()));
    }

    /// A part of the end of an abandoned run was made, which may have been the last one.
    pub(crate) async fn may_have_ended(&self, run: RunId, store: &MemoryStore) {
        let finish_ts = match store.read_run(run).await {
            Ok(Some(Ok(run))) => run.progress.finish_ts,
            Ok(Some(Err(damaged))) => damaged.glance.finish_ts,
            Ok(None) | Err(_) => None,
        };
        let is_known = self.read(|ledger| ledger.runs[&run].status.is_final());
        if finish_ts.is_none() || is_known {
            return;
        }
        self.with(
            || format!("run {run}, which was given up, has ended"),
            |ledger| {
                if let Some(model) = ledger.runs.get_mut(&run) {
                    (model.status, model.abandoned) = (RunStatus::Failed, true);
                }
                Ok(())
            },
        );
        self.finished(run, store).await;
    }

    /// An engine has read records as they are stored.
    pub(crate) fn told(&self, run: RunId, records: &[AgentRecord]) {
        if let Some(model) = lock(&self.ledger).runs.get_mut(&run) {
            model.told(records);
        }
    }

    pub(crate) fn read_object(&self, gate: &Gate, object: Option<&Cluster>) {
        let (now, mut ledger) = (self.clock.now(), lock(&self.ledger));
        if let Some(object) = object {
            ledger.hearing.read(gate.whose(), object, now);
        }
    }

    /// A platform has answered an engine.
    pub(crate) fn heard(
        &self,
        gate: &Gate,
        answer: &Result<Option<Vec<PlatformNode>>, PlatformError>,
    ) {
        let now = self.clock.now();
        let say = || format!("engine {} hears {}", gate.engine, outcome::heard_in_words(answer));
        self.with(say, |ledger| {
            if let Ok(Some(nodes)) = answer {
                ledger.hearing.answered(gate.whose(), nodes, now);
            }
            Ok(())
        });
    }

    pub(crate) fn leased(&self, gate: &Gate, leases: &[Lease]) {
        let (now, mut ledger) = (self.clock.now(), lock(&self.ledger));
        for lease in leases {
            let before = ledger.holders.get(&lease.run).copied();
            let same = before.filter(|before| before.epoch == lease.epoch);
            let since = same.map_or(now, |before| before.since);
            if same.is_none() {
                let members = ledger.runs.get(&lease.run).map(RunModel::members_known);
                ledger.hearing.takes(gate.whose(), lease.run, &members.unwrap_or_default(), now);
            }
            let (engine, epoch, until) = (gate.engine, lease.epoch, lease.until);
            ledger.holders.insert(lease.run, Holder { engine, epoch, until, since });
            if before.is_some_and(|before| before.epoch != lease.epoch) {
                ledger.hearing.forgets(gate.whose());
            }
        }
    }

    pub(crate) fn released(&self, gate: &Gate, run: RunId, epoch: u64) {
        let mut ledger = lock(&self.ledger);
        ledger.hearing.forgets(gate.whose());
        if ledger.holders.get(&run).is_some_and(|holder| holder.epoch == epoch) {
            ledger.holders.remove(&run);
        }
    }

    /// An engine that stops has given back all its leases.
    pub(crate) fn released_all(&self, gate: &Gate) {
        let mut ledger = lock(&self.ledger);
        ledger.hearing.forgets(gate.whose());
        ledger.holders.retain(|_, holder| holder.engine != gate.engine);
    }

    pub(crate) fn post_begins(
        &self,
        engine: usize,
        address: &str,
        request: &ActionRequest,
        agents: &Agents,
    ) {
        let now = self.clock.now();
        // Asked before the ledger is locked, as the agents write to it too.
        let busy: Vec<Uuid> = {
            let others = self.read(|ledger| ledger.posts.others_of_attempt(request.id));
            others.into_iter().filter(|id| agents.goes_on(*id)).collect()
        };
        let started = self.read(|ledger| ledger.posts.started(request.id, &ledger.runs));
        let is_other = started.is_some_and(|(agent, at)| {
            let seen = Timestamp::from_millis(at.as_millis() - FRESH);
            agents.was_another(&agent, seen)
        });
        let say = || format!("engine {engine} posts {} {}", request.kind, request.id);
        self.with(say, |ledger| {
            let Ledger { runs, posts, holders, .. } = ledger;
            posts.begins(engine, request, runs, holders, now, &busy)?;
            let rule = "nothing is sent where another node answers";
            expect(!is_other, rule, || format!("{} at {address}", request.id))?;
            posts.goes_to(address, request.id, runs)
        });
    }

    pub(crate) fn post_ends(&self, id: Uuid, scheduled: &Result<Scheduled, AgentError>) {
        let say = || format!("post of {id} ended: {scheduled:?}");
        self.with(say, |ledger| {
            ledger.posts.ends(id, scheduled);
            Ok(())
        });
    }

    /// The node at an agent's address is being asked how it is.
    pub(crate) fn asks_node(&self, address: &str) {
        let Some(agent) = whose(address) else { return };
        let now = self.clock.now();
        lock(&self.ledger).nodes_asked.insert(AgentId(format!("node-{agent}")), now);
    }

    /// The node at an agent's address was asked who it is.
    pub(crate) fn told_who(&self, address: &str) {
        let Some(agent) = whose(address) else { return };
        lock(&self.ledger).posts.told_who(&AgentId(format!("node-{agent}")));
    }

    pub(crate) fn looked(&self, id: Uuid, found: bool) {
        let say = || format!("look at {id}: {}", if found { "known" } else { "unknown" });
        self.with(say, |ledger| {
            ledger.posts.looked(id, found);
            Ok(())
        });
    }

    pub(crate) fn executed(&self, id: Uuid) {
        self.with(|| format!("execution of {id}"), |ledger| ledger.posts.executed(id));
    }

    pub(crate) fn forgot(&self, id: Uuid) {
        self.with(
            || format!("{id} is forgotten"),
            |ledger| {
                ledger.posts.forgot(id);
                Ok(())
            },
        );
    }

    /// A person has sent a command to a run.
    pub(crate) fn asked(&self, command: &Command) {
        let mut ledger = lock(&self.ledger);
        ledger.asked.ask(command.id, command.run, self.clock.now());
        ledger.runs.entry(command.run).and_modify(|run| run.approvals.said(command));
    }

    /// Checks what has to hold between events. `engines` is what engines say about themselves.
    pub(crate) fn look(&self, engines: &[Engine]) {
        let (now, at) = (self.clock.now(), self.at());
        let mut ledger = lock(&self.ledger);
        let checked = ledger.nobody_waits_with_a_person(now);
        let checked = checked.and_then(|()| ledger.look_at(engines, now));
        ledger.conclude(checked, at);
    }

    /// An engine let a run go so that another engine can have it.
    pub(crate) fn went(&self, engine: usize, engines: &[Engine]) {
        let now = self.clock.now();
        self.with(
            || format!("engine {engine} lets a run go"),
            |ledger| {
                ledger.look_at(engines, now)?;
                if ledger.quiet { ledger.sharing.went(engine, now) } else { Ok(()) }
            },
        );
    }

    /// Checks what has to hold once everything is over.
    pub(crate) fn close(&self, plan: &Plan) {
        self.with(|| "the end".to_owned(), |ledger| outcome::check_end(ledger, plan));
    }

    /// What went wrong, and the trace.
    pub(crate) fn conclusion(&self) -> (Option<Violation>, Vec<String>) {
        let mut ledger = lock(&self.ledger);
        (ledger.violation.clone(), ledger.trace.take().unwrap_or_default())
    }
}

impl Ledger {
    fn conclude(&mut self, checked: Check, at: u64) {
        if let (Err((rule, what)), None) = (checked, &self.violation) {
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{at:>7} VIOLATION of \"{rule}\": {what}"));
            }
            self.violation = Some(Violation { rule, what, at });
        }
    }

    /// Checks how runs are spread over the engines.
    fn look_at(&mut self, engines: &[Engine], now: Timestamp) -> Check {
        if !self.quiet {
            return Ok(());
        }
        let mut held = BTreeMap::<usize, Held>::new();
        for (run, holder) in self.holders.iter().filter(|(_, holder)| holder.until > now) {
            let status = self.runs.get(run).map_or(RunStatus::Done, |run| run.status);
            let held = held.entry(holder.engine).or_default();
            held.all += usize::from(!status.is_final());
            held.waiting += usize::from(status == RunStatus::Pending);
        }
        self.sharing.look(engines, &held, now)?;
        self.asked.look(&self.runs, self.sharing.takes_some(engines, now), now)
    }

    /// Checks that at most one run holds the cluster, which is the only one. A run that ends in the queue
    /// never held it.
    fn one_holder(&self) -> Check {
        let locks = |run: &RunModel| run.snapshot.locks_cluster();
        let holds = |run: &&RunModel| {
            locks(run) && run.status.holds_cluster() && run.progress.started_at.is_some()
        };
        let holding = self.runs.values().filter(holds).count();
        expect(holding <= 1, "one run holds a cluster", || format!("{holding} runs hold it"))
    }

    /// Checks that no engine keeps a run that only waits for a person.
    fn nobody_waits_with_a_person(&self, now: Timestamp) -> Check {
        let rule = "a run that waits for a person keeps no engine";
        for run in self.runs.values().filter(|run| self.quiet && run.only_waits()) {
            let Some(holder) = self.holders.get(&run.id).filter(|holder| holder.until > now) else {
                continue;
            };
            let touched = self.touched.get(&run.id).copied().unwrap_or_default();
            let waits = now.since(touched.max(holder.since).max(run.progress.since));
            let say = || format!("engine {} keeps run {} for {waits:?}", holder.engine, run.id);
            expect(waits <= PARKED_WITHIN, rule, say)?;
        }
        Ok(())
    }

    /// Whether all runs have ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.runs.values().all(|run| run.status.is_final())
    }

    /// The runs that wait for a person: their status, the reason, and since when.
    pub(crate) fn waiting(&self) -> Vec<(RunId, RunStatus, Option<ReasonCode>, Timestamp)> {
        let waits =
            |run: &&RunModel| matches!(run.status, RunStatus::Paused | RunStatus::PendingApprove);
        let waiting = self.runs.values().filter(waits);
        let why = |run: &RunModel| run.progress.reason.as_ref().map(|reason| reason.code);
        waiting.map(|run| (run.id, run.status, why(run), run.progress.since)).collect()
    }
}
