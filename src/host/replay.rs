//! The replay of a journal: which calls have an answer already, and which one is the first without. This is the
//! logic of an activation without any Wasm, so that it can be tested by itself.

use std::collections::VecDeque;

use super::error::Stop;
use super::limits::CALLS;
use replibook_core::run::{
    Answer, Answered, Call, CallName, FailureReason, Journal, JsonText, Pending, Timestamp,
};

/// Matches the calls of one activation against the journal of its attempt.
pub(super) struct Replay {
    /// The answers that have not been consumed.
    answers: VecDeque<Answered>,
    pending: Option<Pending>,
    /// How many calls have got their answer in this activation.
    consumed: usize,
    /// Logical time: the start of the attempt, then the moment of the last consumed answer.
    now: Timestamp,
    /// Why the last call failed, if it did. It becomes the reason of an error that the step returns after it.
    trouble: Option<FailureReason>,
    /// The payload of the last action that gave one.
    payload: Option<JsonText>,
    /// The arguments of the step.
    arguments: JsonText,
}

impl Replay {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            answers: journal.answers.into(),
            pending: journal.pending,
            consumed: 0,
            now: journal.started_at,
            trouble: None,
            payload: None,
            arguments: journal.arguments,
        }
    }

    /// The arguments of the step.
    pub(super) fn arguments(&self) -> &JsonText {
        &self.arguments
    }

    /// The time that the step sees.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Why the last call failed; None if it succeeded.
    pub(super) fn trouble(&self) -> Option<FailureReason> {
        self.trouble
    }

    /// The payload of the last action, if `text` equals it: many steps return it as their result.
    pub(super) fn handed_on(&self, text: &str) -> Option<JsonText> {
        self.payload.clone().filter(|payload| payload.as_str() == text)
    }

    /// Shares the memory of an action's arguments with those of the step, of which they are mostly a part.
    pub(super) fn share(&self, arguments: JsonText) -> JsonText {
        arguments.as_member_of(&self.arguments)
    }

    /// Notes that the host itself refused a call. This is not recorded in the journal: the same call with the same
    /// grants will be refused again.
    pub(super) fn refused(&mut self, reason: FailureReason) {
        self.trouble = Some(reason);
    }

    /// The answer to a call, or the reason to unwind: there is no answer yet, the call is not the one that earlier
    /// activations made, or there are too many calls.
    pub(super) fn call(&mut self, call: Call) -> Result<Answer, Stop> {
        let number = self.consumed;
        let Some(answered) = self.answers.pop_front() else {
            return Err(self.first_unanswered(number, call));
        };
        let (name, hash) = (answered.name, answered.arguments_hash.as_str());
        if name != call.name() || name != answered.answer.name() || hash != call.arguments_hash() {
            return Err(differs(number, name, &call));
        }
        self.consumed += 1;
        self.now = answered.at;
        self.trouble = answered.answer.trouble();
        if let Answer::RunAction(Ok(payload)) = &answered.answer {
            self.payload = Some(payload.clone());
        }
        Ok(answered.answer)
    }

    fn first_unanswered(&self, number: usize, call: Call) -> Stop {
        if number >= CALLS {
            let message = format!("the step made more than {CALLS} calls in one attempt");
            return Stop::Limit { code: "calls-limit", message };
        }
        match &self.pending {
            Some(pending)
                if pending.name != call.name()
                    || pending.arguments_hash != call.arguments_hash() =>
            {
                differs(number, pending.name, &call)
            }
            Some(_) | None => Stop::Blocked(Box::new(call)),
        }
    }

    /// Checks at the end of an activation that it repeated all calls of earlier ones.
    pub(super) fn finished(&self) -> Result<(), Stop> {
        let left = self.answers.len() + usize::from(self.pending.is_some());
        if left == 0 {
            return Ok(());
        }
        let (made, before) = (self.consumed, self.consumed + left);
        Err(Stop::NotDeterministic(format!(
            "the step ended after {made} calls, where an earlier activation made {before}"
        )))
    }
}

fn differs(number: usize, expected: CallName, call: &Call) -> Stop {
    let (expected, found) = (word(expected), word(call.name()));
    let what = match expected == found {
        true => format!("{found} with other arguments than before"),
        false => format!("{found}, and was {expected} in an earlier activation"),
    };
    Stop::NotDeterministic(format!("call number {number} of the step is {what}"))
}

