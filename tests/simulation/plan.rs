//! What happens in one history, as plain data: made from a seed, played, and made smaller when it fails.
//!
//! All times are virtual milliseconds from the start of the history; lengths are in milliseconds too.

use replibook::playbook::{Membership, StepRole};

use crate::approval_plan::ApproversPlan;
use crate::cluster_plan::PlatformPlan;
use crate::guard_plan::GuardsPlan;
use crate::post_fault::PostFault;

/// One history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) agents: Vec<AgentPlan>,
    /// The platform that tells of agents that the Cluster object does not list. Without a platform, the
    /// Cluster object lists all agents.
    pub(crate) platform: Option<PlatformPlan>,
    pub(crate) runs: Vec<RunPlan>,
    pub(crate) engines: Vec<EnginePlan>,
    pub(crate) drains: Vec<DrainPlan>,
    pub(crate) outages: Vec<Outage>,
    pub(crate) commands: Vec<CommandPlan>,
    pub(crate) signals: Vec<SignalPlan>,
    /// The guards of the Cluster object, in the order of their moments.
    pub(crate) guards: Vec<GuardsPlan>,
    /// A run that is made unable to go on.
    pub(crate) ill: Option<IllPlan>,
    /// How long a run waits for a person before the operator lets it go on.
    pub(crate) patience: u64,
    /// After how long without a good answer an agent counts as unreachable.
    pub(crate) agent_patience: u64,
    /// Whether the end does not depend on when things happen: then it has to be the same without the
    /// disturbances between engine, store and agents.
    pub(crate) timeless: bool,
    /// Whether people are told what engines notice about calls in flight.
    pub(crate) tells: bool,
    /// Every run has to have ended by then.
    pub(crate) ends_by: u64,
}

/// From then on nothing goes wrong any more, and every run has to end.
pub(crate) const CALM: u64 = 150_000;

