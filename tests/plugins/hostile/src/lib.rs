//! A step that does what its argument `do` says. Most of it is bad.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

wit_bindgen::generate!({
    path: "../../../wit",
    // The functions of WASI that the standard library does not offer.
    inline: "
        package test:timers;
        world timers {
            include replicante:playbook/step@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.6;
        }
        package wasi:io@0.2.6 {
            interface poll {
                resource pollable { ready: func() -> bool; block: func(); }
                poll: func(in: list<borrow<pollable>>) -> list<u32>;
            }
        }
        package wasi:clocks@0.2.6 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.6.{pollable};
                type instant = u64;
                type duration = u64;
                now: func() -> instant;
                resolution: func() -> duration;
                subscribe-instant: func(when: instant) -> pollable;
                subscribe-duration: func(when: duration) -> pollable;
            }
        }
    ",
    world: "test:timers/timers",
    generate_all,
});

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use replicante::playbook::logging::{Level, log};
use replicante::playbook::{agent, entropy, http, signal, timer};
use wasi::clocks::monotonic_clock::subscribe_duration;
use wasi::io::poll::poll;

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Misbehaves.".to_owned(),
            arguments: "{}".to_owned(),
        }
    }

    fn run(input: StepInput) -> Result<String, StepError> {
        let arguments: Value = serde_json::from_str(&input.arguments).unwrap();
        let permanent = |error: agent::AgentError| StepError::Permanent(error.to_string());
        let done = |value: Value| Ok(value.to_string());
        match arguments["do"].as_str().unwrap() {
            "ok" => done(json!({ "agent": input.agent, "attempt": input.attempt })),
            "trap" => panic!("boom"),
            "loop" => loop {
                std::hint::black_box(0);
            },
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "recursion" => done(json!(deeper(1))),
            "lean-recursion" => done(json!(leaner(1))),
            "result" => Ok(format!("\"{}\"", "x".repeat(number(&arguments)))),
            "deep-result" => Ok(nested(number(&arguments))),
            "deep-arguments" => {
                agent::run_action("a/b", &nested(number(&arguments))).map_err(permanent)
            }
            "not-json" => Ok("{".to_owned()),
            "log" => {
                for line in 0..number(&arguments) {
                    log(Level::Info, &format!("line {line}"));
                }
                done(json!(null))
            }
            "long-line" => {
                log(Level::Info, &"x".repeat(number(&arguments)));
                done(json!(null))
            }
            "print" => {
                for line in 0..number(&arguments) {
                    println!("line {line}");
                }
                done(json!(null))
            }
            "sleeps" => {
                for call in 0..number(&arguments) {
                    log(Level::Info, &format!("before {call}"));
                    timer::sleep(call as u32);
                }
                println!("out");
                eprint!("err");
                done(json!(null))
            }
            "unfinished" => {
                for call in 0..number(&arguments) {
                    eprint!("moving {call} ");
                    timer::sleep(call as u32);
                }
                eprintln!("ok");
                done(json!(null))
            }
            "exit" => std::process::exit(3),
            "retryable" => Err(StepError::Retryable("later".to_owned())),
            "permanent" => Err(StepError::Permanent("x".repeat(10_000))),
            "random" => {
                let bytes = entropy::bytes(8);
                let state = RandomState::new().hash_one("a");
                done(json!([bytes, state.to_string()]))
            }
            "random-flood" => done(json!(entropy::bytes(65_537).len())),
            "time" => done(times()),
            "machine" => {
                let files = std::fs::read_dir("/").map(Iterator::count);
                done(json!({
                    "arguments": std::env::args().count(),
                    "variables": std::env::vars().count(),
                    "files": files.map_err(|error| error.to_string()).is_ok(),
                }))
            }
            "info" => {
                let info = agent::info().map_err(permanent)?;
                let attributes: Value = serde_json::from_str(&info.attributes).unwrap();
                done(json!({ "id": info.id, "status": info.status, "attributes": attributes }))
            }
            "action" => {
                let kind = arguments["kind"].as_str().unwrap();
                agent::run_action(kind, &arguments["args"].to_string()).map_err(permanent)
            }
            "action-ignored" => {
                let _ = agent::run_action("not/granted", "null");
                timer::sleep(1);
                Err(StepError::Permanent("for another reason".to_owned()))
            }
            "invalid" => agent::run_action("a/b", "{").map_err(permanent),
            "wait" => agent::wait_status(&["HEALTHY".to_owned()], 1_000)
                .map(|status| json!(status).to_string())
                .map_err(permanent),
            "http" => {
                let (method, url) = ("GET".to_owned(), "https://example.com".to_owned());
                let (headers, body, timeout) = (vec![], vec![], 1_000);
                let request = http::Request { method, url, headers, body, timeout };
                let error = http::send(&request).unwrap_err();
                Err(StepError::Permanent(format!("{error:?}")))
            }
            "signal" => {
                let error = signal::wait("go", 1_000).unwrap_err();
                Err(StepError::Permanent(format!("{error:?}")))
            }
            "giant" => Err(StepError::Permanent(giant(arguments["to"].as_str().unwrap()))),
            "not-utf8" => Ok(not_utf8()),
            "log-not-utf8" => {
                log(Level::Info, &not_utf8());
                done(json!(null))
            }
            "calls" => loop {
                std::hint::black_box(timer::now());
            },
            "refused-calls" => loop {
                let _ = std::hint::black_box(agent::run_action("not/granted", "null"));
            },
            "many-calls" => {
                for _ in 0..number(&arguments) {
                    std::hint::black_box(timer::now());
                }
                done(json!(null))
            }
            "endless-line" => loop {
                eprint!("{}", "x".repeat(4_096));
            },
            "endless-stdout" => loop {
                print!("{}", "x".repeat(4_096));
            },
            "handles" => loop {
                std::mem::forget(subscribe_duration(1));
            },
            "poll" => {
                let ready = subscribe_duration(0);
                loop {
                    std::hint::black_box(poll(&[&ready]));
                }
            }
            "block" => {
                subscribe_duration(u64::MAX).block();
                done(json!(null))
            }
            "dice" => {
                let mut thrown = Vec::new();
                for _ in 0..number(&arguments) {
                    let state = RandomState::new().hash_one(Instant::now().elapsed());
                    let dice =
                        state as u32 ^ SystemTime::now().elapsed().unwrap().as_nanos() as u32;
                    timer::sleep(dice);
                    thrown.push(dice);
                }
                done(json!(thrown))
            }
            other => panic!("found {other}"),
        }
    }
}

