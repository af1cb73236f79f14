//! The masters that there are, and the sessions over each.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::process::Command;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::master::{Client, end};
use crate::agent::gateway::nodes::error::Trouble;
use crate::clock::Clock;
use crate::run::Millis;

/// The most masters at once: each is a process of a few megabytes and a connection. The one that was not used for
/// longest ends first.
pub const MAX_MASTERS: usize = 256;

/// The most sessions of a master at once. A server of OpenSSH allows ten unless its configuration says otherwise, and
/// one that was given up here may not have ended there.
pub const MAX_SESSIONS: usize = 8;

/// The most masters that connect at once. Each takes a process and the exchange of keys, so more would only take longer
/// together; and a network that is down must not fill this machine with processes that wait for it.
pub const MAX_CONNECTING: usize = 64;

/// How long why a connection failed is kept for somebody who asks, if whoever wanted it had given up by then: longer than
/// engines wait before they ask again.
const UNHEARD_FOR: Millis = Millis(60_000);

/// The longest path of a folder for sockets. The address of a socket has 107 bytes, and `ssh` makes it under a longer
/// name first.
const MAX_FOLDER_BYTES: usize = 72;

/// What `ssh` connects to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::agent::gateway::nodes) struct Target {
    pub(in crate::agent::gateway::nodes) host: String,
    pub(in crate::agent::gateway::nodes) user: Option<String>,
    pub(in crate::agent::gateway::nodes) port: Option<u16>,
}

