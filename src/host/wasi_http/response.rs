//! What a guest reads of a response, which is there as a whole.

use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{DynInputStream, DynPollable, Pollable, subscribe};

use super::fields::Fields;
use crate::bindings::outgoing::wasi::http::types::{
    ErrorCode, HostFutureTrailers, HostIncomingBody, HostIncomingResponse,
};
use crate::guest::Guest;
use replibook_core::run::{HttpBody, HttpResponse};

/// A response.
pub struct IncomingResponse {
    status: u16,
    headers: Fields,
    /// The body, until the guest takes it.
    body: Option<HttpBody>,
}

impl IncomingResponse {
    pub(super) fn new(response: HttpResponse) -> Self {
        let HttpResponse { status, headers, body } = response;
        Self { status, headers: Fields::received(&headers), body: Some(body) }
    }
}

/// The body of a response, until its stream is taken.
pub struct IncomingBody(Option<HttpBody>);

/// The trailers of a response, which has none.
pub struct Trailers {
    taken: bool,
}

#[async_trait]
impl Pollable for Trailers {
    async fn ready(&mut self) {}
}

impl HostIncomingResponse for Guest {
    fn status(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<u16> {
        Ok(self.wasi.table.get(&response)?.status)
    }

    fn headers(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.wasi.table.get(&response)?.headers.clone();
        Ok(self.wasi.table.push(headers)?)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        let Some(body) = self.wasi.table.get_mut(&response)?.body.take() else {
            return Ok(Err(()));
        };
        Ok(Ok(self.wasi.table.push(IncomingBody(Some(body)))?))
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<()> {
        self.wasi.table.delete(response)?;
        Ok(())
    }
}

impl HostIncomingBody for Guest {
    fn stream(
        &mut self,
        body: Resource<IncomingBody>,
    ) -> wasmtime::Result<Result<Resource<DynInputStream>, ()>> {
        let Some(content) = self.wasi.table.get_mut(&body)?.0.take() else {
            return Ok(Err(()));
        };
        let stream: DynInputStream = Box::new(MemoryInputPipe::new(content.bytes().to_vec()));
        Ok(Ok(self.wasi.table.push_child(stream, &body)?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<Resource<Trailers>> {
        self.wasi.table.delete(body)?;
        Ok(self.wasi.table.push(Trailers { taken: false })?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<()> {
        self.wasi.table.delete(body)?;
        Ok(())
    }
}

impl HostFutureTrailers for Guest {
    fn subscribe(
        &mut self,
        trailers: Resource<Trailers>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.wasi.table, trailers)
    }

    fn get(
        &mut self,
        trailers: Resource<Trailers>,
    ) -> wasmtime::Result<Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>> {
        let trailers = self.wasi.table.get_mut(&trailers)?;
        Ok(Some(match std::mem::replace(&mut trailers.taken, true) {
            true => Err(()),
            false => Ok(Ok(None)),
        }))
    }

    fn drop(&mut self, trailers: Resource<Trailers>) -> wasmtime::Result<()> {
        self.wasi.table.delete(trailers)?;
        Ok(())
    }
}
