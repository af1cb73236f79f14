//! Repeats the activations of attempts, and compares each with the call or the end that the journal recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::report::{Difference, Place, cut, shown};
use crate::playbook::Grants;
use crate::plugin::PluginHost;
use crate::run::{
    Activate, ActivationEnd, AgentId, Answered, AttemptKey, Call, CallName, Digest, Failure,
    FailureReason, Journal, JsonText, Pending, canonical,
};

/// What the history says about an attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct InHistory {
    /// Attributes of the agent when the attempt started.
    pub(super) attributes: Arc<Map<String, Value>>,
    /// How the attempt ended: `None` if it did not.
    pub(super) ended: Option<Result<(), Failure>>,
}

/// The attempts of a run, according to its history.
pub(super) type Attempts = BTreeMap<AttemptKey, InHistory>;

/// How an attempt is expected to end.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// With this result; `None` if the result was not kept, because a later one replaced it.
    Done(Option<JsonText>),
    /// With this failure.
    Failed(Failure),
    /// Any end is right, because the host ended the attempt or its end is not known.
    Anything,
}

/// An attempt to repeat.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) journal: Journal,
    pub(super) attributes: Arc<Map<String, Value>>,
    pub(super) cluster: String,
    pub(super) stage: String,
    pub(super) plugin: Digest,
    pub(super) grants: Grants,
    pub(super) expected: Expected,
}

/// The result of repeating an attempt.
#[derive(Debug)]
pub(super) struct Made {
    /// Activations that were made.
    pub(super) activations: u64,
    pub(super) found: Found,
}

/// Whether the attempt gave what was recorded.
#[derive(Debug)]
pub(super) enum Found {
    Same,
    Differs(Difference),
    NotReplayed(Place, String),
}

impl Attempt {
    /// Makes the activations in their order, each with as much of the journal as there was at that time.
    pub(super) async fn play(self, host: &PluginHost) -> Made {
        let answers = self.journal.answers.len();
        let mut made = Made { activations: 0, found: Found::Same };
        // The answers that the attempt took over were there from its beginning.
        let first = self.journal.taken.map_or(0, |taken| taken.answers as usize);
        for answered in first..=answers {
            let end = host.activate(self.activation(answered)).await.end;
            made.activations += 1;
            let found = match self.call(answered) {
                Some(call) => self.compare_call(answered, &call, end),
                None => self.compare_end(answered, end),
            };
            match found {
                Found::Same => {}
                Found::Differs(_) | Found::NotReplayed(..) => {
                    made.found = found;
                    return made;
                }
            }
        }
        made
    }

    /// The activation that was made when there were `answers` answers.
    fn activation(&self, answers: usize) -> Activate {
        let mut journal = self.journal.clone();
        journal.answers.truncate(answers);
        (journal.pending, journal.late) = (None, None);
        Activate {
            key: journal.key,
            plugin: self.plugin.clone(),
            grants: self.grants.clone(),
            agent: journal.agent.clone(),
            attributes: Arc::clone(&self.attributes),
            cluster: self.cluster.clone(),
            stage: self.stage.clone(),
            journal,
        }
    }

    /// The call that the attempt made after `number` answers, if it made one.
    fn call(&self, number: usize) -> Option<Recorded> {
        let Journal { answers, pending, late, late_of, .. } = &self.journal;
        // A late answer to a call that was answered already is among the answers.
        let late = late.as_ref().filter(|_| late_of.is_none());
        if let Some(answered) = answers.get(number).or(late) {
            let Answered { name, arguments_hash, .. } = answered;
            return Some(Recorded { name: *name, hash: arguments_hash.clone() });
        }
        let Pending { name, arguments_hash, .. } = pending.as_ref()?;
        Some(Recorded { name: *name, hash: arguments_hash.clone() })
    }

    fn place(&self, call: usize) -> Place {
        let Journal { agent, step_name, key, .. } = &self.journal;
        place(agent, &self.stage, step_name, *key, call)
    }

    fn compare_call(&self, number: usize, recorded: &Recorded, end: ActivationEnd) -> Found {
        if let ActivationEnd::Blocked(call) = &end
            && call.name() == recorded.name
            && call.arguments_hash() == recorded.hash
        {
            return Found::Same;
        }
        if let ActivationEnd::Failed { reason, message, .. } = &end
            && is_limit(*reason)
        {
            let why = format!("{reason}, which it was not then: {}", cut(message));
            return Found::NotReplayed(self.place(number), why);
        }
        self.differs(number, "call", recorded.to_string(), &end)
    }

    fn compare_end(&self, answers: usize, end: ActivationEnd) -> Found {
        match (&self.expected, &end) {
            (Expected::Anything, _) => Found::Same,
            (Expected::Failed(failure), _) if is_limit(failure.reason) => {
                let why = format!("{}: {}", failure.reason, cut(&failure.message));
                Found::NotReplayed(self.place(answers), why)
            }
            (_, ActivationEnd::Failed { reason, message, .. }) if is_limit(*reason) => {
                let why = format!("{reason}, which it was not then: {}", cut(message));
                Found::NotReplayed(self.place(answers), why)
            }
            (Expected::Done(None), ActivationEnd::Done(_)) => Found::Same,
            (Expected::Done(Some(result)), ActivationEnd::Done(now)) => {
                match canonical(&result.value()) == canonical(&now.value()) {
                    true => Found::Same,
                    false => self.differs(answers, "result", shown(&result.value()), &end),
                }
            }
            (Expected::Failed(failure), ActivationEnd::Failed { reason, message, .. })
                if is_same(failure, *reason, message) =>
            {
                Found::Same
            }
            (Expected::Done(_), _) => self.differs(answers, "end", "it ended well", &end),
            (Expected::Failed(Failure { reason, message, .. }), _) => {
                let recorded = format!("it failed: {reason}: {}", cut(message));
                self.differs(answers, "end", recorded, &end)
            }
        }
    }

