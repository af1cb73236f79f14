//! The body of a request, which a guest writes in pieces and which is sent whole.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::errors::{internal, reason};
use super::fields::Fields;
use crate::bindings::outgoing::wasi::http::types::{ErrorCode, HostOutgoingBody};
use crate::guest::Guest;
use crate::limits;
use replibook_core::run::MAX_HTTP_BODY;

/// A body, which its request, its stream and its resource share.
#[derive(Clone)]
pub(super) struct Body(Arc<Mutex<Content>>);

struct Content {
    bytes: Vec<u8>,
    /// The length that the headers tell.
    expected: Option<u64>,
    written: Written,
    /// The bytes of all bodies of the guest that are not yet sent.
    all: Arc<AtomicUsize>,
    /// The future of the request, once that was handed over.
    future: Option<u32>,
}

/// How far a body is.
enum Written {
    /// The guest writes it.
    Partly,
    /// It is finished.
    Wholly,
    /// It can't be sent.
    Failed(ErrorCode),
}

impl Body {
    pub(super) fn new(expected: Option<u64>, all: &Arc<AtomicUsize>) -> Self {
        let (bytes, all) = (Vec::new(), Arc::clone(all));
        let content = Content { bytes, expected, written: Written::Partly, all, future: None };
        Self(Arc::new(Mutex::new(content)))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the body which future is that of its request; none if nobody waits for it any more.
    pub(super) fn belongs_to(&self, future: Option<u32>) {
        self.content().future = future;
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.content().written, Written::Wholly)
    }

    /// Why it can't be sent, if it can't.
    pub(super) fn failure(&self) -> Option<ErrorCode> {
        match &self.content().written {
            Written::Failed(code) => Some(code.clone()),
            Written::Partly | Written::Wholly => None,
        }
    }

    /// Gives up a body that is not finished.
    pub(super) fn fail(&self, code: ErrorCode) {
        let mut content = self.content();
        if let Written::Partly = content.written {
            content.written = Written::Failed(code);
            content.take();
        }
    }

    /// The bytes, in order to send them.
    pub(super) fn take(&self) -> Vec<u8> {
        self.content().take()
    }
}

impl Content {
    fn take(&mut self) -> Vec<u8> {
        self.all.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        mem::take(&mut self.bytes)
    }

    /// Adds a piece.
    fn add(&mut self, piece: &[u8]) -> StreamResult<()> {
        let Written::Partly = self.written else { return Err(StreamError::Closed) };
        let length = self.bytes.len().saturating_add(piece.len());
        let all = self.all.load(Ordering::Relaxed).saturating_add(piece.len());
        let code = if length > MAX_HTTP_BODY {
            ErrorCode::HttpRequestBodySize(Some(length as u64))
        } else if all > limits::WASI_BODY_BYTES {
            let most = limits::WASI_BODY_BYTES;
            internal(format!(
                "found {all} bytes of bodies that are not yet sent, expected at most {most}"
            ))
        } else {
            self.bytes.extend_from_slice(piece);
            self.all.fetch_add(piece.len(), Ordering::Relaxed);
            return Ok(());
        };
        self.written = Written::Failed(code.clone());
        self.take();
        Err(StreamError::LastOperationFailed(wasmtime::Error::new(code)))
    }

    /// Finishes the body, and returns the future of its request if that was handed over.
    fn finish(&mut self, has_trailers: bool) -> Result<Option<u32>, ErrorCode> {
        let length = self.bytes.len() as u64;
        let code = match &self.written {
            Written::Failed(code) => code.clone(),
            Written::Partly | Written::Wholly if has_trailers => {
                internal("trailers are not sent; put them into the headers or the body".to_owned())
            }
            Written::Partly | Written::Wholly if self.expected.is_some_and(|it| it != length) => {
                ErrorCode::HttpRequestBodySize(Some(length))
            }
            Written::Partly | Written::Wholly => {
                self.written = Written::Wholly;
                return Ok(self.future);
            }
        };
        self.written = Written::Failed(code.clone());
        self.take();
        Err(code)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.take();
    }
}

/// What a guest holds of a body.
pub struct OutgoingBody {
    pub(super) body: Body,
    /// Whether it has the stream, of which there is one.
    pub(super) has_stream: bool,
}

