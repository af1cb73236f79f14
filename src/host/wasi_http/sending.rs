//! What becomes of a request that was handed over: it waits until the guest does, is a call of the journal then, and
//! has its response or an error.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::streams::Error as IoError;

use super::body::Body;
use super::errors::{Refusal, internal, of_answer, reason};
use super::request::{OutgoingRequest, RequestOptions};
use super::response::IncomingResponse;
use crate::bindings::outgoing::wasi::http::outgoing_handler;
use crate::bindings::outgoing::wasi::http::types::{ErrorCode, Host, HostFutureIncomingResponse};
use crate::error::Stop;
use crate::grants;
use crate::guest::Guest;
use crate::limits;
use crate::step_imports::mismatch;
use crate::wasi::Awaited;
use replibook_core::run::{
    Answer, Call, CallName, FailureReason, HttpError, HttpRequest, HttpResponse,
};

/// The requests of a guest that have no answer yet.
#[derive(Default)]
pub(crate) struct Requests {
    /// The futures of the requests that are whole, in the order in which they became so.
    pub(super) whole: VecDeque<u32>,
    /// How many have no answer, whole or not.
    unanswered: usize,
    /// The bytes of bodies that are not yet sent.
    pub(super) bytes: Arc<AtomicUsize>,
    /// How many errors the log has explained since the last answer.
    pub(crate) notes: usize,
}

/// A response that will be there once the guest has waited.
pub struct FutureResponse(State);

enum State {
    /// The request is not sent. It lacks its body, if it has one.
    Waiting(HttpRequest, Option<Body>),
    Answered(Result<HttpResponse, ErrorCode>),
    /// The guest has had the answer.
    Taken,
}

impl FutureResponse {
    /// Why the request can't be sent, if it can't.
    fn failure(&self) -> Option<ErrorCode> {
        match &self.0 {
            State::Waiting(_, body) => body.as_ref().and_then(Body::failure),
            State::Answered(_) | State::Taken => None,
        }
    }
}

#[async_trait]
impl Pollable for FutureResponse {
    // `poll` works out whether there is an answer.
    async fn ready(&mut self) {}
}

impl Guest {
    fn future(&mut self, handle: u32) -> wasmtime::Result<&mut FutureResponse> {
        Ok(self.wasi.table.get_mut(&Resource::new_borrow(handle))?)
    }

    /// Whether a guest that waits for this response can go on.
    pub(crate) fn is_answered(&self, handle: u32) -> bool {
        match self.wasi.table.get(&Resource::<FutureResponse>::new_borrow(handle)) {
            Ok(future) => !matches!(future.0, State::Waiting(..)) || future.failure().is_some(),
            Err(_) => true,
        }
    }

    /// Ends a request that will never be whole, because the guest waits for its response before it has finished the
    /// body.
    pub(crate) fn give_up_unfinished(&mut self, handle: u32) -> wasmtime::Result<()> {
        if let State::Waiting(_, Some(body)) = &self.future(handle)?.0 {
            let message = "the body has to be finished before its response is waited for";
            body.fail(internal(message.to_owned()));
        }
        Ok(())
    }

    /// Sends the first request that is whole. False if there is none.
    pub(crate) fn send_next(&mut self) -> wasmtime::Result<bool> {
        let Some(handle) = self.wasi.http.whole.pop_front() else { return Ok(false) };
        let (request, body) = match &self.future(handle)?.0 {
            State::Waiting(request, body) => (request.clone(), body.clone()),
            State::Answered(_) | State::Taken => return Ok(true),
        };
        let said = request.in_words();
        let bytes = body.map(|body| body.take()).unwrap_or_default();
        let answer = match request.with_body(bytes) {
            Ok(request) => {
                self.sent(request)?.map_err(|error| (error.to_string(), of_answer(error)))
            }
            Err(message) => {
                self.refused(FailureReason::StepFailed);
                Err((message.clone(), internal(message)))
            }
        };
        if let Err((message, _)) = &answer {
            self.note(format!("{said}: {message}"));
        }
        self.future(handle)?.0 = State::Answered(answer.map_err(|(_, code)| code));
        self.wasi.http.unanswered = self.wasi.http.unanswered.saturating_sub(1);
        Ok(true)
    }

    fn sent(&mut self, request: HttpRequest) -> Result<Result<HttpResponse, HttpError>, Stop> {
        match self.answered(Call::HttpSend { request })? {
            Answer::HttpSend(answer) => Ok(answer),
            Answer::Info(_)
            | Answer::RunAction(_)
            | Answer::WaitStatus(_)
            | Answer::Sleep
            | Answer::WaitSignal(_) => Err(mismatch(CallName::HttpSend)),
        }
    }

