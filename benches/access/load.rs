//! Connections that ask, one request after the other.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Connections that ask at once.
pub(crate) const CONNECTIONS: usize = 64;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Run,
    Agents,
    Runs,
    Command,
}

impl Ask {
    pub(crate) fn all() -> [Self; 4] {
        [Self::Run, Self::Agents, Self::Runs, Self::Command]
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Run => "a run",
            Self::Agents => "100 agents of a run",
            Self::Runs => "50 runs",
            Self::Command => "a command",
        }
    }

    pub(crate) fn is_command(self) -> bool {
        self == Self::Command
    }
}

/// What is asked, and of whom.
pub(crate) struct Load<'l> {
    /// It keeps its connections: nobody is to pay for those.
    pub(crate) client: &'l Client,
    pub(crate) base: &'l str,
    /// The token of each connection.
    pub(crate) who: &'l [Option<String>],
    pub(crate) done: String,
    pub(crate) still: Vec<String>,
}

impl Load<'_> {
    /// Sends so many requests, and returns how long each took until all of its answer had come, and how long all took.
    pub(crate) async fn send(&self, kind: Ask, requests: usize) -> (Vec<Duration>, Duration) {
        // An even number, so that what was paused is resumed.
        let each = (requests / CONNECTIONS).next_multiple_of(2);
        let start = Instant::now();
        let all = (0..CONNECTIONS).map(|connection| self.on_one(kind, connection, each));
        let times = join_all(all).await.concat();
        (times, start.elapsed())
    }

    async fn on_one(&self, kind: Ask, connection: usize, each: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(each);
        for number in 0..each {
            let (method, path, body) = self.request(kind, connection, number);
            let mut request = self.client.request(method, format!("{}/api/v1/{path}", self.base));
            if let Some(token) = &self.who[connection] {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.json(&body);
            }
            let start = Instant::now();
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let bytes = answer.bytes().await.unwrap();
            times.push(start.elapsed());
            assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
        }
        times
    }

    fn request(
        &self,
        kind: Ask,
        connection: usize,
        number: usize,
    ) -> (Method, String, Option<Value>) {
        let done = &self.done;
        match kind {
            Ask::Run => (Method::GET, format!("runs/{done}"), None),
            Ask::Agents => (Method::GET, format!("runs/{done}/agents?limit=100"), None),
            Ask::Runs => (Method::GET, "runs?limit=50".to_owned(), None),
            Ask::Command => {
                let command = if number.is_multiple_of(2) { "pause" } else { "resume" };
                let path = format!("runs/{}/commands", self.still[connection]);
                (Method::POST, path, Some(json!({ "command": command })))
            }
        }
    }
}
