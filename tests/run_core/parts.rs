//! What a history is made of: the playbook, the members, and what the step does.

use replibook_core::playbook::{
    Amount, Approval, Approvers, Budget, BudgetScope, Concurrency, Expr, Grants, Identity,
    Membership, Narrowing, OnAdded, OnError, OnExceeded, OnRemoved, Playbook, PluginKind,
    PluginPin, Retry, Stage, StageOn, Step, StepRole, StrategyUse, Template,
};
use replibook_core::run::{
    Activate, Activation, ActivationEnd, AgentId, Answer, Call, Digest, Gone, JsonText, Member,
    Millis, RetryOf, RunId,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) agents: usize,
    pub(crate) max_failed: u32,
    pub(crate) abort: bool,
    pub(crate) steps: usize,
    pub(crate) approval: bool,
    pub(crate) approvers: Approvers,
    pub(crate) batch: u32,
    pub(crate) first: First,
    pub(crate) stages: usize,
    /// How many attempts each step has.
    pub(crate) attempts: u32,
    /// How many minutes an attempt may take.
    pub(crate) timeout: Option<u64>,
    /// Whether each step has a precondition.
    pub(crate) require: bool,
    pub(crate) continues: bool,
    pub(crate) run_scope: bool,
    pub(crate) membership: Membership,
    /// Whether no stage selects any agent.
    pub(crate) nobody: bool,
    /// Whether each stage has a rescue and a finally step.
    pub(crate) ends: bool,
    /// The stage that is on the run.
    pub(crate) once: Option<usize>,
    /// The stage that is always done.
    pub(crate) always: Option<usize>,
    /// How the run is narrower than its playbook.
    pub(crate) narrowed: Narrowing,
    /// Set if the run goes again over agents of another run, of which these have left.
    pub(crate) gone: Option<Gone>,
}

impl Setup {
    /// The run whose agents this run goes over again.
    pub(crate) fn retry_of(&self) -> Option<RetryOf> {
        let run = RunId(Uuid::from_u128(6));
        let failed = RetryOf { run, failed: true, skipped: false, unfinished: false };
        self.gone.as_ref().map(|_| failed)
    }

    /// One stage with one plain step, over two agents at a time.
    pub(crate) fn plain(agents: usize, max_failed: u32) -> Self {
        Self {
            agents,
            max_failed,
            abort: false,
            steps: 1,
            approval: false,
            approvers: Approvers::default(),
            batch: 2,
            first: First::Goes,
            stages: 1,
            attempts: 1,
            timeout: None,
            require: false,
            continues: false,
            run_scope: false,
            membership: Membership { added: OnAdded::Include, removed: OnRemoved::Ignore },
            nobody: false,
            ends: false,
            once: None,
            always: None,
            narrowed: Narrowing::default(),
            gone: None,
        }
    }
}

/// What happens to the first step, whatever the world does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Goes,
    /// Its `when` is false.
    LeftOut,
    /// Its arguments can't be evaluated.
    Fails,
}

/// What the step does when it is activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It runs one action.
    Action,
    /// It runs one action after another, each with an answer of a megabyte.
    LargeAnswers,
    /// It makes no call, and returns more than a megabyte.
    LargeResult,
    /// It runs one action, and returns a result however the action ends.
    Forgiving,
    /// It makes no call, and returns 450 kB.
    SizeableResult,
    /// It runs one action, and then another one.
    Twice,
    /// It sleeps once.
    Sleep,
    /// It asks the agent about its node.
    Info,
}

/// A little more than a megabyte of text.
pub(crate) const LARGE: usize = 1024 * 1024 + 1;