/// What a guest writes a body to.
struct Writer(Body);

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let (found, most) = (bytes.len(), limits::WASI_WRITE_BYTES);
        if found > most {
            let message =
                format!("the plugin wrote {found} bytes at once, expected at most {most}");
            return Err(StreamError::Trap(wasmtime::Error::msg(message)));
        }
        self.0.content().add(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self.0.content().written {
            Written::Partly => Ok(limits::WASI_WRITE_BYTES),
            Written::Wholly | Written::Failed(_) => Err(StreamError::Closed),
        }
    }
}

impl HostOutgoingBody for Guest {
    fn write(
        &mut self,
        body: Resource<OutgoingBody>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let held = self.wasi.table.get_mut(&body)?;
        if mem::replace(&mut held.has_stream, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(Writer(held.body.clone()));
        Ok(Ok(self.wasi.table.push_child(stream, &body)?))
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        let trailers = trailers.map(|fields| self.wasi.table.delete(fields)).transpose()?;
        let body = self.wasi.table.delete(body)?.body;
        let has_trailers = trailers.is_some_and(|fields| !fields.is_empty());
        let finished = body.content().finish(has_trailers);
        match finished {
            Ok(future) => {
                self.wasi.http.whole.extend(future);
                Ok(Ok(()))
            }
            Err(code) => {
                self.refused(reason(&code));
                self.note(format!("failed to finish a body: {code:?}"));
                Ok(Err(code))
            }
        }
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> wasmtime::Result<()> {
        let body = self.wasi.table.delete(body)?.body;
        body.fail(internal("the body was dropped before it was finished".to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(expected: Option<u64>) -> (Body, Arc<AtomicUsize>) {
        let all = Arc::new(AtomicUsize::new(0));
        (Body::new(expected, &all), all)
    }

    fn write(body: &Body, length: usize) -> StreamResult<()> {
        let bytes = vec![b'x'; length];
        let mut pieces = bytes.chunks(limits::WASI_WRITE_BYTES);
        pieces.try_for_each(|piece| Writer(body.clone()).write(piece.to_vec().into()))
    }

    #[test]
    fn a_guest_writes_no_more_at_once_than_it_was_told() {
        let (body, all) = body(None);
        let mut writer = Writer(body);
        let most = writer.check_write().unwrap();
        let too_much = writer.write(vec![b'x'; most + 1].into());
        assert!(matches!(too_much, Err(StreamError::Trap(_))));
        assert_eq!(all.load(Ordering::Relaxed), 0);
        assert!(writer.write(vec![b'x'; most].into()).is_ok());
    }

    #[test]
    fn a_body_is_as_long_as_one_of_our_own_requests_may_have() {
        let (most, all) = body(None);
        assert!(write(&most, MAX_HTTP_BODY - 1).is_ok() && write(&most, 1).is_ok());
        assert_eq!(all.load(Ordering::Relaxed), MAX_HTTP_BODY);
        let Err(StreamError::LastOperationFailed(error)) = write(&most, 1) else {
            panic!("it was written")
        };
        let code = error.downcast_ref::<ErrorCode>();
        let length = MAX_HTTP_BODY as u64 + 1;
        assert!(matches!(code, Some(ErrorCode::HttpRequestBodySize(Some(it))) if *it == length));
        assert!(matches!(write(&most, 1), Err(StreamError::Closed)));
        assert!(most.content().finish(false).is_err());
        assert_eq!(all.load(Ordering::Relaxed), 0, "nothing of it is kept");
    }

    #[test]
    fn all_bodies_that_wait_count_together() {
        let all = Arc::new(AtomicUsize::new(0));
        let bodies: Vec<_> = (0..5).map(|_| Body::new(None, &all)).collect();
        for body in &bodies[..4] {
            write(body, MAX_HTTP_BODY).unwrap();
        }
        assert!(write(&bodies[4], 1).is_err());
        assert_eq!(bodies[0].take().len(), MAX_HTTP_BODY);
        let another = Body::new(None, &all);
        assert!(write(&another, 1).is_ok());
        drop((bodies, another));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_finished_body_is_what_its_headers_say() {
        for (expected, length, fine) in
            [(None, 3, true), (Some(3), 3, true), (Some(2), 3, false), (Some(4), 3, false)]
        {
            let (body, _) = body(expected);
            write(&body, length).unwrap();
            assert_eq!(body.content().finish(false).is_ok(), fine, "{expected:?}");
            assert_eq!(body.is_whole(), fine);
            assert!(matches!(write(&body, 1), Err(StreamError::Closed)));
        }
        let (body, _) = body(None);
        assert!(body.content().finish(true).is_err(), "trailers");
    }
}
