//! What a step may reach besides its agent: HTTP servers and signals. Only a step that is made with `outside: yes`
//! has these, so that the others don't ask for what they never use.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::step::{Agent, StepError, millis};

/// An HTTP request. It is sent at least once: after a crash of the engine it may be sent again, with the same
/// `Idempotency-Key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `HEAD`.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Names and values of headers. The host sets `Host`, `Content-Length` and `Idempotency-Key` itself.
    pub headers: Vec<(String, String)>,
    /// Body, at most 1 MiB.
    pub body: Vec<u8>,
    /// How long to wait for the whole response, at most 10 minutes.
    pub timeout: Duration,
}

/// How long a request waits for its response unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Request {
    /// A request without a body that waits 30 s.
    ///
    /// # Example
    /// ```
    /// use replibook_plugin_sdk::outside::Request;
    ///
    /// let request = Request::new("GET", "https://hooks.example.com/state").header("accept", "text/plain");
    /// assert_eq!((request.method.as_str(), request.headers.len()), ("GET", 1));
    /// ```
    pub fn new(method: &str, url: &str) -> Self {
        let (method, url) = (method.to_owned(), url.to_owned());
        Self { method, url, timeout: TIMEOUT, ..Self::default() }
    }

    /// The request with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request with a value as its body in JSON.
    ///
    /// # Errors
    /// The value can't be written as JSON.
    pub fn json(self, value: &impl Serialize) -> Result<Self, StepError> {
        let body = serde_json::to_vec(value)?;
        Ok(Self { body, ..self.header("content-type", "application/json") })
    }
}

/// An HTTP response, whatever its status. Redirects are not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names, in lower case, and values of headers.
    pub headers: Vec<(String, String)>,
    /// Body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text. Bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body read as JSON.
    ///
    /// # Errors
    /// The body is no JSON of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            StepError::Permanent(format!("failed to read the body of the response: {error}"))
        })
    }
}

/// Why there is no response. The text is what the host said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The playbook does not grant the request, or the server's address may not be reached.
    NotGranted(String),
    /// No whole response came in time.
    TimedOut(String),
    /// The connection failed, or the response is larger than what is kept.
    Failed(String),
    /// The request is not valid.
    Invalid(String),
}

/// Why no signal came. The text is what the host said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalError {
    /// The playbook does not grant the signal.
    NotGranted(String),
    /// No signal came in time.
    TimedOut(String),
    /// The payload is not of the type that was asked for.
    Invalid(String),
}

/// What is not granted or not valid stays so; everything else may go better in another attempt.
impl From<HttpError> for StepError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TimedOut(message) | HttpError::Failed(message) => Self::Retryable(message),
            HttpError::NotGranted(message) | HttpError::Invalid(message) => {
                Self::Permanent(message)
            }
        }
    }
}

impl From<SignalError> for StepError {
    fn from(error: SignalError) -> Self {
        match error {
            SignalError::TimedOut(message) => Self::Retryable(message),
            SignalError::NotGranted(message) | SignalError::Invalid(message) => {
                Self::Permanent(message)
            }
        }
    }
}

/// The imports `http` and `signal` of the world `step`, as the WIT has them.
pub trait Outside {
    /// `http.send`.
    fn send(&self, request: &Request) -> Result<Response, HttpError>;
    /// `signal.wait`, with a timeout in milliseconds and the payload as JSON.
    fn wait_signal(&self, name: &str, timeout: u32) -> Result<String, SignalError>;
}

/// What a step has that is made without `outside: yes`.
pub(crate) struct Nothing;

const NOTHING: &str = "this step was made without `outside: yes`";

impl Outside for Nothing {
    fn send(&self, _: &Request) -> Result<Response, HttpError> {
        Err(HttpError::NotGranted(NOTHING.to_owned()))
    }
    fn wait_signal(&self, _: &str, _: u32) -> Result<String, SignalError> {
        Err(SignalError::NotGranted(NOTHING.to_owned()))
    }
}

impl Agent<'_> {
    /// Sends a request, and returns the response whatever its status.
    ///
    /// # Errors
    /// `NotGranted`, `TimedOut`, `Failed`, `Invalid`.
    pub fn send(&self, request: &Request) -> Result<Response, HttpError> {
        self.outside.send(request)
    }

    /// Waits for a signal to the run or to this agent, and reads its payload. One signal ends one wait of each
    /// attempt.
    ///
    /// # Errors
    /// `NotGranted`, `TimedOut`, `Invalid`.
    pub fn wait_signal<T: DeserializeOwned>(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<T, SignalError> {
        let payload = self.outside.wait_signal(name, millis(timeout))?;
        serde_json::from_str(&payload).map_err(|error| {
            SignalError::Invalid(format!("failed to read the payload of signal {name}: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::step::{AgentError, Calls, Input, NodeInfo};

    struct Answers;

    impl Calls for Answers {
        fn info(&self) -> Result<NodeInfo, AgentError> {
            Ok(NodeInfo::default())
        }
        fn run_action(&self, _: &str, _: &str) -> Result<String, AgentError> {
            Ok(String::new())
        }
        fn wait_status(&self, _: &[String], _: u32) -> Result<String, AgentError> {
            Ok(String::new())
        }
        fn now(&self) -> f64 {
            0.0
        }
        fn sleep(&self, _: u32) {}
        fn random(&self, _: u32) -> Vec<u8> {
            Vec::new()
        }
        fn log(&self, _: Level, _: &str) {}
    }

    impl Outside for Answers {
        fn send(&self, request: &Request) -> Result<Response, HttpError> {
            assert_eq!(
                request.headers,
                [("content-type".to_owned(), "application/json".to_owned())]
            );
            Ok(Response { status: 201, body: request.body.clone(), ..Response::default() })
        }
        fn wait_signal(&self, name: &str, timeout: u32) -> Result<String, SignalError> {
            assert_eq!((name, timeout), ("go", 5_000));
            Ok("[1,2]".to_owned())
        }
    }

    #[test]
    fn json_goes_out_and_comes_back() {
        let input = Input::default();
        let agent = Agent::reaching(&input, &Answers, &Answers);
        let request = Request::new("POST", "https://a.example").json(&[1, 2]).unwrap();
        let response = agent.send(&request).unwrap();
        assert_eq!((response.status, response.text().as_str()), (201, "[1,2]"));
        assert_eq!(response.json::<Vec<u8>>(), Ok(vec![1, 2]));
        assert!(matches!(response.json::<bool>(), Err(StepError::Permanent(_))));
        let wait = Duration::from_secs(5);
        assert_eq!(agent.wait_signal::<Vec<u8>>("go", wait), Ok(vec![1, 2]));
        assert!(matches!(agent.wait_signal::<bool>("go", wait), Err(SignalError::Invalid(_))));
    }

    #[test]
    fn a_step_that_did_not_ask_for_it_reaches_nothing() {
        let input = Input::default();
        let agent = Agent::new(&input, &Answers);
        let request = Request::new("GET", "https://a.example");
        assert!(matches!(agent.send(&request), Err(HttpError::NotGranted(_))));
        let error = agent.wait_signal::<bool>("go", Duration::ZERO).unwrap_err();
        assert_eq!(StepError::from(error), StepError::Permanent(NOTHING.to_owned()));
    }
}
