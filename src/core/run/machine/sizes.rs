//! How many bytes answers and journals take in a commit.

use crate::run::{Answer, Answered, Journal};

/// Bytes of the answers of an attempt.
pub(super) fn answers_bytes(answers: &[Answered]) -> usize {
    answers.iter().map(size_of_answered).sum()
}

/// Bytes of a journal, as a commit has it.
pub(super) fn journal_bytes(journal: &Journal) -> usize {
    let late = journal.late.as_ref().map_or(0, size_of_answered);
    answers_bytes(&journal.answers) + late + journal.arguments.bytes()
}

pub(super) fn size_of_answered(answered: &Answered) -> usize {
    match &answered.answer {
        Answer::RunAction(Ok(value)) => value.bytes(),
        // The attributes are also in the whole answer, so they are written twice.
        Answer::Info(Ok(node)) => node.raw.bytes() + node.attributes.bytes(),
        Answer::WaitStatus(Ok(text)) => text.len(),
        Answer::Info(Err(error))
        | Answer::RunAction(Err(error))
        | Answer::WaitStatus(Err(error)) => error.to_string().len(),
        Answer::Sleep => 0,
    }
}
