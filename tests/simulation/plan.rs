//! What happens in one history, as plain data: made from a seed, run, and made smaller when it fails.
//!
//! All times are milliseconds of virtual time from the start of the history, or lengths in such.

use replibook::playbook::Membership;

use crate::cluster_plan::PlatformPlan;

/// One history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) agents: Vec<AgentPlan>,
    /// The platform that tells of agents which the Cluster object does not list; without one that lists
    /// all agents.
    pub(crate) platform: Option<PlatformPlan>,
    pub(crate) runs: Vec<RunPlan>,
    pub(crate) engines: Vec<EnginePlan>,
    pub(crate) drains: Vec<DrainPlan>,
    pub(crate) outages: Vec<Outage>,
    pub(crate) commands: Vec<CommandPlan>,
    /// A run that can't go on.
    pub(crate) ill: Option<IllPlan>,
    /// How long a run that waits for a person does so before the operator lets it go on.
    pub(crate) patience: u64,
    /// After how long without a good answer an agent counts as unreachable.
    pub(crate) agent_patience: u64,
    /// Its end does not depend on when things happen: without what disturbs it between engine, store
    /// and agents it has to end in the same way.
    pub(crate) timeless: bool,
    /// Whether what engines notice of calls in flight is told to people.
    pub(crate) tells: bool,
    /// By then every run has to have ended.
    pub(crate) ends_by: u64,
}

/// From then on nothing goes wrong any more, and every run has to end.
pub(crate) const CALM: u64 = 150_000;

