//! What few clients do.

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, FutureIncomingResponse, OutgoingBody, OutgoingResponse};
use wasip2::io::poll::{Pollable, poll};

use super::replicante::playbook::timer;
use super::{received, request, said, sent, write};

/// Does what one of the functions below knows by this name.
pub(crate) fn odd(what: &str, arguments: &Value) -> Value {
    let number = arguments["number"].as_u64().unwrap_or_default() as usize;
    order(what)
        .or_else(|| timers(what))
        .or_else(|| bodies(what))
        .or_else(|| limits(what, number))
        .or_else(|| others(what))
        .unwrap_or_else(|| panic!("found {what}"))
}

fn post(path: &str) -> Value {
    json!({ "method": "POST", "path": path, "body": "x" })
}

/// A request that was handed over, and its body, of which nothing is written.
fn opened(path: &str) -> (FutureIncomingResponse, OutgoingBody) {
    let (request, body) = request(&post(path)).unwrap();
    (handle(request, None).unwrap(), body.unwrap())
}

/// Requests that are answered in another order than they were made, or by nobody.
fn order(what: &str) -> Option<Value> {
    Some(match what {
        "forget" => {
            for path in ["/1", "/2"] {
                std::mem::forget(sent(&post(path)).unwrap());
            }
            json!("went on")
        }
        "cancel" => {
            let first = sent(&post("/1")).unwrap();
            drop(sent(&post("/2")).unwrap());
            let third = sent(&post("/3")).unwrap();
            third.subscribe().block();
            json!([received(&first), received(&third)])
        }
        "sleep" => {
            let future = sent(&post("/1")).unwrap();
            timer::sleep(5);
            received(&future)
        }
        "last-first" => {
            let futures = ["/1", "/2", "/3"].map(|path| sent(&post(path)).unwrap());
            futures[2].subscribe().block();
            json!([2, 0, 1_usize].map(|number| received(&futures[number])))
        }
        "order-of-bodies" => {
            let [first, second] = ["/1", "/2"].map(opened);
            write(second.1, b"two").unwrap();
            write(first.1, b"one").unwrap();
            first.0.subscribe().block();
            json!([received(&first.0), received(&second.0)])
        }
        _ => return None,
    })
}

/// Requests and timers.
fn timers(what: &str) -> Option<Value> {
    Some(match what {
        "timer" => {
            let (future, timer) = (sent(&post("/1")).unwrap(), subscribe_duration(500_000_000));
            let ready = poll(&[&timer, &future.subscribe()]);
            json!([ready, received(&future)])
        }
        "timer-alone" => {
            let future = sent(&post("/1")).unwrap();
            subscribe_duration(5_000_000_000).block();
            received(&future)
        }
        "always-ready" => {
            let futures = ["/1", "/2"].map(|path| sent(&post(path)).unwrap());
            let responses = futures.each_ref().map(FutureIncomingResponse::subscribe);
            let due = subscribe_duration(0);
            let mut polled = Vec::new();
            while polled.last().is_none_or(|ready: &Vec<u32>| ready.len() < 3) {
                polled.push(poll(&[&due, &responses[0], &responses[1]]));
            }
            json!(polled)
        }
        "unfinished-with-timer" => {
            let (future, body) = opened("/1");
            let timer = subscribe_duration(1_000_000);
            let ready = poll(&[&future.subscribe(), &timer]);
            assert_eq!(ready, [1]);
            write(body, b"late").unwrap();
            future.subscribe().block();
            received(&future)
        }
        _ => return None,
    })
}

/// Bodies that are finished in another way than usual, or not at all.
fn bodies(what: &str) -> Option<Value> {
    Some(match what {
        "unfinished" => {
            let (future, body) = opened("/1");
            let pollable = future.subscribe();
            assert!(!pollable.ready());
            pollable.block();
            let late = write(body, b"x");
            json!([received(&future), said(late)])
        }
        "dropped-body" => {
            let (future, body) = opened("/1");
            drop(body);
            future.subscribe().block();
            received(&future)
        }
        "finished-first" => {
            let (request, body) = request(&post("/1")).unwrap();
            write(body.unwrap(), b"early").unwrap();
            let future = handle(request, None).unwrap();
            future.subscribe().block();
            received(&future)
        }
        "trailers" => {
            let (future, body) = opened("/1");
            let trailers = Fields::from_list(&[("a".to_owned(), b"b".to_vec())]).unwrap();
            let finished = OutgoingBody::finish(body, Some(trailers));
            future.subscribe().block();
            json!([said(finished), received(&future)])
        }
        "no-trailers" => {
            let (future, body) = opened("/1");
            let finished = OutgoingBody::finish(body, Some(Fields::new()));
            future.subscribe().block();
            json!([said(finished), received(&future)])
        }
        _ => return None,
    })
}

/// As much as `number` says.
fn limits(what: &str, number: usize) -> Option<Value> {
    Some(match what {
        "body" => {
            let (future, body) = opened("/1");
            let written = write(body, &vec![b'x'; number]);
            future.subscribe().block();
            let answer = received(&future);
            json!([said(written), answer.get("status").unwrap_or(&answer)])
        }
        "bodies" => {
            let futures: Result<Vec<_>, _> = (0..number)
                .map(|_| {
                    let (future, body) = opened("/1");
                    write(body, &vec![b'x'; 1 << 20]).map(|()| future)
                })
                .collect();
            said(futures)
        }
        "requests" => {
            let futures: Result<Vec<_>, _> =
                (0..number).map(|_| handle(request(&json!({})).unwrap().0, None)).collect();
            said(futures)
        }
        "pollables" => {
            let future = sent(&post("/1")).unwrap();
            let pollables: Vec<Pollable> = (0..number).map(|_| future.subscribe()).collect();
            json!(pollables.len())
        }
        "spin" => {
            let future = sent(&post("/1")).unwrap();
            loop {
                std::hint::black_box(future.get().is_some());
            }
        }
        _ => return None,
    })
}

/// What is not for requests, and what is not allowed.
fn others(what: &str) -> Option<Value> {
    Some(match what {
        "connect" => json!(std::net::TcpStream::connect("127.0.0.1:1").is_ok()),
        "serve" => {
            let response = OutgoingResponse::new(Fields::new());
            response.set_status_code(204).unwrap();
            json!([response.status_code(), response.body().is_err()])
        }
        "fixed-headers" => {
            let fields = request(&json!({})).unwrap().0.headers();
            json!(format!("{:?}", fields.append("a", b"b")))
        }
        "stream-without-body" => {
            let (_future, body) = opened("/1");
            let stream = body.write().unwrap();
            drop(body);
            drop(stream);
            json!("went on")
        }
        "pollable-without-future" => {
            let future = sent(&post("/1")).unwrap();
            let pollable = future.subscribe();
            drop(future);
            drop(pollable);
            json!("went on")
        }
        _ => return None,
    })
}