impl Target {
    pub(super) fn add_to(&self, command: &mut Command) {
        if let Some(port) = self.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &self.user {
            command.arg("-l").arg(user);
        }
        command.arg("--").arg(&self.host);
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

/// The masters. They end when this is dropped.
pub(in crate::agent::gateway::nodes) struct Masters {
    client: Client,
    /// Only this user can reach what is in it.
    folder: tempfile::TempDir,
    all: Mutex<HashMap<Target, Arc<Master>>>,
    /// Numbers for sockets, and for the order in which masters were used.
    next: AtomicU64,
    stopped: Arc<AtomicBool>,
    connecting: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

struct Master {
    socket: PathBuf,
    /// Held while it is being started.
    starting: Arc<tokio::sync::Mutex<Starting>>,
    sessions: Arc<Semaphore>,
    used: AtomicU64,
}

/// What is known of the starts of a master.
#[derive(Default)]
struct Starting {
    /// How many there were.
    times: u64,
    /// Why the last one failed, and when, until somebody has heard it.
    unheard: Option<(Trouble, Millis)>,
}

/// The right to have a session over a master.
pub(in crate::agent::gateway::nodes) struct Session {
    master: Arc<Master>,
    /// Which of the connections of the master this is.
    connection: u64,
    _permit: OwnedSemaphorePermit,
}

impl Masters {
    /// Makes a folder for the sockets.
    pub(in crate::agent::gateway::nodes) fn new(
        program: PathBuf,
        config: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let folder = folder()?;
        let client = Client { program, config };
        let (all, next, stopped) = (Mutex::default(), AtomicU64::new(0), Arc::default());
        let connecting = Arc::new(Semaphore::new(MAX_CONNECTING));
        Ok(Self { client, folder, all, next, stopped, connecting, clock })
    }

    /// Waits for a session over a master that is connected.
    pub(in crate::agent::gateway::nodes) async fn session(
        &self,
        target: &Target,
    ) -> Result<Session, Trouble> {
        let master = self.master(target);
        let permit = Arc::clone(&master.sessions).acquire_owned().await;
        let permit = permit.map_err(|_| stops(target))?;
        let mut starting = Arc::clone(&master.starting).lock_owned().await;
        if self.stopped.load(Ordering::SeqCst) {
            return Err(stops(target));
        }
        if !master.socket.exists() {
            let now = self.clock.passed();
            let unheard = starting.unheard.take();
            let fresh = |at: Millis| now.0.saturating_sub(at.0) <= UNHEARD_FOR.0;
            if let Some((trouble, _)) = unheard.filter(|(_, at)| fresh(*at)) {
                return Err(trouble);
            }
            starting = self.connected(target, &master, starting).await?;
        }
        let connection = starting.times;
        drop(starting);
        Ok(Session { master, connection, _permit: permit })
    }

    /// Starts a master in a task of its own. It goes on when whoever waits for it gives up, as a login may take longer than a
    /// request: the next one finds the connection, or hears why there is none.
    async fn connected(
        &self,
        target: &Target,
        master: &Arc<Master>,
        mut starting: OwnedMutexGuard<Starting>,
    ) -> Result<OwnedMutexGuard<Starting>, Trouble> {
        let (client, clock) = (self.client.clone(), Arc::clone(&self.clock));
        let (stopped, connecting) = (Arc::clone(&self.stopped), Arc::clone(&self.connecting));
        let (of, master) = (target.clone(), Arc::clone(master));
        let task = tokio::spawn(async move {
            let _turn = connecting.acquire_owned().await.map_err(|_| stops(&of))?;
            if stopped.load(Ordering::SeqCst) {
                return Err(stops(&of));
            }
            if let Err(trouble) = client.start(&of, &master.socket, clock.as_ref()).await {
                starting.unheard = Some((trouble, clock.passed()));
                return Ok(starting);
            }
            starting.times += 1;
            if stopped.load(Ordering::SeqCst) {
                end(&master.socket);
                return Err(stops(&of));
            }
            Ok(starting)
        });
        let mut starting = task.await.map_err(|_| stops(target))??;
        match starting.unheard.take() {
            Some((trouble, _)) => Err(trouble),
            None => Ok(starting),
        }
    }

    /// The process of a session.
    pub(in crate::agent::gateway::nodes) fn command(
        &self,
        target: &Target,
        session: &Session,
        words: &[&str],
    ) -> Command {
        self.client.session(target, &session.master.socket, words)
    }

    /// Forgets the connection of a session, which does not work, so that the next session makes another. Whoever comes
    /// later with the same leaves the new one alone.
    pub(in crate::agent::gateway::nodes) async fn forget(&self, session: &Session) {
        let starting = session.master.starting.lock().await;
        if starting.times == session.connection {
            let socket = session.master.socket.clone();
            let _ = tokio::task::spawn_blocking(move || end(&socket)).await;
        }
    }

    /// Ends all masters. Blocks.
    pub(in crate::agent::gateway::nodes) fn end_all(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        for (_, master) in self.lock().drain() {
            master.sessions.close();
            end(&master.socket);
        }
    }

    fn master(&self, target: &Target) -> Arc<Master> {
        let used = self.next.fetch_add(1, Ordering::Relaxed);
        let mut all = self.lock();
        if let Some(master) = all.get(target) {
            master.used.store(used, Ordering::Relaxed);
            return Arc::clone(master);
        }
        if all.len() >= MAX_MASTERS {
            // One that somebody has in hand is not idle; then there are a few more for a while.
            let idle = all.iter().filter(|(_, master)| Arc::strong_count(master) == 1);
            let oldest = idle.min_by_key(|(_, master)| master.used.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(target, _)| target.clone())
                && let Some(master) = all.remove(&oldest)
            {
                // It may take a moment, and nobody waits for it.
                std::thread::spawn(move || end(&master.socket));
            }
        }
        let master = Arc::new(Master {
            socket: self.folder.path().join(used.to_string()),
            starting: Arc::default(),
            sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
            used: AtomicU64::new(used),
        });
        all.insert(target.clone(), Arc::clone(&master));
        master
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Arc<Master>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stops(target: &Target) -> Trouble {
    Trouble::Unreachable { place: target.to_string(), said: "the gateway stops".to_owned() }
}

impl Drop for Masters {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// A folder of this user alone, with a short path.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let short = |folder: &PathBuf| folder.is_dir() && folder.as_os_str().len() <= MAX_FOLDER_BYTES;
    let places = [runtime, Some(std::env::temp_dir()), Some(Path::new("/tmp").to_owned())];
    let mut places = places.into_iter().flatten().filter(short);
    // Whoever reaches a socket acts on its node.
    let private = std::fs::Permissions::from_mode(0o700);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("replibook-").permissions(private);
    let make = |place: PathBuf| builder.tempdir_in(place);
    let made = places.find_map(|place| make(place).ok());
    made.ok_or_else(|| {
        let message = format!(
            "found no folder for sockets in XDG_RUNTIME_DIR, TMPDIR or /tmp; expected one that can be written, with a \
             path of at most {MAX_FOLDER_BYTES} bytes"
        );
        std::io::Error::other(message)
    })
}

#[cfg(test)]
#[path = "masters_tests.rs"]
mod tests;
