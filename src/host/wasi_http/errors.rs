//! Which code of `wasi:http` is which of our errors. Most codes have no text, so the log says more.

use crate::bindings::outgoing::wasi::http::types::ErrorCode;
use crate::error::cut;
use crate::guest::{Guest, Role};
use crate::limits;
use replibook_core::run::{FailureReason, HttpError, LogLevel};

/// Why a request is not sent.
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) reason: FailureReason,
    pub(super) message: String,
}

impl Refusal {
    /// A request that is not valid.
    pub(super) fn invalid(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, reason: FailureReason::StepFailed, message: message.into() }
    }

    /// The same, for what no code fits.
    pub(super) fn other(message: String) -> Self {
        Self::invalid(internal(message.clone()), message)
    }
}

/// The code of errors that no other one fits: the only one with a text.
pub(super) fn internal(message: String) -> ErrorCode {
    ErrorCode::InternalError(Some(cut(message, limits::MESSAGE_BYTES)))
}

/// Why a step has failed that returns this code as its error, where no call of the journal says so.
pub(super) fn reason(code: &ErrorCode) -> FailureReason {
    match matches!(code, ErrorCode::HttpRequestDenied) {
        true => FailureReason::NotGranted,
        false => FailureReason::StepFailed,
    }
}

/// The code of a request that has no response.
pub(super) fn of_answer(error: HttpError) -> ErrorCode {
    match error {
        HttpError::NotGranted(_) => ErrorCode::HttpRequestDenied,
        HttpError::TimedOut(_) => ErrorCode::HttpResponseTimeout,
        HttpError::Failed(message) | HttpError::Secret(message) => internal(message),
    }
}

impl Guest {
    /// Notes that the host refused something without a call of the journal. An error that the step returns next is for
    /// this reason, as it is with `http` of our own.
    pub(super) fn refused(&mut self, reason: FailureReason) {
        if let Role::Step(attempt) = &mut self.role {
            attempt.replay.refused(reason);
        }
    }

    /// Explains an error in the log. Between two answers of the journal only the first are explained.
    pub(super) fn note(&mut self, message: String) {
        if self.wasi.http.notes >= limits::WASI_HTTP_NOTES {
            return;
        }
        self.wasi.http.notes += 1;
        let message = cut(format!("wasi:http: {message}"), limits::MESSAGE_BYTES);
        // A log that the guest has filled has no place for this line, which is no reason to end the guest.
        let _ = self.log.push(LogLevel::Warn, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{Role, Seed};
    use replibook_core::run::Timestamp;

    #[test]
    fn each_error_has_its_code() {
        let text = || "why".to_owned();
        assert!(matches!(of_answer(HttpError::NotGranted(text())), ErrorCode::HttpRequestDenied));
        assert!(matches!(of_answer(HttpError::TimedOut(text())), ErrorCode::HttpResponseTimeout));
        for error in [HttpError::Failed(text()), HttpError::Secret(text())] {
            let ErrorCode::InternalError(Some(said)) = of_answer(error) else { panic!("no text") };
            assert_eq!(said, "why");
        }
    }

    #[test]
    fn a_guest_that_tries_again_and_again_keeps_its_log() {
        let mut guest = Guest::new(Role::Describe, Timestamp::default(), Seed::Of([0; 32]));
        for _ in 0..limits::LOG_LINES * 2 {
            guest.note("no".to_owned());
        }
        let lines = guest.log.take();
        assert_eq!(lines.len(), limits::WASI_HTTP_NOTES);
        assert_eq!(lines[0].message, "wasi:http: no");
    }

    #[test]
    fn a_note_without_a_place_in_the_log_changes_nothing() {
        let mut guest = Guest::new(Role::Describe, Timestamp::default(), Seed::Of([0; 32]));
        for _ in 0..limits::LOG_LINES - 1 {
            guest.log.push(LogLevel::Info, String::new()).unwrap();
        }
        for _ in 0..2 {
            guest.note("no".to_owned());
        }
        let lines = guest.log.take();
        assert_eq!(lines.len(), limits::LOG_LINES);
        assert_eq!(lines[limits::LOG_LINES - 1].message, "wasi:http: no");
    }

    #[test]
    fn only_a_request_that_is_not_granted_is_for_that_reason() {
        assert_eq!(reason(&ErrorCode::HttpRequestDenied), FailureReason::NotGranted);
        assert_eq!(reason(&ErrorCode::HttpRequestBodySize(None)), FailureReason::StepFailed);
        assert_eq!(reason(&internal("why".to_owned())), FailureReason::StepFailed);
    }
}
