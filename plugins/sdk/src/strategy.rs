//! What a strategy is given, the roster that it may ask, and what it returns.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use crate::Level;
use crate::held::Holding;

/// How many identifiers the roster gives at a time, at most.
const PAGE: u32 = 1_000;

/// What a strategy is given when it is asked for a decision.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Name of the stage.
    pub stage: String,
    /// Arguments from the playbook: JSON.
    pub arguments: String,
    /// What this strategy remembered last time; empty at first.
    pub memo: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now: f64,
    /// The most agents that one decision may start.
    pub max_start: u32,
}

impl Input {
    /// What [`Decision::remember`] kept last time; none at the first decision.
    ///
    /// # Errors
    /// When the memo is not one of this type.
    ///
    /// # Example
    /// ```
    /// use replibook_plugin_sdk::strategy::{Decision, Input, Next};
    ///
    /// assert_eq!(Input::default().memo::<u32>()?, None, "nothing is remembered at first");
    /// let decision = Decision::new(Next::Wait).remember(&7)?;
    /// let input = Input { memo: decision.memo, ..Input::default() };
    /// assert_eq!(input.memo::<u32>()?, Some(7));
    /// assert!(input.memo::<Vec<u32>>().is_err());
    /// # Ok::<(), String>(())
    /// ```
    pub fn memo<T: DeserializeOwned>(&self) -> Result<Option<T>, String> {
        match self.memo.as_str() {
            "" => Ok(None),
            memo => serde_json::from_str(memo)
                .map(Some)
                .map_err(|error| format!("failed to read the memo: {error}")),
        }
    }
}

/// State of an agent in the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Joined during the run, and is not yet taken into the stage.
    Added,
    /// Waits to be started.
    Pending,
    /// Its steps are going on.
    Running,
    /// All its steps ended well.
    Done,
    /// A step failed.
    Failed,
    /// Left out, by the selection of the stage or by a decision.
    Skipped,
    /// Left the cluster during the run.
    Removed,
}

/// How many agents are in each state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Joined during the run, and are not yet taken into the stage.
    pub added: u32,
    /// Wait to be started.
    pub pending: u32,
    /// In flight.
    pub running: u32,
    /// Ended with all steps done.
    pub done: u32,
    /// Failed.
    pub failed: u32,
    /// Left out.
    pub skipped: u32,
    /// Left the cluster.
    pub removed: u32,
    /// Selected when the stage started; percentages are of this number.
    pub selected: u32,
}

/// One agent, in full.
#[derive(Clone, Debug)]
pub struct Details {
    /// Identifier of the agent.
    pub id: String,
    /// Its state.
    pub state: State,
    /// Number of the decision that started it, from 1.
    pub batch: Option<u32>,
    /// Its attributes: a JSON object.
    pub attributes: String,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at: Option<f64>,
    /// When it reached its end.
    pub ended_at: Option<f64>,
}

/// What an agent said about its node when it was asked last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Status of the node, for example `HEALTHY`; none if the agent did not answer, or was never asked.
    pub status: Option<String>,
    /// The whole of what the agent said: a JSON object; none if there is no status.
    pub node: Option<String>,
    /// When the agent was asked, even if it did not answer, in milliseconds since the Unix epoch; none if it
    /// was never asked.
    pub seen_at: Option<f64>,
}

/// The imports of the world `strategy`, as the WIT has them.
pub trait Calls {
    /// `roster.counts`.
    fn counts(&self) -> Counts;
    /// `roster.page`.
    fn page(&self, state: State, after: Option<&str>, limit: u32) -> Vec<String>;
    /// `roster.details`.
    fn details(&self, id: &str) -> Option<Details>;
    /// `roster.node`.
    fn node(&self, id: &str) -> Option<NodeView>;
    /// `roster.refresh`.
    fn refresh(&self, ids: &[String]) -> Result<(), String>;
    /// `roster.matches`.
    fn matches(&self, id: &str, expression: &str) -> Result<bool, String>;
    /// `logging.log`.
    fn log(&self, level: Level, message: &str);
}