/// How long everything may take from then on. A cancelled run waits five minutes for actions in flight, and
/// the operator waits too. The slowest runs start one agent after the other, whose steps are tried five times
/// each, half a minute apart, and which are put back twice: they need little more than half an hour.
pub(crate) const PATIENCE: u64 = 90 * 60_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentPlan {
    /// What happens to its actions: one for each step of each stage.
    pub(crate) actions: Vec<ActionPlan>,
    /// Whether the agent runs an action again if the action is sent again.
    pub(crate) runs_again: bool,
    /// How long a request and its answer take together.
    pub(crate) latency: u64,
    /// How long after its end the agent forgets an action; none if it never does.
    pub(crate) purges: Option<u64>,
    /// How many actions that have ended it keeps, the last ones; none if it keeps all.
    pub(crate) keeps: Option<usize>,
    /// Whether it is of the released generation.
    pub(crate) stable: bool,
    /// During this window nothing reaches the agent.
    pub(crate) away: Option<Window>,
    /// During this window nothing that it answers can be read. What is sent to it takes effect.
    pub(crate) garbles: Option<Window>,
    /// During this window it refuses to say anything about its node.
    pub(crate) denies: Option<Window>,
    /// During this window a proxy before it answers 404 to everything.
    pub(crate) proxied: Option<Window>,
    /// During this window a gateway before it can't reach it, and says so.
    pub(crate) behind: Option<Window>,
    /// During this window its node is not healthy.
    pub(crate) ill: Option<Window>,
    /// The group that it is in.
    pub(crate) group: Option<u32>,
    /// Whether the Cluster object lists it.
    pub(crate) listed: bool,
    /// When the agent is not a member of the cluster.
    pub(crate) gone: Vec<Window>,
    /// When it gets another address.
    pub(crate) moves: Vec<u64>,
    /// During this window another node answers at its address, and does everything that is asked of it.
    pub(crate) other: Option<Window>,
    /// The role that its node says it has: one of two.
    pub(crate) role: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ActionPlan {
    /// What happens to the first requests that schedule the action, one after the other.
    pub(crate) posts: Vec<PostFault>,
    pub(crate) takes: u64,
    /// This many attempts fail before one ends as `end` says.
    pub(crate) flaky: u32,
    pub(crate) end: End,
}

impl AgentPlan {
    /// Whether it may no longer know an action that has ended.
    pub(crate) fn forgets(&self) -> bool {
        self.purges.is_some() || self.keeps.is_some()
    }
}

impl ActionPlan {
    /// How attempt number `attempt` ends, from 1.
    pub(crate) fn end_of(&self, attempt: u32) -> End {
        if attempt <= self.flaky { End::Failed } else { self.end }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
    Refused,
    /// Instead of an end, the agent no longer knows the action.
    Forgotten,
    /// The action does not end before everything is calm.
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
    /// Whose approvals count; if there is nothing, anybody approves, once.
    pub(crate) approvers: Option<ApproversPlan>,
    /// Whether the run goes beside other runs.
    pub(crate) beside: bool,
    /// How it is narrower than its playbook.
    pub(crate) narrow: crate::narrow_plan::NarrowPlan,
    pub(crate) stages: Vec<StagePlan>,
    /// How often the operator has agents tried again before letting the run go on without them.
    pub(crate) retries: u32,
}

/// The most stages that a playbook has.
pub(crate) const STAGES: usize = 3;

/// The most steps that a stage has.
pub(crate) const STEPS: usize = 3;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StagePlan {
    pub(crate) strategy: StrategyPlan,
    pub(crate) max_failed: Size,
    /// Whether the failures of earlier stages count too.
    pub(crate) of_run: bool,
    /// Whether too many failures end the run; otherwise they pause it.
    pub(crate) aborts: bool,
    pub(crate) membership: Membership,
    /// If set, only agents whose nodes say this role take part.
    pub(crate) selects: Option<Selects>,
    /// Whether it has no agents, and its steps are done once.
    pub(crate) once: bool,
    /// Whether it is done before the run ends, even if the run fails or is cancelled.
    pub(crate) always: bool,
    /// In the order of their roles.
    pub(crate) steps: Vec<StepPlan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selects {
    pub(crate) role: u32,
    /// Whether the expression first asks if the node says a role at all.
    pub(crate) guarded: bool,
}

impl Selects {
    /// Whether the stage with this index selects by what shards say; otherwise it selects by an attribute.
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
        /// Whether a person is asked after the soak.
        approval: bool,
        /// The batches after the canaries; the last size is used for all that are left.
        batches: [Size; 2],
        /// Whether a person is asked if agents are ill; otherwise that ends the run.
        asks: bool,
    },
    /// Two at a time, by a strategy that is asked again and again while it waits, and logs each time.
    Chatty {
        /// Whether its memo is different each time.
        counts: bool,
        /// Whether it sometimes returns an error, which pauses the run.
        stumbles: bool,
    },
    Grouped {
        /// How many agents of a group go at a time.
        batch: Size,
        window: bool,
        /// Whether the groups go in the reverse order.
        backwards: bool,
        soak: u64,
    },
}

impl StrategyPlan {
    /// A strategy that decides the same, whenever its agents end and whatever they say.
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

/// How many bytes large arguments have. Their request may be on its way for half a minute longer than others.
/// A playbook has room for only one such step.
pub(crate) const LARGE: usize = 512 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepPlan {
    pub(crate) role: StepRole,
    pub(crate) work: Work,
    /// Whether its action has arguments of [`LARGE`] bytes.
    pub(crate) large: bool,
    /// How long an attempt may take.
    pub(crate) timeout: Option<u64>,
    /// How many attempts there are, and the wait before the second one.
    pub(crate) retry: Option<(u32, u64)>,
    /// Whether the node has to be healthy just before the step.
    pub(crate) requires: bool,
    /// Whether the agent goes on if the step fails.
    pub(crate) goes_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Action,
    /// Waits up to this many seconds for a healthy node.
    WaitHealthy(u32),
    /// Sends a request to a server, which deals with it as an agent would with an action.
    Http,
    /// Waits up to this many seconds for a signal.
    WaitSignal(u32),
    /// Waits up to this many seconds for a signal, and as long for another one.
    WaitTwice(u32),
}

/// A signal that somebody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalPlan {
    pub(crate) at: u64,
    pub(crate) run: usize,
    /// The agent that it is for; none for all.
    pub(crate) agent: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnginePlan {
    /// When it is started for the first time.
    pub(crate) at: u64,
    /// How far its clock is ahead of the store's; negative if it is behind.
    pub(crate) ahead: i64,
    /// The most runs that it drives at once.
    pub(crate) max_runs: usize,
    /// When it is asked to stop, and how long after its end the next life begins.
    pub(crate) stops: Option<(u64, u64)>,
    /// What happens to it, one trouble after the other.
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) faults: Vec<StoreFault>,
}

/// During this window the engine is drained: it hands over its runs and takes no others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DrainPlan {
    /// Index of the engine.
    pub(crate) engine: usize,
    pub(crate) window: Window,
}

/// Something that happens at the `nth` passage of a point, counted from the previous trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) point: Point,
    pub(crate) side: Side,
    pub(crate) nth: u32,
    pub(crate) what: Interruption,
}

