//! What `wasi:http` has for servers. Runtimes of languages import it beside the rest, but a step serves nobody: nothing
//! makes a request or the place of a response, and a response that a guest makes has nowhere to go.

use wasmtime::component::Resource;

use super::body::OutgoingBody;
use super::fields::Fields;
use super::response::IncomingBody;
use crate::bindings::outgoing::wasi::http::types::{
    ErrorCode, HostIncomingRequest, HostOutgoingResponse, HostResponseOutparam, IncomingRequest,
    Method, ResponseOutparam, Scheme,
};
use crate::guest::Guest;

/// A response that nobody will have.
pub struct OutgoingResponse {
    status: u16,
    headers: Fields,
}

impl Guest {
    /// What a request is that nobody has sent. No guest can have its handle, so the table does not find it.
    fn nothing<T: 'static, R>(&self, handle: &Resource<T>) -> wasmtime::Result<R> {
        self.wasi.table.get(handle)?;
        Err(wasmtime::Error::msg("a step serves no requests"))
    }
}

impl HostIncomingRequest for Guest {
    fn method(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Method> {
        self.nothing(&request)
    }

    fn path_with_query(
        &mut self,
        request: Resource<IncomingRequest>,
    ) -> wasmtime::Result<Option<String>> {
        self.nothing(&request)
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<Scheme>> {
        self.nothing(&request)
    }

    fn authority(
        &mut self,
        request: Resource<IncomingRequest>,
    ) -> wasmtime::Result<Option<String>> {
        self.nothing(&request)
    }

    fn headers(
        &mut self,
        request: Resource<IncomingRequest>,
    ) -> wasmtime::Result<Resource<Fields>> {
        self.nothing(&request)
    }

    fn consume(
        &mut self,
        request: Resource<IncomingRequest>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        self.nothing(&request)
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<()> {
        self.nothing(&request)
    }
}

impl HostResponseOutparam for Guest {
    fn set(
        &mut self,
        place: Resource<ResponseOutparam>,
        _: Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> wasmtime::Result<()> {
        self.nothing(&place)
    }

    fn drop(&mut self, place: Resource<ResponseOutparam>) -> wasmtime::Result<()> {
        self.nothing(&place)
    }
}

impl HostOutgoingResponse for Guest {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingResponse>> {
        let headers = self.wasi.table.delete(headers)?.fixed();
        Ok(self.wasi.table.push(OutgoingResponse { status: 200, headers })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<u16> {
        Ok(self.wasi.table.get(&response)?.status)
    }

    fn set_status_code(
        &mut self,
        response: Resource<OutgoingResponse>,
        status: u16,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.wasi.table.get_mut(&response)?.status = status;
        Ok(Ok(()))
    }

    fn headers(
        &mut self,
        response: Resource<OutgoingResponse>,
    ) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.wasi.table.get(&response)?.headers.clone();
        Ok(self.wasi.table.push(headers)?)
    }

    fn body(
        &mut self,
        response: Resource<OutgoingResponse>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        // There is no body, since nobody will read it.
        self.wasi.table.get(&response)?;
        Ok(Err(()))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<()> {
        self.wasi.table.delete(response)?;
        Ok(())
    }
}