/// The agents of the stage. The roster does not change while a strategy makes its plan.
///
/// # Example
/// ```
/// use replibook_plugin_sdk::strategy::{Calls, Roster, State};
/// # use replibook_plugin_sdk::{Level, strategy::{Counts, Details, NodeView}};
///
/// /// A stage in which that many agents wait, for a test.
/// struct Waiting(usize);
///
/// impl Calls for Waiting {
///     fn page(&self, _: State, after: Option<&str>, limit: u32) -> Vec<String> {
///         let names = (0..self.0).map(|number| format!("node-{number:04}"));
///         names.filter(|name| after < Some(name.as_str())).take(limit as usize).collect()
///     }
///     // … and so on.
///     # fn counts(&self) -> Counts { Counts::default() }
///     # fn details(&self, _: &str) -> Option<Details> { None }
///     # fn node(&self, _: &str) -> Option<NodeView> { None }
///     # fn refresh(&self, _: &[String]) -> Result<(), String> { Ok(()) }
///     # fn matches(&self, _: &str, _: &str) -> Result<bool, String> { Ok(true) }
///     # fn log(&self, _: Level, _: &str) {}
/// }
///
/// let roster = Roster::new(&Waiting(1_500));
/// assert_eq!(roster.first(State::Pending, 2), ["node-0000", "node-0001"]);
/// assert_eq!(roster.agents(State::Pending).count(), 1_500, "of as many pages as there are");
/// let rest = roster.agents_after(State::Pending, Some("node-1497".to_owned()));
/// assert_eq!(rest.collect::<Vec<_>>(), ["node-1498", "node-1499"]);
/// ```
#[derive(Clone, Copy)]
pub struct Roster<'a> {
    calls: &'a dyn Calls,
    /// Who is held; none in a strategy that does not import that.
    pub(crate) holding: Option<&'a dyn Holding>,
}

impl<'a> Roster<'a> {
    /// The roster that `calls` answers for.
    pub fn new(calls: &'a dyn Calls) -> Self {
        Self { calls, holding: None }
    }

    /// The same, for a strategy that may ask which agents are held.
    pub fn knowing(calls: &'a dyn Calls, holding: &'a dyn Holding) -> Self {
        Self { calls, holding: Some(holding) }
    }

    /// How many agents are in each state.
    pub fn counts(&self) -> Counts {
        self.calls.counts()
    }

    /// The first agents in this state, at most `limit` and never more than 1,000.
    pub fn first(&self, state: State, limit: u32) -> Vec<String> {
        match limit {
            0 => Vec::new(),
            limit => self.calls.page(state, None, limit),
        }
    }

    /// All agents in this state, in the order of the run. Pages are asked for only when they are needed.
    pub fn agents(&self, state: State) -> impl Iterator<Item = String> + use<'a> {
        self.agents_after(state, None)
    }

    /// The agents in this state that come after `after` in the order of the run. That agent may be in any
    /// state, so a strategy can go on where it stopped.
    pub fn agents_after(
        &self,
        state: State,
        mut after: Option<String>,
    ) -> impl Iterator<Item = String> + use<'a> {
        let calls = self.calls;
        let pages = std::iter::from_fn(move || {
            let page = calls.page(state, after.as_deref(), PAGE);
            after = Some(page.last()?.clone());
            Some(page)
        });
        pages.flatten()
    }

    /// One agent in full; none for an identifier that is not of this stage.
    pub fn details(&self, id: &str) -> Option<Details> {
        self.calls.details(id)
    }

    /// What an agent said about its node when it was last asked; none for an identifier that is not in the
    /// run.
    pub fn node(&self, id: &str) -> Option<NodeView> {
        self.calls.node(id)
    }

    /// Has the host ask these agents about their nodes just before the next plan; at most 1,000 agents in one
    /// plan.
    ///
    /// # Errors
    /// For an identifier that is not in the run.
    pub fn refresh(&self, ids: &[String]) -> Result<(), String> {
        self.calls.refresh(ids)
    }

    /// Whether a CEL expression holds for an agent. The expression sees what the `select` of a stage sees.
    ///
    /// # Errors
    /// If the expression is not valid, or its value for this agent is missing or neither true nor false; and
    /// for an identifier that is not in the run.
    pub fn matches(&self, id: &str, expression: &str) -> Result<bool, String> {
        self.calls.matches(id, expression)
    }

    /// Writes one line to the log.
    pub fn log(&self, level: Level, message: &str) {
        self.calls.log(level, message);
    }
}

/// What happens after the agents of the decision have been started.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Ask again when something has changed.
    Wait,
    /// Ask again at that moment, in milliseconds since the Unix epoch.
    WaitUntil(f64),
    /// Pause the run with this message, until a person approves it.
    Approval(String),
    /// The stage is complete once the agents in flight have ended.
    Complete,
    /// The run fails with this reason once the agents in flight have ended.
    Abort(String),
}