    fn differs(
        &self,
        call: usize,
        what: &'static str,
        recorded: impl Into<String>,
        now: &ActivationEnd,
    ) -> Found {
        let now = match (what, now) {
            ("result", ActivationEnd::Done(value)) => shown(&value.value()),
            (_, ActivationEnd::Done(value)) => format!("it ended well: {}", shown(&value.value())),
            (_, ActivationEnd::Blocked(call)) => in_words(call),
            (_, ActivationEnd::Failed { reason, message, .. }) => {
                format!("it failed: {reason}: {}", cut(message))
            }
        };
        Found::Differs(Difference { place: self.place(call), what, recorded: recorded.into(), now })
    }
}

/// What an attempt took over from an earlier one, and what it should have taken, if these differ.
pub(super) fn wrongly_taken(before: Option<&Journal>, journal: &Journal) -> Option<[String; 2]> {
    let taken = journal.taken?;
    let count = usize::try_from(taken.answers).ok()?;
    let one_before = journal.taken_from()?;
    let before = before.filter(|before| before.key == one_before);
    let ended = before.and_then(Journal::with_late);
    let seed = before.map(|before| before.seed_key().attempt);
    let took = journal.answers.get(..count);
    if took.is_some() && took == ended.as_deref() && seed == Some(taken.seed_of) {
        return None;
    }
    let words = |answers: usize| format!("{answers} answers of attempt {}", one_before.attempt);
    let there = ended.map_or_else(|| "no late end".to_owned(), |answers| words(answers.len()));
    Some([format!("it took over {}", words(count)), there])
}

/// The place of a call of an attempt.
pub(super) fn place(
    agent: &AgentId,
    stage: &str,
    step: &str,
    key: AttemptKey,
    call: usize,
) -> Place {
    Place::Attempt {
        agent: agent.clone(),
        stage: stage.to_owned(),
        step: step.to_owned(),
        attempt: key.attempt,
        call: u32::try_from(call).unwrap_or(u32::MAX),
    }
}

/// A call as a journal records it.
struct Recorded {
    name: CallName,
    hash: String,
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with arguments of sum {}", self.name.as_str(), short(&self.hash))
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// A call with its arguments and their checksum, as human-readable text.
fn in_words(call: &Call) -> String {
    let arguments = match call {
        Call::Info => "no arguments".to_owned(),
        Call::RunAction { kind, arguments } => format!("{kind} {}", shown(&arguments.value())),
        Call::WaitStatus { statuses, timeout } => {
            format!("{} for {} ms", statuses.join(", "), timeout.0)
        }
        Call::Sleep { length } => format!("{} ms", length.0),
        Call::HttpSend { request } => request.in_words(),
        Call::WaitSignal { name, timeout } => format!("{name} for {} ms", timeout.0),
    };
    let (name, hash) = (call.name().as_str(), call.arguments_hash());
    format!("{name} with arguments of sum {}: {arguments}", short(&hash))
}

/// Whether an attempt failed in the same way as recorded. Messages are recorded shortened and without control
/// characters, and earlier versions recorded a refusal by an agent as an action that failed.
fn is_same(then: &Failure, reason: FailureReason, message: &str) -> bool {
    let refused = then.reason == FailureReason::ActionFailed && reason == FailureReason::Refused;
    (then.reason == reason || refused) && then.message == Failure::kept(message.to_owned())
}

/// Whether an attempt that failed for this reason may end differently on another machine or at another time: it
/// exceeded a limit, or there was no plugin. What was not deterministic can't be repeated.
pub(super) fn is_limit(reason: FailureReason) -> bool {
    match reason {
        FailureReason::PluginOutOfTime
        | FailureReason::PluginOutOfMemory
        | FailureReason::PluginLimit
        | FailureReason::PluginUnavailable
        | FailureReason::NotDeterministic => true,
        FailureReason::ActionFailed
        | FailureReason::Refused
        | FailureReason::Malformed
        | FailureReason::Unreachable
        | FailureReason::WrongNode
        | FailureReason::ActionLost
        | FailureReason::StepFailed
        | FailureReason::TimedOut
        | FailureReason::PluginTrapped
        | FailureReason::Precondition
        | FailureReason::NotGranted
        | FailureReason::SecretUnavailable
        | FailureReason::BadArguments
        | FailureReason::LeftCluster
        | FailureReason::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Timestamp;

    fn failed(reason: FailureReason, message: &str) -> Failure {
        let (message, step) = (message.to_owned(), "act".to_owned());
        Failure { reason, message, step, at: Timestamp::from_millis(0) }
    }

    #[test]
    fn failures_are_compared_as_they_are_kept() {
        use FailureReason::{ActionFailed, Refused, StepFailed};
        let long = "x".repeat(5_000);
        let cases = [
            (failed(StepFailed, "a\u{fffd}\nb"), StepFailed, "a\r\nb", true),
            (failed(StepFailed, &format!("{}…", "x".repeat(4_096))), StepFailed, &long, true),
            // Earlier versions had no separate reason for a refusal.
            (failed(ActionFailed, "no"), Refused, "no", true),
            (failed(Refused, "no"), ActionFailed, "no", false),
            (failed(ActionFailed, "no"), ActionFailed, "yes", false),
            (failed(StepFailed, "no"), ActionFailed, "no", false),
        ];
        for (then, reason, message, same) in cases {
            assert_eq!(is_same(&then, reason, message), same, "{then:?} {reason}: {message:.20}");
        }
    }
}