/// Gives one function of the host more than a call may have.
fn giant(to: &str) -> String {
    let text = "x".repeat(20 << 20);
    match to {
        "log" => log(Level::Info, &text),
        "kind" => drop(agent::run_action(&text, "null")),
        "arguments" => drop(agent::run_action("a/b", &text)),
        "statuses" => drop(agent::wait_status(&vec![String::new(); 4_000_000], 1)),
        "status" => drop(agent::wait_status(&[text], 1)),
        "signal" => drop(signal::wait(&text, 1)),
        "url" | "body" => {
            let (mut url, mut body, method) = (String::new(), vec![], "GET".to_owned());
            match to {
                "url" => url = text,
                _ => body = text.into_bytes(),
            }
            let request = http::Request { method, url, headers: vec![], body, timeout: 1 };
            drop(http::send(&request));
        }
        "error" => return text,
        other => panic!("found {other}"),
    }
    "the host took it".to_owned()
}

fn not_utf8() -> String {
    // A program in another language may do this by mistake.
    unsafe { String::from_utf8_unchecked(vec![b'"', 0xff, b'"']) }
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn number(arguments: &Value) -> usize {
    arguments["number"].as_u64().unwrap() as usize
}

/// Logical time and the clocks of WASI, before and after a sleep of the standard library.
fn times() -> Value {
    let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as f64;
    let begin = Instant::now();
    let before = (timer::now(), wall());
    std::thread::sleep(Duration::from_millis(250));
    let after = (timer::now(), wall());
    json!({ "before": before, "after": after, "passed": begin.elapsed().as_millis() as u64 })
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 64]);
    deeper(block[1] + 1) + std::hint::black_box(block)[2]
}

/// Recursion that takes hardly any memory, so that the native stack ends first.
#[inline(never)]
#[allow(unconditional_recursion)]
fn leaner(depth: u64) -> u64 {
    (leaner(depth + 1) ^ depth).rotate_left(7).wrapping_mul(depth | 1)
}

export!(Hostile);