/// The answer of a strategy.
///
/// # Example
/// ```
/// use replibook_plugin_sdk::strategy::{Decision, Next};
///
/// let decision = Decision::new(Next::Wait)
///     .start(vec!["node-1".to_owned(), "node-2".to_owned()], "batch 1")
///     .skip("node-9".to_owned(), "it is a spare".to_owned());
/// assert_eq!(decision.start.len(), 2);
/// assert_eq!(decision.label.as_deref(), Some("batch 1"));
/// assert_eq!(Decision::new(Next::Complete).start(Vec::new(), "nobody").label, None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Identifiers of the agents to start now.
    pub start: Vec<String>,
    /// Identifiers of the agents to leave out, each with the reason.
    pub skip: Vec<(String, String)>,
    /// What happens after they were started.
    pub next: Next,
    /// Text that is handed back at the next plan.
    pub memo: String,
    /// Label of the batch, which is shown to people.
    pub label: Option<String>,
}

impl Decision {
    /// A decision that starts no agents.
    pub fn new(next: Next) -> Self {
        Self { start: Vec::new(), skip: Vec::new(), next, memo: String::new(), label: None }
    }

    /// Starts these agents in a batch with this label, which is cut after 63 characters.
    #[must_use]
    pub fn start(mut self, agents: Vec<String>, label: &str) -> Self {
        if !agents.is_empty() {
            self.label = Some(label.chars().take(63).collect());
        }
        self.start = agents;
        self
    }

    /// Leaves an agent out.
    #[must_use]
    pub fn skip(mut self, agent: String, reason: String) -> Self {
        self.skip.push((agent, reason));
        self
    }

    /// Keeps this text for the next plan.
    #[must_use]
    pub fn memo(mut self, memo: String) -> Self {
        self.memo = memo;
        self
    }

    /// Keeps this value as JSON for the next plan, which reads it with [`Input::memo`].
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn remember(self, memo: &impl Serialize) -> Result<Self, String> {
        let memo = serde_json::to_string(memo);
        Ok(self.memo(memo.map_err(|error| format!("failed to write the memo: {error}"))?))
    }
}

/// Reads the arguments and decides.
#[doc(hidden)]
pub fn plan<'a, A: Deserialize<'a>>(
    roster: &Roster<'_>,
    input: &'a Input,
    plan: impl FnOnce(&Roster<'_>, &'a Input, A) -> Result<Decision, String>,
) -> Result<Decision, String> {
    plan(roster, input, crate::arguments(&input.arguments)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Waiting(u32);

    impl Calls for Waiting {
        fn counts(&self) -> Counts {
            Counts::default()
        }
        fn page(&self, _: State, after: Option<&str>, limit: u32) -> Vec<String> {
            let start = after.map_or(0, |after| after.parse::<u32>().unwrap() + 1);
            (start..self.0).take(limit as usize).map(|number| number.to_string()).collect()
        }
        fn details(&self, _: &str) -> Option<Details> {
            None
        }
        fn node(&self, _: &str) -> Option<NodeView> {
            None
        }
        fn refresh(&self, _: &[String]) -> Result<(), String> {
            Ok(())
        }
        fn matches(&self, _: &str, _: &str) -> Result<bool, String> {
            Ok(true)
        }
        fn log(&self, _: Level, _: &str) {}
    }

    #[test]
    fn pages_are_one_sequence() {
        for number in [0, 1, 999, 1_000, 1_001, 2_500] {
            let waiting = Waiting(number);
            let agents: Vec<_> = Roster::new(&waiting).agents(State::Pending).collect();
            let expected: Vec<_> = (0..number).map(|number| number.to_string()).collect();
            assert_eq!(agents, expected);
        }
        let rest = Roster::new(&Waiting(5)).agents_after(State::Pending, Some("2".to_owned()));
        assert_eq!(rest.collect::<Vec<_>>(), ["3", "4"]);
        assert_eq!(Roster::new(&Waiting(5)).first(State::Pending, 0), [""; 0]);
    }

    #[test]
    fn a_memo_comes_back_and_a_label_is_cut() {
        let decision = Decision::new(Next::Wait).start(vec!["a".to_owned()], &"ä".repeat(70));
        assert_eq!(decision.label.as_deref().unwrap().chars().count(), 63);
        let decision = decision.remember(&[1, 2]).unwrap();
        let input = Input { memo: decision.memo, ..Input::default() };
        assert_eq!(input.memo::<Vec<u32>>(), Ok(Some(vec![1, 2])));
        assert!(input.memo::<String>().unwrap_err().starts_with("failed to read the memo"));
        assert_eq!(Input::default().memo::<String>(), Ok(None));
    }
}