/// How long everything may take from then on: a cancelled run waits five minutes for what is out, and the
/// operator waits too. The slowest start one agent after the other, each of whose steps is tried five times
/// with half a minute between, and has that put back twice: they need little more than half an hour.
pub(crate) const PATIENCE: u64 = 90 * 60_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentPlan {
    /// What becomes of its actions, one for each step of each stage.
    pub(crate) actions: Vec<ActionPlan>,
    /// It is of the kind that runs an action again when it is sent again.
    pub(crate) runs_again: bool,
    /// How long a request takes, both ways together.
    pub(crate) latency: u64,
    /// It forgets actions so long after they ended.
    pub(crate) purges: Option<u64>,
    /// Nothing gets through to it then.
    pub(crate) away: Option<Window>,
    /// Nothing that it answers can be read then; what it is sent takes effect.
    pub(crate) garbles: Option<Window>,
    /// It refuses to say anything about its node then.
    pub(crate) denies: Option<Window>,
    /// A proxy before it has lost its way to it then, and answers 404 to everything.
    pub(crate) proxied: Option<Window>,
    /// Its node is not healthy then.
    pub(crate) ill: Option<Window>,
    /// The group that it is in.
    pub(crate) group: Option<u32>,
    /// Whether the Cluster object lists it.
    pub(crate) listed: bool,
    /// When it is no member of the cluster.
    pub(crate) gone: Vec<Window>,
    /// When it gets another address.
    pub(crate) moves: Vec<u64>,
    /// Another node answers at its address then, and does all that is asked of it.
    pub(crate) other: Option<Window>,
    /// What its node says that it does: one of two roles.
    pub(crate) role: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ActionPlan {
    /// What happens to the first requests to schedule it.
    pub(crate) posts: Vec<PostFault>,
    pub(crate) takes: u64,
    /// So many attempts fail before one ends as `end` says.
    pub(crate) flaky: u32,
    pub(crate) end: End,
}

impl ActionPlan {
    /// How an attempt ends, from 1.
    pub(crate) fn end_of(&self, attempt: u32) -> End {
        if attempt <= self.flaky { End::Failed } else { self.end }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostFault {
    /// It takes effect; the answer is lost.
    AnswerLost,
    /// It takes effect so long after its sender was told that it failed.
    Late(u64),
    /// Something holds it for so long before the agent has it, and its answer comes after that.
    Held(u64),
    /// It is lost on its way.
    Lost,
    /// The agent answers 503, without effect.
    Broken,
    /// It takes effect; the answer can't be read.
    Garbled,
    /// It is lost on its way, and somebody else gives an answer that can't be read.
    Stray,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
    Refused,
    /// The agent no longer knows it, in place of an end.
    Forgotten,
    /// It does not end before everything is calm.
    Stalled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Window {
    pub(crate) fn holds(&self, at: u64) -> bool {
        self.from <= at && at < self.to
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunPlan {
    pub(crate) at: u64,
    pub(crate) approval: bool,
    /// Whether it allows other runs beside it.
    pub(crate) beside: bool,
    pub(crate) stages: Vec<StagePlan>,
    /// How often the operator has agents tried again before letting a run go on without them.
    pub(crate) retries: u32,
}

/// The most stages of a playbook.
pub(crate) const STAGES: usize = 3;

/// The most steps of a stage.
pub(crate) const STEPS: usize = 3;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StagePlan {
    pub(crate) strategy: StrategyPlan,
    pub(crate) max_failed: Size,
    /// Whether the failures of stages before count too.
    pub(crate) of_run: bool,
    /// Whether too many failures end the run; otherwise they pause it.
    pub(crate) aborts: bool,
    pub(crate) membership: Membership,
    /// Only agents of this role, which their nodes say, take part.
    pub(crate) selects: Option<Selects>,
    pub(crate) steps: Vec<StepPlan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selects {
    pub(crate) role: u32,
    /// Whether it is asked first if the node says a role at all.
    pub(crate) guarded: bool,
}

impl Selects {
    /// Whether the stage with this index selects by what shards say, else by an attribute.
    pub(crate) fn looks_at_shards(self, stage: usize) -> bool {
        !self.guarded && stage % 2 == 1
    }
}

/// How often canaries are asked while they are watched.
pub(crate) const WATCHED: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StrategyPlan {
    AllAtOnce,
    Batches(Size),
    Window(Size),
    Canary {
        canaries: Size,
        soak: u64,
        /// Whether a person is asked after it.
        approval: bool,
        /// The batches after it; the last one counts for all that are left.
        batches: [Size; 2],
        /// Whether a person is asked when agents are ill; otherwise that ends the run.
        asks: bool,
    },
    /// Two at a time, by a strategy that is asked again and again while it waits, and logs each time.
    Chatty {
        /// Whether its memo is another one each time.
        counts: bool,
        /// Whether it gives no decision now and then, which pauses the run.
        stumbles: bool,
    },
    Grouped {
        /// Agents of a group at a time.
        batch: Size,
        window: bool,
        /// Whether the groups go in the reverse order.
        backwards: bool,
        soak: u64,
    },
}

impl StrategyPlan {
    /// One that decides the same whenever its agents end and whatever they say.
    fn timeless(self) -> Self {
        match self {
            Self::Window(size) => Self::Batches(size),
            Self::Canary { canaries, soak, approval, batches, asks: _ } => {
                Self::Canary { canaries, soak, approval, batches, asks: true }
            }
            Self::Grouped { batch, window: _, backwards, soak } => {
                Self::Grouped { batch, window: false, backwards, soak }
            }
            Self::Chatty { counts, stumbles: _ } => Self::Chatty { counts, stumbles: false },
            Self::AllAtOnce | Self::Batches(_) => self,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Count(u32),
    Percent(u32),
}

impl Size {
    pub(crate) fn of(self, agents: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => agents * percent / 100,
        }
    }
}

/// Bytes of large arguments: their request may be on its way for half a minute longer than others. A playbook has
/// room for one such step.
pub(crate) const LARGE: usize = 512 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepPlan {
    pub(crate) work: Work,
    /// Its action has arguments of [`LARGE`] bytes.
    pub(crate) large: bool,
    /// How long an attempt may take.
    pub(crate) timeout: Option<u64>,
    /// Attempts, and the wait before the second.
    pub(crate) retry: Option<(u32, u64)>,
    /// Whether the node has to be healthy just before it.
    pub(crate) requires: bool,
    /// Whether its failure lets the agent go on.
    pub(crate) goes_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Action,
    /// Waits for a healthy node, up to so many seconds.
    WaitHealthy(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnginePlan {
    /// When it is started for the first time.
    pub(crate) at: u64,
    /// So far is its clock ahead of the store's; below zero it is behind.
    pub(crate) ahead: i64,
    /// The most runs that it drives at once.
    pub(crate) max_runs: usize,
    /// When it is asked to stop, and so long after its end the next one is there.
    pub(crate) stops: Option<(u64, u64)>,
    /// What happens to it, one after the other.
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) faults: Vec<StoreFault>,
}

/// An engine is to hand over its runs and take no more then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DrainPlan {
    /// Index of the engine.
    pub(crate) engine: usize,
    pub(crate) window: Window,
}

/// At the `nth` passage of a point, counted from the trouble before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) point: Point,
    pub(crate) side: Side,
    pub(crate) nth: u32,
    pub(crate) what: Interruption,
}

/// Where an engine reaches out of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A run, its records or its journals are read.
    Load,
    Commit,
    /// An action is sent to an agent.
    Post,
    /// An agent is asked how far an action is.
    Look,
    /// Records get their `finish_ts`.
    Stamp,
    /// Leases are taken, renewed and given back.
    Lease,
    /// Everything else that is asked of the store or of agents.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of it has happened.
    Before,
    /// It took effect, but its answer was not seen.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The process dies, and another one is there so much later.
    Killed { back_after: u64 },
    /// The process stands still for so long, and goes on.
    Frozen { length: u64 },
}

/// The `nth` commit of an engine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreFault {
    pub(crate) nth: u32,
    pub(crate) side: Side,
}

/// Every call to the store fails for a while, for all engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) window: Window,
    pub(crate) side: Side,
}

/// What becomes of a run that has not ended by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IllPlan {
    pub(crate) at: u64,
    /// Index of the run.
    pub(crate) run: usize,
    pub(crate) what: Illness,
    /// How long the operator leaves a run in trouble alone.
    pub(crate) patience: u64,
    /// Whether the operator mends it then, and does not give it up.
    pub(crate) mended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illness {
    /// Somebody damages a document of it, which an engine notices when it takes the run up.
    Damaged(Part),
    /// The store refuses all its commits.
    Refused,
    /// None: the operator gives it up all the same.
    None,
}

/// Which document of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Snapshot,
    Progress,
    /// The agent record with this number, where there is one.
    Record(u32),
    /// The journal of the newest attempt of the last agent that has one.
    Journal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommandPlan {
    pub(crate) at: u64,
    /// Index of the run.
    pub(crate) run: usize,
    pub(crate) verb: replibook::run::Verb,
    /// Index of the agent that it is about.
    pub(crate) agent: Option<usize>,
}

impl Plan {
    /// The same without anything that goes wrong between engine, store and agents, and without what engines
    /// tell of that.
    pub(crate) fn undisturbed(&self) -> Self {
        let mut plan = self.clone();
        plan.tells = false;
        plan.outages.clear();
        plan.drains.clear();
        for engine in &mut plan.engines {
            (engine.ahead, engine.stops) = (0, None);
            engine.troubles.clear();
            engine.faults.clear();
        }
        for action in plan.agents.iter_mut().flat_map(|agent| &mut agent.actions) {
            action.posts.clear();
        }
        plan
    }

    /// Makes it one whose end does not depend on when things happen.
    pub(crate) fn make_timeless(&mut self) {
        self.timeless = true;
        self.ill = None;
        self.commands.clear();
        self.keep_members();
        // The start of a run waits for a platform so long and no longer, also when its engine was frozen.
        let frozen = |trouble: &Trouble| matches!(trouble.what, Interruption::Frozen { .. });
        if self.engines.iter().flat_map(|engine| &engine.troubles).any(frozen) {
            self.platform = None;
        }
        // Longer than all that may come together before an agent answers well.
        self.agent_patience = 600_000;
        for agent in &mut self.agents {
            (agent.away, agent.ill, agent.purges) = (None, None, None);
            (agent.garbles, agent.denies) = (None, None);
            (agent.other, agent.proxied) = (None, None);
            for action in &mut agent.actions {
                // An attempt ends with it, since another request would end no better.
                action.posts.retain(|fault| *fault != PostFault::Stray);
                if matches!(action.end, End::Forgotten | End::Stalled) {
                    action.end = End::Failed;
                }
            }
        }
        for run in &mut self.runs {
            run.retries = 0;
            for stage in &mut run.stages {
                stage.strategy = stage.strategy.timeless();
                for step in &mut stage.steps {
                    step.timeout = None;
                    if let Work::WaitHealthy(seconds) = &mut step.work {
                        // Longer than an engine stands still.
                        *seconds = 600;
                    }
                }
            }
        }
    }
}