pub(crate) fn playbook(setup: &Setup) -> Playbook {
    let pin = |kind, name: &str| PluginPin {
        source: format!("builtin:{name}"),
        digest: Digest::of(name.as_bytes()),
        kind,
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    };
    let first = |index: usize, what| index == 0 && setup.first == what;
    let kind =
        |index| if first(index, First::Fails) { "${{ agent.attributes.nothing }}" } else { "k" };
    let step = |index| Step {
        name: format!("step-{index}"),
        role: StepRole::Main,
        plugin: "action".to_owned(),
        with: Template::parse(json!({"kind": kind(index)})).unwrap(),
        grants: Grants::default(),
        when: first(index, First::LeftOut).then(|| Expr::parse("false").unwrap()),
        require: setup.require.then(|| Expr::parse("agent.node.ok").unwrap()),
        timeout: setup.timeout.map(|minutes| Millis::from_secs(60 * minutes)),
        retry: Retry { attempts: setup.attempts, ..Retry::NONE },
        on_error: if setup.continues { OnError::Continue } else { OnError::Fail },
    };
    let steps = |stage: usize| {
        let once = setup.once == Some(stage);
        let step = |index| {
            let Step { name, require, .. } = step(index);
            // A stage on the run has names of its own, and no agent that could be asked.
            let name = if once { format!("once-{stage}-{index}") } else { name };
            Step { name, require: require.filter(|_| !once), ..step(index) }
        };
        let mut steps: Vec<Step> = (0..setup.steps).map(step).collect();
        for (name, role) in [("undo", StepRole::Rescue), ("tidy", StepRole::Finally)] {
            let name = if once { format!("once-{stage}-{name}") } else { name.to_owned() };
            steps.extend(setup.ends.then(|| Step { name, role, ..step(setup.steps) }));
        }
        steps
    };
    let on_exceeded = if setup.abort { OnExceeded::Abort } else { OnExceeded::Pause };
    let stage = |index| Stage {
        name: format!("stage-{index}"),
        always: setup.always == Some(index),
        on: if setup.once == Some(index) { StageOn::Run } else { StageOn::Agents },
        select: setup.nobody.then(|| Expr::parse("false").unwrap()),
        strategy: StrategyUse {
            plugin: "rolling".to_owned(),
            with: Template::parse(json!({})).unwrap(),
        },
        budget: Budget {
            max_failed: Amount::Count(setup.max_failed),
            scope: if setup.run_scope { BudgetScope::Run } else { BudgetScope::Stage },
            on_exceeded,
        },
        membership: setup.membership,
        steps: steps(index),
    };
    Playbook {
        name: "p".to_owned(),
        version: semver::Version::new(1, 0, 0),
        summary: None,
        vcs: None,
        approval: if setup.approval { Approval::Required } else { Approval::Granted },
        approvers: setup.approvers.clone(),
        concurrency: Concurrency::Queue,
        params: json!({}),
        plugins: [
            ("rolling".to_owned(), pin(PluginKind::Strategy, "rolling")),
            ("action".to_owned(), pin(PluginKind::Step, "action")),
        ]
        .into(),
        stages: (0..setup.stages).map(stage).collect(),
    }
}

pub(crate) fn members(count: usize) -> Vec<Member> {
    (0..count).map(|n| member(&format!("node-{n}"))).collect()
}

pub(crate) fn member(agent: &str) -> Member {
    Member {
        agent: AgentId::from(agent),
        address: "http://127.0.0.1:1".to_owned(),
        attributes: Map::new(),
        declared: Map::new(),
        datastore: Default::default(),
        node: Value::Null,
        asked_at: None,
        identity: Identity::Check,
        refusal: None,
    }
}

/// The outcome of one activation of this step.
pub(crate) fn activation(
    work: Work,
    activate: &Activate,
    badly: bool,
    retryable: bool,
) -> Activation {
    // Nobody could run the action of a stage on the run.
    let work = if activate.agent.is_run() { Work::Sleep } else { work };
    let failed = |message: &str| ActivationEnd::Failed {
        reason: replibook_core::run::FailureReason::ActionFailed,
        message: message.to_owned(),
        retryable,
    };
    let nothing = || JsonText::from(Value::Null);
    let action =
        || ActivationEnd::Blocked(Call::RunAction { kind: "k".to_owned(), arguments: nothing() });
    let text = |bytes| JsonText::from(Value::String("x".repeat(bytes)));
    let answer = activate.journal.answers.last().map(|answered| &answered.answer);
    let end = match (work, answer) {
        (Work::LargeAnswers, _) => action(),
        (Work::LargeResult, _) => ActivationEnd::Done(text(LARGE)),
        (Work::SizeableResult, _) => ActivationEnd::Done(text(450_000)),
        (Work::Forgiving, Some(_)) => ActivationEnd::Done(nothing()),
        (Work::Sleep, None) => ActivationEnd::Blocked(Call::Sleep {
            length: replibook_core::run::Millis::from_secs(60),
        }),
        (Work::Info, None) => ActivationEnd::Blocked(Call::Info),
        (Work::Info, Some(Answer::Info(Ok(_)))) => ActivationEnd::Done(nothing()),
        (Work::Info, Some(answer)) => failed(&format!("{:?}", answer.error())),
        (Work::Sleep, Some(_)) => ActivationEnd::Done(nothing()),
        (Work::Action | Work::Forgiving | Work::Twice, None) => action(),
        (Work::Twice, Some(Answer::RunAction(Ok(value)))) => match activate.journal.answers.len() {
            1 => ActivationEnd::Blocked(Call::RunAction {
                kind: "k".to_owned(),
                arguments: value.clone(),
            }),
            _ => ActivationEnd::Done(value.clone()),
        },
        (Work::Twice, Some(_)) => failed("the action failed"),
        (Work::Action, Some(Answer::RunAction(Ok(_)))) if badly => failed("trapped"),
        (Work::Action, Some(Answer::RunAction(Ok(value)))) => ActivationEnd::Done(value.clone()),
        // A step fails with the message of the error.
        (Work::Action, Some(answer)) => match answer.error() {
            Some(error) => failed(&error.to_string()),
            None => failed("the action failed"),
        },
    };
    Activation { end, logs: vec![] }
}
