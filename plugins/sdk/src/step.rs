//! What a step is given, the calls that it may make, and what it returns.

use std::time::Duration;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use crate::Level;
use crate::outside::{Nothing, Outside};

/// What a step is activated with: the same at every activation of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Arguments from the playbook: JSON.
    pub arguments: String,
    /// Identifier of the run.
    pub run: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Identifier of the agent.
    pub agent: String,
    /// Name of the stage.
    pub stage: String,
    /// Name of the step.
    pub step: String,
    /// Number of this attempt, from 1. An attempt that continues an earlier one sees the earlier one's
    /// number.
    pub attempt: u32,
    /// Attributes of the agent: a JSON object.
    pub attributes: String,
}

/// What is known about the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Identifier of the agent in the cluster.
    pub id: String,
    /// Attributes: a JSON object.
    pub attributes: String,
    /// Status of the node, for example `HEALTHY`.
    pub status: String,
    /// The whole of what the agent says about its node: a JSON object.
    pub node: String,
}

/// Why a call to the agent gave no result. The text is what the agent or the host said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentError {
    /// The action ended in `FAILED`.
    Failed(String),
    /// The agent refused the call.
    Refused(String),
    /// The agent could not be reached until the deadline of the host.
    Unreachable(String),
    /// The agent had accepted the action and no longer knows it.
    Lost(String),
    /// The time of the call ran out.
    TimedOut(String),
    /// The playbook does not grant this call.
    NotGranted(String),
    /// The arguments of the call are not valid, or the payload is not of the type that was asked for.
    Invalid(String),
}

/// Why a step failed.
///
/// # Example
/// ```
/// use replibook_plugin_sdk::step::{AgentError, StepError};
///
/// let error = |error: AgentError| StepError::from(error);
/// let lost = error(AgentError::Unreachable("no answer".to_owned()));
/// assert_eq!(lost, StepError::Retryable("no answer".to_owned()));
/// let refused = error(AgentError::Refused("no such action".to_owned()));
/// assert_eq!(refused, StepError::Permanent("no such action".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepError {
    /// Another attempt may succeed.
    Retryable(String),
    /// Another attempt would fail in the same way.
    Permanent(String),
}

/// What was refused will be refused again; everything else may go better in another attempt.
impl From<AgentError> for StepError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Failed(message)
            | AgentError::Unreachable(message)
            | AgentError::Lost(message)
            | AgentError::TimedOut(message) => Self::Retryable(message),
            AgentError::Refused(message)
            | AgentError::NotGranted(message)
            | AgentError::Invalid(message) => Self::Permanent(message),
        }
    }
}

impl From<serde_json::Error> for StepError {
    fn from(error: serde_json::Error) -> Self {
        Self::Permanent(error.to_string())
    }
}

/// The imports of the world `step`, as the WIT has them.
///
/// # Example
/// In a test, a type of your own answers:
/// ```
/// use std::cell::RefCell;
/// use std::time::Duration;
///
/// use replibook_plugin_sdk::Level;
/// use replibook_plugin_sdk::step::{Agent, AgentError, Calls, Input, NodeInfo};
///
/// #[derive(Default)]
/// struct Recorded(RefCell<Vec<String>>);
///
/// impl Calls for Recorded {
///     fn sleep(&self, milliseconds: u32) {
///         self.0.borrow_mut().push(format!("sleep {milliseconds}"));
///     }
///     fn log(&self, level: Level, message: &str) {
///         self.0.borrow_mut().push(format!("{level:?}: {message}"));
///     }
///     // … and so on.
///     # fn info(&self) -> Result<NodeInfo, AgentError> { Ok(NodeInfo::default()) }
///     # fn run_action(&self, _: &str, _: &str) -> Result<String, AgentError> { Ok(String::new()) }
///     # fn wait_status(&self, _: &[String], _: u32) -> Result<String, AgentError> {
///     #     Ok("HEALTHY".to_owned())
///     # }
///     # fn now(&self) -> f64 { 0.0 }
///     # fn random(&self, _: u32) -> Vec<u8> { Vec::new() }
/// }
///
/// let calls = Recorded::default();
/// let input = Input { agent: "node-1".to_owned(), ..Input::default() };
/// let agent = Agent::new(&input, &calls);
/// agent.log(Level::Info, &format!("{} settles", agent.id()));
/// agent.sleep(Duration::from_secs(2));
/// assert_eq!(*calls.0.borrow(), ["Info: node-1 settles", "sleep 2000"]);
/// ```
pub trait Calls {
    /// `agent.info`.
    fn info(&self) -> Result<NodeInfo, AgentError>;
    /// `agent.run-action`, with arguments and payload as JSON.
    fn run_action(&self, kind: &str, arguments: &str) -> Result<String, AgentError>;
    /// `agent.wait-status`, with a timeout in milliseconds.
    fn wait_status(&self, statuses: &[String], timeout: u32) -> Result<String, AgentError>;
    /// `timer.now`: milliseconds since the Unix epoch.
    fn now(&self) -> f64;
    /// `timer.sleep`, in milliseconds.
    fn sleep(&self, milliseconds: u32);
    /// `entropy.bytes`.
    fn random(&self, length: u32) -> Vec<u8>;
    /// `logging.log`.
    fn log(&self, level: Level, message: &str);
}

/// The agent that a step works on, and all that the step may do.
#[derive(Clone, Copy)]
pub struct Agent<'a> {
    /// What the step is activated with.
    pub input: &'a Input,
    calls: &'a dyn Calls,
    pub(crate) outside: &'a dyn Outside,
}