/// The points at which an engine reaches out of its process.
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
    /// Before it happens.
    Before,
    /// After it took effect, but before its answer is seen.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The process dies, and another one is there this much later.
    Killed { back_after: u64 },
    /// The process stands still this long, and then goes on.
    Frozen { length: u64 },
}

/// The `nth` commit of an engine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreFault {
    pub(crate) nth: u32,
    pub(crate) side: Side,
}

/// For a while, every call to the store fails, for all engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) window: Window,
    pub(crate) side: Side,
}

/// What is done to a run at the moment `at`, if it has not ended by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IllPlan {
    pub(crate) at: u64,
    /// Index of the run.
    pub(crate) run: usize,
    pub(crate) what: Illness,
    /// How long the operator leaves a run in trouble alone.
    pub(crate) patience: u64,
    /// Whether the operator mends the run then; otherwise it is abandoned.
    pub(crate) mended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illness {
    /// Somebody damages one of its documents, which an engine notices when it takes the run up.
    Damaged(Part),
    /// The store refuses all its commits.
    Refused,
    /// Nothing is wrong with it: the operator abandons it all the same.
    None,
}

/// The document of a run that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Snapshot,
    Progress,
    /// The agent record with this number, if it exists.
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
    /// Index of the agent that the command is about.
    pub(crate) agent: Option<usize>,
}

impl Plan {
    /// The same plan without anything that goes wrong between engine, store and agents, and without what
    /// engines tell about that.
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

    /// Makes it a plan whose end does not depend on when things happen.
    pub(crate) fn make_timeless(&mut self) {
        self.timeless = true;
        self.ill = None;
        self.commands.clear();
        self.guards.clear();
        self.keep_members();
        // The start of a run waits for a platform for a fixed time, even if its engine was frozen meanwhile.
        let frozen = |trouble: &Trouble| matches!(trouble.what, Interruption::Frozen { .. });
        if self.engines.iter().flat_map(|engine| &engine.troubles).any(frozen) {
            self.platform = None;
        }
        // Longer than everything that may happen together before an agent answers well.
        self.agent_patience = 600_000;
        for agent in &mut self.agents {
            (agent.away, agent.ill, agent.purges, agent.keeps) = (None, None, None, None);
            (agent.garbles, agent.denies) = (None, None);
            (agent.other, agent.proxied) = (None, None);
            for action in &mut agent.actions {
                // It ends the attempt, since another request would end no better.
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