    /// Sends all requests that are whole, before the guest has another effect or ends.
    pub(crate) fn send_whole(&mut self) -> wasmtime::Result<()> {
        while self.send_next()? {}
        Ok(())
    }

    /// What a request is without its body, if it may be sent.
    fn admitted(
        &mut self,
        request: &OutgoingRequest,
        options: &RequestOptions,
    ) -> Result<Result<HttpRequest, Refusal>, Stop> {
        let unanswered = self.wasi.http.unanswered;
        let attempt = self.attempt("http.send")?;
        let request = match request.checked(options) {
            Ok(request) => request,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(message) = grants::http(&attempt.grants, &request) {
            let (code, reason) = (ErrorCode::HttpRequestDenied, FailureReason::NotGranted);
            return Ok(Err(Refusal { code, reason, message }));
        }
        if unanswered >= limits::WASI_REQUESTS {
            let message = format!("found {unanswered} requests without an answer, expected fewer");
            return Ok(Err(Refusal::invalid(ErrorCode::ConnectionLimitReached, message)));
        }
        Ok(Ok(request))
    }
}

impl outgoing_handler::Host for Guest {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Result<Resource<FutureResponse>, ErrorCode>> {
        let request = self.wasi.table.delete(request)?;
        let options = options.map(|options| self.wasi.table.delete(options)).transpose()?;
        let admitted = match self.admitted(&request, &options.unwrap_or_default())? {
            Ok(admitted) => admitted,
            Err(Refusal { code, reason, message }) => {
                self.refused(reason);
                self.note(message);
                if let Some(body) = &request.body {
                    body.fail(code.clone());
                }
                return Ok(Err(code));
            }
        };
        let body = request.body;
        let future = FutureResponse(State::Waiting(admitted, body.clone()));
        let future = self.wasi.table.push(future)?;
        self.wasi.http.unanswered += 1;
        match body {
            Some(body) if !body.is_whole() => body.belongs_to(Some(future.rep())),
            Some(_) | None => self.wasi.http.whole.push_back(future.rep()),
        }
        Ok(Ok(future))
    }
}

impl HostFutureIncomingResponse for Guest {
    fn subscribe(
        &mut self,
        future: Resource<FutureResponse>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let handle = future.rep();
        let pollable = subscribe(&mut self.wasi.table, future)?;
        self.wasi.awaited.insert(pollable.rep(), Awaited::Response(handle));
        Ok(pollable)
    }

    fn get(
        &mut self,
        future: Resource<FutureResponse>,
    ) -> wasmtime::Result<Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>> {
        let future = self.wasi.table.get_mut(&future)?;
        if let Some(code) = future.failure() {
            future.0 = State::Taken;
            self.wasi.http.unanswered = self.wasi.http.unanswered.saturating_sub(1);
            self.refused(reason(&code));
            self.note(format!("a request was not sent: {code:?}"));
            return Ok(Some(Ok(Err(code))));
        }
        if let State::Waiting(..) = future.0 {
            return Ok(None);
        }
        Ok(Some(match mem::replace(&mut future.0, State::Taken) {
            State::Answered(Ok(response)) => {
                Ok(Ok(self.wasi.table.push(IncomingResponse::new(response))?))
            }
            State::Answered(Err(code)) => Ok(Err(code)),
            State::Waiting(..) | State::Taken => Err(()),
        }))
    }

    fn drop(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<()> {
        let handle = future.rep();
        let FutureResponse(state) = self.wasi.table.delete(future)?;
        if let State::Waiting(_, body) = state {
            // Nobody waits for it any more, so it is not sent.
            self.wasi.http.unanswered = self.wasi.http.unanswered.saturating_sub(1);
            self.wasi.http.whole.retain(|known| *known != handle);
            if let Some(body) = body {
                body.belongs_to(None);
            }
        }
        Ok(())
    }
}

impl Host for Guest {
    fn http_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.wasi.table.get(&error)?.downcast_ref::<ErrorCode>().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::outgoing::wasi::http::types::{HostFields, HostOutgoingRequest};
    use crate::guest::{Role, Seed};
    use replibook_core::run::Timestamp;

    #[test]
    fn a_plugin_that_describes_itself_hands_nothing_over() {
        let mut guest = Guest::new(Role::Describe, Timestamp::default(), Seed::Of([0; 32]));
        let fields = HostFields::new(&mut guest).unwrap();
        let request = HostOutgoingRequest::new(&mut guest, fields).unwrap();
        let error = outgoing_handler::Host::handle(&mut guest, request, None).unwrap_err();
        let forbidden = error.downcast_ref();
        assert!(matches!(forbidden, Some(Stop::Forbidden { call: "http.send", .. })), "{error}");
        assert!(!guest.send_next().unwrap());
    }
}
