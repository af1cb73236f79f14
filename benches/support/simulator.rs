//! A process that answers for all agents: the benchmark's own binary, started again.
//!
//! It speaks as much HTTP as the engine and the floor need, written by hand and on one thread. The cost of
//! the agents is not measured, and they share the processors with what is.

// Not every benchmark needs all of it.
#![allow(dead_code, unused_imports)]

#[path = "../../tests/support/certificates.rs"]
mod certificates;
#[path = "simulator_tls.rs"]
mod tls;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;
use uuid::Uuid;

use tls::Site;
pub(crate) use tls::{CREDENTIALS, Places, address, control};

/// The variable that makes the benchmark's binary the simulator. Its value is how long an action takes, in
/// milliseconds.
const VARIABLE: &str = "REPLIBOOK_BENCH_SIMULATOR";

/// The largest request: a head and an action without arguments.
const MAX_REQUEST: usize = 64 * 1024;

/// The path that returns how many actions were posted or asked for since a request for [`FORGET`].
pub(crate) const TOUCHED: &str = "/touched";
pub(crate) const FORGET: &str = "/forget";

/// The path that returns how many handshakes were done in full, and how many went on with an earlier session.
pub(crate) const HANDSHAKES: &str = "/handshakes";

/// The path that takes requests of steps.
pub(crate) const HOOK: &str = "/hook";

/// What the simulated agents know.
#[derive(Default)]
struct Known {
    /// When each action was accepted.
    accepted: HashMap<Uuid, Instant>,
    /// Actions that were posted or asked for since the last request for [`FORGET`].
    touched: HashSet<Uuid>,
    /// In full, and with an earlier session.
    handshakes: [usize; 2],
}

/// The command that starts this binary as the simulator, whose actions take `takes`.
pub(crate) fn command(takes: Duration) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(VARIABLE, takes.as_millis().to_string());
    command
}

/// The same, at other addresses or behind TLS. What the server needs for that is put into `folder`.
pub(crate) fn command_at(takes: Duration, places: Places, folder: &Path) -> Command {
    let mut command = command(takes);
    places.tell(&mut command, folder);
    command
}

/// If this process was started as the simulator, serves and never returns. A benchmark calls it first.
pub(crate) fn run_if_asked() {
    let Ok(takes) = std::env::var(VARIABLE) else { return };
    let takes = Duration::from_millis(takes.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(tokio::task::LocalSet::new().run_until(serve(takes)));
    served.unwrap();
    std::process::exit(0);
}

/// Serves until stdin closes, which happens when the benchmark ends, in whatever way.
async fn serve(takes: Duration) -> io::Result<()> {
    let site = Site::asked();
    let listener = TcpListener::bind(site.listens_on()).await?;
    let known = Rc::new(RefCell::new(Known::default()));
    let control = TcpListener::bind("127.0.0.1:0").await?;
    site.tell(control.local_addr()?)?;
    tokio::task::spawn_local(accept(control, Site::default(), takes, Rc::clone(&known)));
    let (scheme, port) = (site.scheme(), listener.local_addr()?.port());
    writeln!(io::stdout(), "listening on {scheme}://127.0.0.1:{port}")?;
    io::stdout().flush()?;
    // Tokio's stdin would keep the process from ending; a blocked thread does not.
    let (closed, is_closed) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(closed);
    });
    tokio::select! {
        _ = is_closed => Ok(()),
        served = accept(listener, site, takes, known) => served,
    }
}

async fn accept(
    listener: TcpListener,
    site: Site,
    takes: Duration,
    known: Rc<RefCell<Known>>,
) -> io::Result<()> {
    loop {
        let stream = listener.accept().await?.0;
        stream.set_nodelay(true)?;
        let (known, acceptor) = (Rc::clone(&known), site.acceptor(stream.local_addr()?.ip()));
        tokio::task::spawn_local(async move {
            // It does not matter if a client goes away.
            let _ = match acceptor {
                None => answer_all(stream, takes, &known).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => {
                        known.borrow_mut().handshakes[tls::kind(&stream)] += 1;
                        answer_all(stream, takes, &known).await
                    }
                    Err(error) => Err(error),
                },
            };
        });
    }
}

async fn answer_all(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    takes: Duration,
    known: &RefCell<Known>,
) -> io::Result<()> {
    let mut held = Vec::with_capacity(2_048);
    loop {
        while let Some((head, length)) = whole(&held) {
            let request = std::str::from_utf8(&held[..head]).unwrap();
            let (status, body) =
                answer(request, &held[head..length], takes, &mut known.borrow_mut());
            let size = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            held.drain(..length);
        }
        assert!(held.len() < MAX_REQUEST, "found a request of more than {MAX_REQUEST} bytes");
        if stream.read_buf(&mut held).await? == 0 {
            return Ok(());
        }
    }
}

/// Where the head and the whole of the first request end; none until all of it has come.
fn whole(held: &[u8]) -> Option<(usize, usize)> {
    let head = held.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&held[..head]).ok()?;
    let is_length = |line: &&str| {
        line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"))
    };
    let length = text.lines().find(is_length).map_or(0, |line| line[15..].trim().parse().unwrap());
    (held.len() >= head + length).then_some((head, head + length))
}

/// Status line and body of the answer to one request. The path has the agent first, then the path in its API.
fn answer(
    request: &str,
    body: &[u8],
    takes: Duration,
    known: &mut Known,
) -> (&'static str, String) {
    #[derive(Deserialize)]
    struct Action {
        id: Uuid,
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path == HOOK {
        return ("200 OK", "{}".to_owned());
    }
    if path == HANDSHAKES {
        let [full, resumed] = known.handshakes;
        return ("200 OK", format!("[{full},{resumed}]"));
    }
    let (agent, call) = path.split_once("/api/unstable/").unwrap_or(("", ""));
    if call == "action" {
        let Action { id } = serde_json::from_slice(body).unwrap();
        known.accepted.entry(id).or_insert_with(Instant::now);
        known.touched.insert(id);
        return ("200 OK", format!(r#"{{"id":"{id}"}}"#));
    }
    if call == "info/node" {
        return ("200 OK", node(agent.trim_matches('/')));
    }
    if path == FORGET {
        known.touched.clear();
    }
    if path == FORGET || path == TOUCHED {
        return ("200 OK", known.touched.len().to_string());
    }
    let id = call.strip_prefix("action/").and_then(|id| id.parse().ok());
    known.touched.extend(id);
    match id.and_then(|id| known.accepted.get(&id).map(|since| (id, since))) {
        Some((id, since)) => ("200 OK", action(id, since.elapsed() >= takes)),
        None => ("404 Not Found", String::new()),
    }
}

fn node(agent: &str) -> String {
    let version = r#"{"number":"1.0.0","checkout":null,"extra":null}"#;
    format!(
        r#"{{"node_id":"node-{agent}","node_status":"HEALTHY","attributes":{{"role":"SECONDARY"}},"store_id":"bench","agent_version":{version},"store_version":{version},"address":{{"client":null,"member":null}}}}"#
    )
}

fn action(id: Uuid, done: bool) -> String {
    let at = "2026-01-01T00:00:00.123456789Z";
    let (phase, finished, payload) = if done {
        ("DONE", format!("\"{at}\""), r#"{"ok":true}"#)
    } else {
        ("RUNNING", "null".to_owned(), "null")
    };
    format!(
        r#"{{"args":null,"created_time":"{at}","finished_time":{finished},"id":"{id}","kind":"bench.example.com/act","metadata":{{}},"scheduled_time":"{at}","state":{{"error":null,"payload":{payload},"phase":"{phase}"}}}}"#
    )
}
