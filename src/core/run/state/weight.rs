//! How many bytes records, answers and journals take in a commit, so that transitions can be kept within its
//! limit.

use serde_json::Value;

use crate::run::signal::signal_bytes;
use crate::run::{AgentRecord, Answer, Answered, Datastore, Journal, JsonText};

/// Bytes that a record takes in a commit, approximately.
pub(crate) fn record_bytes(record: &AgentRecord) -> usize {
    let past = record.past.iter().filter_map(|stage| stage.error.as_ref());
    let failures = record.error.iter().chain(past);
    // Half of the characters of a message may have to be escaped.
    let failures: usize = failures.map(|failure| 2 * failure.message.len()).sum();
    let attributes = record.attributes.values().map(json_bytes);
    record.results.values().map(JsonText::bytes).chain(attributes).sum::<usize>()
        + json_bytes(&record.node)
        + datastore_bytes(&record.datastore)
        + signal_bytes(&record.signals)
        + failures
}

/// Bytes of a store and its shards as JSON text.
pub(crate) fn datastore_bytes(Datastore { store, shards }: &Datastore) -> usize {
    json_bytes(store) + json_bytes(shards)
}

/// Bytes of a value as JSON text.
pub(crate) fn json_bytes(value: &Value) -> usize {
    value.to_string().len()
}

/// Bytes of the answers of an attempt.
pub(crate) fn answers_bytes(answers: &[Answered]) -> usize {
    answers.iter().map(size_of_answered).sum()
}

/// Bytes that a journal takes in a commit, approximately.
pub(crate) fn journal_bytes(journal: &Journal) -> usize {
    let late = journal.late.as_ref().map_or(0, size_of_answered);
    answers_bytes(&journal.answers) + late + journal.arguments.bytes()
}

pub(crate) fn size_of_answered(answered: &Answered) -> usize {
    match &answered.answer {
        Answer::RunAction(Ok(value)) => value.bytes(),
        // The whole answer has the attributes too, so they are written twice.
        Answer::Info(Ok(node)) => node.raw.bytes() + node.attributes.bytes(),
        Answer::WaitStatus(Ok(text)) => text.len(),
        Answer::Info(Err(error))
        | Answer::RunAction(Err(error))
        | Answer::WaitStatus(Err(error))
        | Answer::WaitSignal(Err(error)) => error.to_string().len(),
        Answer::HttpSend(Ok(response)) => response.json_bytes(),
        Answer::HttpSend(Err(error)) => error.bytes(),
        Answer::WaitSignal(Ok(received)) => received.payload.bytes(),
        Answer::Sleep => 0,
    }
}
