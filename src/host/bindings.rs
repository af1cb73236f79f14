//! The bindings of both worlds, and of what WASI has for HTTP: the only place that generates code from WIT.

// The generated code takes its documentation from the WIT.
#![allow(missing_docs, unreachable_pub, clippy::all)]

pub(super) mod step {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "step",
        imports: { default: trappable },
    });
}

pub(super) mod strategy {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "strategy",
        imports: { default: trappable },
        with: {
            "replicante:playbook/failing": super::step::replicante::playbook::failing,
            "replicante:playbook/logging": super::step::replicante::playbook::logging,
            "replicante:playbook/types": super::step::replicante::playbook::types,
        },
    });
}

/// What strategies may import since version 0.2.0 of the package. It is apart from the world of 0.1.0, which stays as it
/// is.
pub(super) mod since_0_2_0 {
    wasmtime::component::bindgen!({
        path: "../../wit/0.2.0",
        world: "strategy",
        imports: { default: trappable },
    });
}

/// `wasi:http`, for which there is our own code. What it refers to is that of wasmtime-wasi.
pub(super) mod outgoing {
    wasmtime::component::bindgen!({
        path: "wasi_http/wasi.wit",
        world: "outgoing",
        imports: { default: trappable },
        with: {
            "wasi:io/error": wasmtime_wasi_io::bindings::wasi::io::error,
            "wasi:io/poll": wasmtime_wasi::p2::bindings::sync::io::poll,
            "wasi:io/streams": wasmtime_wasi::p2::bindings::sync::io::streams,
            "wasi:http/types.fields": crate::wasi_http::Fields,
            "wasi:http/types.future-incoming-response": crate::wasi_http::FutureResponse,
            "wasi:http/types.future-trailers": crate::wasi_http::Trailers,
            "wasi:http/types.incoming-body": crate::wasi_http::IncomingBody,
            "wasi:http/types.incoming-response": crate::wasi_http::IncomingResponse,
            "wasi:http/types.outgoing-body": crate::wasi_http::OutgoingBody,
            "wasi:http/types.outgoing-request": crate::wasi_http::OutgoingRequest,
            "wasi:http/types.outgoing-response": crate::wasi_http::OutgoingResponse,
            "wasi:http/types.request-options": crate::wasi_http::RequestOptions,
        },
    });
}
