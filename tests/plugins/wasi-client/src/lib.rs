//! A step that sends requests through `wasi:http`, as its argument `do` says. Most of what it does no client does.

mod odd;

use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;

wit_bindgen::generate!({ path: "../../../wit", world: "step", generate_all });

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use odd::odd;

struct Client;

impl Guest for Client {
    fn describe() -> Description {
        Description {
            name: "wasi-client".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Sends requests through WASI.".to_owned(),
            arguments: "{}".to_owned(),
        }
    }

    fn run(input: StepInput) -> Result<String, StepError> {
        let arguments: Value = serde_json::from_str(&input.arguments).unwrap();
        let found = match arguments["do"].as_str().unwrap() {
            "all" => all(&arguments),
            "each" => each(&arguments),
            "fail" => {
                let responses = each(&arguments);
                let then = text(&arguments, "then").map(|what| odd(&what, &arguments));
                return Err(StepError::Permanent(json!([responses, then]).to_string()));
            }
            "bad-result" => {
                odd("forget", &arguments);
                return Ok("no JSON".to_owned());
            }
            other => odd(other, &arguments),
        };
        Ok(found.to_string())
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

fn said<T>(error: Result<T, ErrorCode>) -> Value {
    error.map_or_else(|code| json!(format!("{code:?}")), |_| json!("sent"))
}

/// A request as the arguments describe it, and its body if it has one.
fn request(of: &Value) -> Result<(OutgoingRequest, Option<OutgoingBody>), String> {
    let fields = Fields::new();
    for header in of["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        fields.append(name, value.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    let method = match of["method"].as_str().unwrap_or("GET") {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "method")?;
    let scheme = match of["scheme"].as_str() {
        Some("https") | None => Scheme::Https,
        Some("http") => Scheme::Http,
        Some(other) => Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    let host = text(of, "host").unwrap_or_else(|| "a.example".to_owned());
    request.set_authority(Some(&host)).map_err(|()| "host")?;
    request.set_path_with_query(text(of, "path").as_deref()).map_err(|()| "path")?;
    let body = of.get("body").map(|_| request.body().unwrap());
    Ok((request, body))
}

fn options(of: &Value) -> Option<RequestOptions> {
    let seconds = of["timeout_seconds"].as_u64()?;
    let options = RequestOptions::new();
    options.set_first_byte_timeout(Some(seconds * 1_000_000_000)).unwrap();
    Some(options)
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), ErrorCode> {
    let stream = body.write().unwrap();
    for piece in bytes.chunks(4_096) {
        stream.blocking_write_and_flush(piece).map_err(of_stream)?;
    }
    drop(stream);
    OutgoingBody::finish(body, None)
}

fn of_stream(error: StreamError) -> ErrorCode {
    match error {
        StreamError::LastOperationFailed(error) => http_error_code(&error).unwrap(),
        StreamError::Closed => ErrorCode::InternalError(Some("closed".to_owned())),
    }
}

/// Hands a request over, and then writes its body, as clients do.
fn sent(of: &Value) -> Result<FutureIncomingResponse, String> {
    let (request, body) = request(of)?;
    let future = handle(request, options(of)).map_err(|code| format!("{code:?}"))?;
    if let Some(body) = body {
        let bytes = of["body"].as_str().unwrap().as_bytes();
        write(body, bytes).map_err(|code| format!("{code:?}"))?;
    }
    Ok(future)
}

/// The response that is there.
fn received(future: &FutureIncomingResponse) -> Value {
    let response = match future.get().unwrap().unwrap() {
        Ok(response) => response,
        Err(code) => return json!(format!("{code:?}")),
    };
    assert!(future.get().unwrap().is_err(), "an answer is there once");
    let fields = response.headers();
    assert!(fields.append("a", b"b").is_err(), "headers of a response are fixed");
    let headers: Vec<_> = fields
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
        .collect();
    let body = response.consume().unwrap();
    assert!(response.consume().is_err(), "a body is there once");
    let stream = body.stream().unwrap();
    let mut bytes = Vec::new();
    while let Ok(piece) = stream.blocking_read(1_000) {
        bytes.extend(piece);
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    assert!(trailers.get().unwrap().unwrap().unwrap().is_none(), "there are no trailers");
    json!({ "status": response.status(), "headers": headers, "body": String::from_utf8_lossy(&bytes) })
}

/// Hands all requests over, and then waits for all together. Returns the responses in the order in which they came.
fn all(arguments: &Value) -> Value {
    let futures: Vec<_> =
        arguments["requests"].as_array().unwrap().iter().map(|of| sent(of).unwrap()).collect();
    let mut waiting: Vec<_> =
        futures.iter().map(FutureIncomingResponse::subscribe).enumerate().collect();
    let mut came = Vec::new();
    while !waiting.is_empty() {
        let ready = poll(&waiting.iter().map(|(_, it)| it).collect::<Vec<_>>());
        assert!(!ready.is_empty());
        for place in ready.into_iter().rev() {
            let (number, _) = waiting.remove(place as usize);
            came.push(json!([number, received(&futures[number])]));
        }
    }
    json!(came)
}

/// Waits for the response of each request before it hands over the next one.
fn each(arguments: &Value) -> Value {
    let requests = arguments["requests"].as_array().unwrap();
    requests
        .iter()
        .map(|of| match sent(of) {
            Ok(future) => {
                assert!(future.get().is_none(), "nothing is sent before the guest waits");
                future.subscribe().block();
                received(&future)
            }
            Err(said) => json!(said),
        })
        .collect()
}

export!(Client);