/// The name of a call, as the author of a plugin knows it.
pub(super) fn word(name: CallName) -> &'static str {
    name.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use replibook_core::run::{AgentId, AgentSeq, AttemptKey, CallError, Millis, RunId};
    use serde_json::Value;

    fn sleep(length: u64) -> Call {
        Call::Sleep { length: Millis(length) }
    }

    fn answered(call: &Call, at: i64, answer: Answer) -> Answered {
        let arguments_hash = call.arguments_hash();
        Answered {
            name: call.name(),
            arguments_hash,
            at: Timestamp::from_millis(at),
            answer,
            bytes: None,
        }
    }

    fn journal(answers: Vec<Answered>, pending: Option<&Call>) -> Journal {
        Journal {
            answers,
            pending: pending.map(|call| Pending::new(call, Timestamp::from_millis(1_500))),
            ..Journal::new(
                RunId(uuid::Uuid::nil()),
                AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 },
                AgentId::from("node-1"),
                "step".to_owned(),
                Timestamp::from_millis(1_000),
                Value::Null,
            )
        }
    }

    #[test]
    fn time_moves_with_the_answers_and_the_first_call_without_one_unwinds() {
        let mut replay =
            Replay::new(journal(vec![answered(&sleep(5), 2_000, Answer::Sleep)], None));
        assert_eq!(replay.now(), Timestamp::from_millis(1_000));
        assert_eq!(replay.call(sleep(5)).unwrap(), Answer::Sleep);
        assert_eq!(replay.now(), Timestamp::from_millis(2_000));
        let Err(Stop::Blocked(call)) = replay.call(sleep(7)) else { panic!("not blocked") };
        assert_eq!(*call, sleep(7));
        assert!(replay.finished().is_ok());
    }

    #[test]
    fn another_call_than_before_is_not_deterministic() {
        let known = answered(&sleep(5), 2_000, Answer::Sleep);
        for call in [sleep(6), Call::Info] {
            let mut replay = Replay::new(journal(vec![known.clone()], None));
            assert!(matches!(replay.call(call), Err(Stop::NotDeterministic(_))));
        }
        for call in [sleep(6), Call::Info] {
            let mut replay = Replay::new(journal(vec![], Some(&sleep(5))));
            assert!(matches!(replay.call(call), Err(Stop::NotDeterministic(_))));
        }
        let mut replay = Replay::new(journal(vec![], Some(&sleep(5))));
        assert!(matches!(replay.call(sleep(5)), Err(Stop::Blocked(_))));
    }

    #[test]
    fn fewer_calls_than_before_are_not_deterministic() {
        let known = answered(&sleep(5), 2_000, Answer::Sleep);
        let replay = Replay::new(journal(vec![known], None));
        assert!(matches!(replay.finished(), Err(Stop::NotDeterministic(_))));
        let replay = Replay::new(journal(vec![], Some(&sleep(5))));
        assert!(matches!(replay.finished(), Err(Stop::NotDeterministic(_))));
    }

    #[test]
    fn the_call_past_the_limit_is_refused() {
        let answers = vec![answered(&sleep(1), 2_000, Answer::Sleep); CALLS];
        let mut replay = Replay::new(journal(answers, None));
        for _ in 0..CALLS {
            assert!(replay.call(sleep(1)).is_ok());
        }
        assert!(matches!(replay.call(sleep(1)), Err(Stop::Limit { code: "calls-limit", .. })));
    }

    #[test]
    fn only_the_last_answer_explains_an_error() {
        let lost = Answer::Info(Err(CallError::Lost("gone".to_owned())));
        let answers =
            vec![answered(&Call::Info, 2_000, lost), answered(&sleep(1), 3_000, Answer::Sleep)];
        let mut replay = Replay::new(journal(answers, None));
        replay.call(Call::Info).unwrap();
        assert_eq!(replay.trouble(), Some(FailureReason::ActionLost));
        replay.call(sleep(1)).unwrap();
        assert_eq!(replay.trouble(), None);
        replay.refused(FailureReason::NotGranted);
        assert_eq!(replay.trouble(), Some(FailureReason::NotGranted));
    }
}
