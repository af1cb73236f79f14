//! The one error of the API: a problem document (RFC 9457) with a stable code.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

pub use super::codes::Code;
use super::wire::{DocumentProblems, ProblemDetails};
use crate::playbook::{Problem, Problems};
use crate::plugin::PluginError;
use crate::store::StoreError;

/// Media type of problem documents.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    /// The kind of error, for programs.
    pub code: Code,
    /// What happened, what was found and what was expected, for people.
    pub detail: String,
    /// What is wrong with a document, if that is the cause; otherwise empty.
    pub problems: Vec<Problem>,
    /// What is wrong with which of several documents, if that is the cause; otherwise empty.
    pub documents: Vec<DocumentProblems>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    /// An error of this kind, without problems of documents.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            problems: Vec::new(),
            documents: Vec::new(),
            source: None,
        }
    }

    /// Whether the same request may succeed later.
    pub const fn retryable(&self) -> bool {
        self.code.retryable()
    }

    /// The problem document that is sent.
    pub fn details(&self) -> ProblemDetails {
        let status = self.code.status();
        ProblemDetails {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str().to_owned(),
            problems: self.problems.clone(),
            documents: self.documents.clone(),
        }
    }

    pub(super) fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "the server failed; its log says more").caused_by(source)
    }

    /// A wrong part of a request; `place` names it, for example ``query parameter `limit` ``.
    pub(super) fn bad_parameter(place: &str, found: &str, expected: &str) -> Self {
        let detail = format!("{place}: found {found:?}, expected {expected}");
        Self::new(Code::BadParameter, detail)
    }

    pub(super) fn invalid_document(problems: Problems) -> Self {
        let detail = format!("the document has {}", count(problems.0.len()));
        Self { problems: problems.0, ..Self::new(Code::InvalidDocument, detail) }
    }

    pub(super) fn invalid_documents(documents: Vec<DocumentProblems>) -> Self {
        let problems = documents.iter().map(|document| document.problems.len()).sum();
        let detail = format!("the documents have {}; nothing was applied", count(problems));
        Self { documents, ..Self::new(Code::InvalidDocument, detail) }
    }

    pub(super) fn invalid_params(problems: Problems) -> Self {
        let detail = format!("the parameters have {}", count(problems.0.len()));
        Self { problems: problems.0, ..Self::new(Code::InvalidParams, detail) }
    }

    /// What should narrow a run does not fit its playbook.
    pub(super) fn invalid_narrowing(problems: Problems) -> Self {
        let detail = format!("what narrows the run has {}", count(problems.0.len()));
        Self { problems: problems.0, ..Self::new(Code::InvalidParams, detail) }
    }
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

impl From<PluginError> for ApiError {
    fn from(error: PluginError) -> Self {
        let problem = Problem {
            code: error.code.to_owned(),
            path: String::new(),
            line: None,
            column: None,
            message: error.message.clone(),
            found: None,
            expected: None,
        };
        // An error that is worth another try says nothing about the plugin.
        let code = match error.retryable() {
            true => Code::PluginsUnavailable,
            false => Code::InvalidPlugin,
        };
        Self { problems: vec![problem], ..Self::new(code, error.to_string()) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Unavailable { .. } => Code::StoreUnavailable,
            StoreError::Conflict { .. } => Code::Conflict,
            StoreError::ClusterBusy { .. } => Code::ClusterBusy,
            StoreError::MissingPlugin { .. } => Code::PluginMissing,
            StoreError::MissingCluster { .. } => Code::ClusterNotFound,
            StoreError::ClusterInUse { .. } => Code::ClusterInUse,
            StoreError::Pinned { .. } => Code::PluginPinned,
            StoreError::BadCursor { .. } => Code::BadParameter,
            StoreError::TooLarge { .. } => Code::BodyTooLarge,
            StoreError::Damaged(_) | StoreError::Broken { .. } => Code::StoreDamaged,
            StoreError::Unfit { .. }
            | StoreError::Fenced { .. }
            | StoreError::Corrupt { .. }
            | StoreError::NewerSchema { .. } => Code::Internal,
        };
        let mut detail = error.to_string();
        if let StoreError::Broken { source, .. } = &error {
            detail.push_str(&format!(" ({source}); `replibook store check` shows where"));
        }
        Self::new(code, detail).caused_by(error)
    }
}

/// For information beside what was asked for: an empty value if the database is damaged there. What was asked
/// for can be shown without it, and `/readyz` says that something is damaged.
pub(super) fn unless_broken<T: Default>(found: Result<T, StoreError>) -> Result<T, ApiError> {
    match found {
        Err(StoreError::Broken { .. }) => Ok(T::default()),
        found => Ok(found?),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        // Refused requests are counted, and logged together.
        let refused = matches!(self.code, Code::TooBusy | Code::TooManyStreams);
        if status.is_server_error() && !refused {
            let cause = self.source.as_deref().map(chain).unwrap_or_default();
            let (code, detail) = (self.code.as_str(), &self.detail);
            match self.code == Code::NotReady {
                // Whoever asks for readiness asks every second, and reads the answer.
                true => tracing::debug!(code, %detail, %cause, "not ready"),
                false => tracing::error!(code, %detail, %cause, "a request failed"),
            }
        }
        let mut response = (status, Json(self.details())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.retryable() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

/// The error and its causes in one line.
fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn an_error_is_a_problem_document() {
        let error = ApiError::from(PluginError {
            code: "unknown-import",
            message: "found wasi:sockets".to_owned(),
        });
        let response = error.into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let details: ProblemDetails = serde_json::from_slice(&body).unwrap();
        assert_eq!(details.kind, "about:blank");
        assert_eq!((details.status, details.title.as_str()), (422, "Unprocessable Entity"));
        assert_eq!(details.code, "invalid-plugin");
        assert_eq!(details.problems[0].code, "unknown-import");
    }

    #[test]
    fn a_store_that_does_not_answer_is_worth_another_try_and_a_conflict_is_not() {
        let down = StoreError::Unavailable { message: "down".to_owned(), source: None };
        let response = ApiError::from(down).into_response();
        assert_eq!(
            (response.status(), &response.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("1"))
        );
        let broken = StoreError::Broken { doing: "read a run".to_owned(), source: "page 7".into() };
        let broken = ApiError::from(broken);
        assert_eq!((broken.code, broken.retryable()), (Code::StoreDamaged, false));
        for said in ["read a run", "page 7", "`replibook store check`"] {
            assert!(broken.detail.contains(said), "{broken}");
        }
        let beside = || StoreError::Broken { doing: "read".to_owned(), source: "page 7".into() };
        assert!(unless_broken::<Vec<u8>>(Err(beside())).is_ok_and(|found| found.is_empty()));
        let down = StoreError::Unavailable { message: "down".to_owned(), source: None };
        assert!(unless_broken::<Vec<u8>>(Err(down)).is_err_and(|error| error.retryable()));
        let conflict = ApiError::from(StoreError::Conflict { what: "playbook a".to_owned() });
        assert_eq!(conflict.code, Code::Conflict);
        assert!(!conflict.retryable());
    }
}