impl<'a> Agent<'a> {
    /// The agent of `input`, whose calls are answered by `calls`.
    pub fn new(input: &'a Input, calls: &'a dyn Calls) -> Self {
        Self { input, calls, outside: &Nothing }
    }

    /// The agent of `input`, for a step that is made with `outside: yes`.
    pub fn reaching(input: &'a Input, calls: &'a dyn Calls, outside: &'a dyn Outside) -> Self {
        Self { input, calls, outside }
    }

    /// Identifier of the agent.
    pub fn id(&self) -> &'a str {
        &self.input.agent
    }

    /// Asks the agent about its node, afresh.
    ///
    /// # Errors
    /// `Refused`, `Unreachable`.
    pub fn info(&self) -> Result<NodeInfo, AgentError> {
        self.calls.info()
    }

    /// Has the agent perform an action, waits for its end, and reads its payload.
    ///
    /// # Errors
    /// `Failed`, `Refused`, `Unreachable`, `Lost`, `NotGranted`, `Invalid`.
    pub fn run_action<T: DeserializeOwned>(
        &self,
        kind: &str,
        arguments: &impl Serialize,
    ) -> Result<T, AgentError> {
        let invalid = |what: &str, error| AgentError::Invalid(format!("failed to {what}: {error}"));
        let arguments = serde_json::to_string(arguments)
            .map_err(|error| invalid("write the arguments of the action", error))?;
        let payload = self.calls.run_action(kind, &arguments)?;
        serde_json::from_str(&payload)
            .map_err(|error| invalid("read the payload of the action", error))
    }

    /// Waits until the status of the node is one of `statuses`, and returns the status found.
    ///
    /// # Errors
    /// `TimedOut`, `Invalid`.
    pub fn wait_status(
        &self,
        statuses: &[String],
        timeout: Duration,
    ) -> Result<String, AgentError> {
        self.calls.wait_status(statuses, millis(timeout))
    }

    /// The present moment of the attempt, in milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.calls.now() as u64
    }

    /// Waits. A length of more than 49 days is cut to that.
    pub fn sleep(&self, length: Duration) {
        self.calls.sleep(millis(length));
    }

    /// The next bytes of the attempt's random stream, at most 64 KiB a call.
    pub fn random(&self, length: u32) -> Vec<u8> {
        self.calls.random(length)
    }

    /// Writes one line to the log.
    pub fn log(&self, level: Level, message: &str) {
        self.calls.log(level, message);
    }
}

pub(crate) fn millis(length: Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}

/// Reads the arguments, does the step, and writes its result.
#[doc(hidden)]
pub fn run<'a, A: Deserialize<'a>, R: Serialize>(
    agent: &'a Agent<'a>,
    step: impl FnOnce(&'a Agent<'a>, A) -> Result<R, StepError>,
) -> Result<String, StepError> {
    let arguments = crate::arguments(&agent.input.arguments).map_err(StepError::Permanent)?;
    Ok(serde_json::to_string(&step(agent, arguments)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Answers(Result<String, AgentError>);

    impl Calls for Answers {
        fn info(&self) -> Result<NodeInfo, AgentError> {
            Ok(NodeInfo::default())
        }
        fn run_action(&self, _: &str, arguments: &str) -> Result<String, AgentError> {
            assert_eq!(arguments, "[1]");
            self.0.clone()
        }
        fn wait_status(&self, _: &[String], timeout: u32) -> Result<String, AgentError> {
            Ok(timeout.to_string())
        }
        fn now(&self) -> f64 {
            1.0
        }
        fn sleep(&self, _: u32) {}
        fn random(&self, _: u32) -> Vec<u8> {
            Vec::new()
        }
        fn log(&self, _: Level, _: &str) {}
    }

    fn act(answer: Result<&str, AgentError>, arguments: &str) -> Result<String, StepError> {
        let input = Input { arguments: arguments.to_owned(), ..Input::default() };
        let answers = Answers(answer.map(str::to_owned));
        let agent = Agent::new(&input, &answers);
        run(&agent, |agent, numbers: Vec<u32>| Ok(agent.run_action::<bool>("a", &numbers)?))
    }

    #[test]
    fn a_step_is_a_function_of_typed_arguments() {
        assert_eq!(act(Ok("true"), "[1]").as_deref(), Ok("true"));
        for (answer, arguments) in [(Ok("true"), "{}"), (Ok("7"), "[1]")] {
            let Err(StepError::Permanent(message)) = act(answer, arguments) else {
                panic!("not permanent")
            };
            assert!(message.starts_with("failed to read the"), "{message}");
        }
    }

    #[test]
    fn what_was_refused_is_not_tried_again() {
        let text = || "m".to_owned();
        let failed =
            [AgentError::Failed, AgentError::Unreachable, AgentError::Lost, AgentError::TimedOut];
        for error in failed {
            assert_eq!(act(Err(error(text())), "[1]"), Err(StepError::Retryable(text())));
        }
        for error in [AgentError::Refused, AgentError::NotGranted, AgentError::Invalid] {
            assert_eq!(act(Err(error(text())), "[1]"), Err(StepError::Permanent(text())));
        }
    }

    #[test]
    fn a_time_that_is_too_long_is_cut() {
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
        assert_eq!(millis(Duration::MAX), u32::MAX);
    }
}
