//! The calls: one exchange each, and what comes of it.

use std::sync::Arc;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::answer::shorten;
use super::carrier::{Carriers, Programs};
use super::error::{NodeError, Trouble};
use super::exchange::{Ended, Heard, QUICK, Room, WITHIN, exchange};
use super::order::{order, refused};
use super::place::Node;
use super::remembered::Remembered;
use super::script::SCRIPT;
use super::seen::{Facts, JobState, Listed, Piece, Seen, Started, Stream};
use super::told::{self, Clocks, Unread};
use super::work::Job;
use crate::clock::Clock;
use crate::run::Timestamp;

/// The most exchanges at once: each is a process of this machine with three pipes.
pub const MAX_EXCHANGES: usize = 128;

/// How often an exchange is tried over a connection that turned out to be gone, or full, before anything was sent.
const TRIES: usize = 5;

/// Starts jobs on nodes, and looks at them. Cheap to clone; all clones share the connections, which end with the last.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    carriers: Carriers,
    clock: Arc<dyn Clock>,
    exchanges: Semaphore,
    room: Room,
    ended: Remembered,
}

/// What the script is asked.
struct Question<'a> {
    verb: &'static str,
    /// A job, or nothing.
    id: Option<Uuid>,
    more: &'a [&'a str],
    input: &'a [u8],
}

impl Jobs {
    /// Makes a folder for the connections.
    ///
    /// # Errors
    /// There is no folder for them.
    pub fn new(programs: Programs, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let carriers = Carriers::new(programs, Arc::clone(&clock))?;
        let exchanges = Semaphore::new(MAX_EXCHANGES);
        let (room, ended) = (Room::default(), Remembered::default());
        let shared = Shared { carriers, clock, exchanges, room, ended };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Starts a job, unless the node has had one of this identifier. A job that ends soon is answered with its end.
    ///
    /// # Errors
    /// [`NodeError::may_have_begun`] says whether the job may be at work. Then only a look tells.
    pub async fn start(&self, node: &Node, job: &Job) -> Result<Started, NodeError> {
        let sent = self.shared.clock.now();
        let order = order(job, sent).map_err(NodeError::before)?;
        let bulk = if order.bulk { "bulk" } else { "line" };
        let question = Question {
            verb: "start",
            id: Some(job.id),
            more: &[bulk],
            input: order.line.as_bytes(),
        };
        let (heard, clocks) = self.ask(node, &question).await?;
        if let Some(what) = heard.answer.words("fail") {
            let what = what.first().map_or("", String::as_str);
            return Err(failed(node, job.become_user.as_deref(), what, &heard.said));
        }
        if heard.answer.words("known").is_some() {
            return Ok(Started::Known);
        }
        let state = told::state(&heard.answer, &clocks, sent);
        let state = state.map_err(|said| not_understood(node, said))?;
        let Some(state) = state else { return Err(cut_off(node, &heard)) };
        let seen = Seen {
            kind: job.kind.clone(),
            args: job.args.clone(),
            metadata: job.metadata.clone(),
            created: job.created,
            sent,
            state,
        };
        self.shared.ended.put(node, job.id, &seen);
        Ok(Started::Begun(seen.state))
    }

    /// What the node knows about a job. One that did not begin because a connection ended begins now; but for one with
    /// secrets, which nobody has here: the node does not know it, and it begins when it is started again.
    ///
    /// # Errors
    /// The node can't be asked.
    pub async fn look(&self, node: &Node, id: Uuid) -> Result<Option<Seen>, NodeError> {
        if let Some(seen) = self.shared.ended.get(node, id) {
            return Ok(Some(Seen::clone(&seen)));
        }
        let question = Question { verb: "look", id: Some(id), more: &[], input: b"" };
        let (heard, clocks) = self.ask(node, &question).await?;
        let answer = &heard.answer;
        if let Some(what) = answer.words("fail") {
            return Err(failed(node, None, what.first().map_or("", String::as_str), &heard.said));
        }
        if answer.words("none").is_some() {
            return Ok(None);
        }
        if let Some(seen) = told::torn(answer, &clocks) {
            return Ok(Some(seen));
        }
        let found = || -> Result<Option<Seen>, Unread> {
            let (_, sent) = told::header(answer)?;
            let state = match told::state(answer, &clocks, sent)? {
                Some(JobState::NotStarted) => return Ok(None),
                Some(state) => state,
                // Another process has just begun it.
                None if answer.words("known").is_some() => JobState::Running { since: clocks.now },
                None => return Err("found nothing about what the job does".to_owned()),
            };
            told::seen(answer, state).map(Some)
        };
        let seen = match found() {
            Ok(seen) => seen,
            Err(_) if !complete(&heard) => return Err(cut_off(node, &heard)),
            Err(said) => return Err(not_understood(node, said)),
        };
        if let Some(seen) = &seen {
            self.shared.ended.put(node, id, seen);
        }
        Ok(seen)
    }

    /// The jobs that the node knows, the oldest first, at most [`MAX_LISTED`](super::MAX_LISTED).
    ///
    /// # Errors
    /// The node can't be asked.
    pub async fn list(&self, node: &Node) -> Result<Vec<Listed>, NodeError> {
        let heard = self.hear(node, "list", None, &[]).await?;
        told::list(&heard.answer).map_err(|said| not_understood(node, said))
    }

    /// What a job wrote, from this offset on. Nothing if the node does not know the job.
    ///
    /// # Errors
    /// The node can't be asked.
    pub async fn output(
        &self,
        node: &Node,
        id: Uuid,
        stream: Stream,
        from: u64,
    ) -> Result<Option<Piece>, NodeError> {
        let stream = match stream {
            Stream::Out => "out",
            Stream::Err => "err",
        };
        // More than a job may write; and shells count only so far.
        let from = from.min(u64::from(u32::MAX));
        let offset = from.to_string();
        let heard = self.hear(node, "output", Some(id), &[stream, &offset]).await?;
        if heard.answer.words("none").is_some() {
            return Ok(None);
        }
        let piece = told::piece(&heard.answer, from);
        piece.map(Some).map_err(|said| not_understood(node, said))
    }

    /// What the node says of itself, and what a command there says of its status.
    ///
    /// # Errors
    /// The node can't be asked.
    pub async fn facts(&self, node: &Node, status: Option<&[String]>) -> Result<Facts, NodeError> {
        let words: Vec<_> = status.unwrap_or_default().iter().map(String::as_str).collect();
        if words.iter().any(|word| word.contains('\0')) {
            let found = "a byte that is zero".to_owned();
            return Err(NodeError::before(refused("the command for the status", found, "none")));
        }
        let heard = self.hear(node, "facts", None, &words).await?;
        told::facts(&heard.answer).map_err(|said| not_understood(node, said))
    }

    /// Forgets the jobs that were sent before this moment and are over. Returns how many that were.
    ///
    /// # Errors
    /// The node can't be asked.
    pub async fn purge(&self, node: &Node, before: Timestamp) -> Result<u64, NodeError> {
        let second = (before.as_millis().max(0) / 1_000).to_string();
        let heard = self.hear(node, "purge", None, &[&second]).await?;
        let count = heard.answer.words("purged").and_then(|words| words.first());
        told::number(count).map_err(|said| not_understood(node, said))
    }

    /// Ends all connections. Nothing can be asked after that over SSH.
    pub async fn stop(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.carriers.end()).await;
    }

    /// An exchange whose answer has to be whole.
    async fn hear(
        &self,
        node: &Node,
        verb: &'static str,
        id: Option<Uuid>,
        more: &[&str],
    ) -> Result<Heard, NodeError> {
        let question = Question { verb, id, more, input: b"" };
        let (heard, _) = self.ask(node, &question).await?;
        if let Some(what) = heard.answer.words("fail") {
            return Err(failed(node, None, what.first().map_or("", String::as_str), &heard.said));
        }
        match complete(&heard) {
            true => Ok(heard),
            false => Err(cut_off(node, &heard)),
        }
    }

    /// Asks the node, and makes sure that the script has answered, at least in part.
    async fn ask(
        &self,
        node: &Node,
        question: &Question<'_>,
    ) -> Result<(Heard, Clocks), NodeError> {
        check_folder(&node.folder).map_err(NodeError::before)?;
        let (place, clock) = (&node.place, &*self.shared.clock);
        let mut tries = 0;
        let (heard, asked) = loop {
            tries += 1;
            let way = self.shared.carriers.open(place).await.map_err(NodeError::before)?;
            let _turn = self.shared.exchanges.acquire().await.ok();
            let asked = clock.now();
            let heard = self.over(node, &way, question).await.map_err(NodeError::before)?;
            if tries == TRIES || !self.shared.carriers.mend(&way, &heard, clock).await {
                break (heard, asked);
            }
        };
        if heard.answer.began() {
            let clocks = Clocks::read(&heard.answer, asked);
            let clocks = clocks.map_err(|said| not_understood(node, said))?;
            return Ok((heard, clocks));
        }
        Err(match heard.ended {
            Ended::TimeIsUp => {
                let trouble = Trouble::TimeIsUp { place: place.to_string(), within: WITHIN };
                NodeError::unknown(trouble)
            }
            Ended::Whole | Ended::Goes | Ended::Cut(_) | Ended::TooLong => {
                Carriers::explain(place, &heard)
            }
        })
    }

    /// One exchange over a way that is open.
    async fn over(
        &self,
        node: &Node,
        way: &super::carrier::Way,
        question: &Question<'_>,
    ) -> Result<Heard, Trouble> {
        let nonce = Uuid::new_v4();
        let id = question.id.map(|id| id.to_string());
        let stay = if Carriers::stays(&node.place) { "stay" } else { "go" };
        let mut words = vec!["sh", "-c", SCRIPT.as_str(), "sh", question.verb];
        words.extend([node.folder.as_str(), id.as_deref().unwrap_or("-"), stay]);
        words.extend(question.more);
        let command = self.shared.carriers.command(&node.place, way, &words);
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let (room, clock) = (&self.shared.room, &*self.shared.clock);
        let heard = exchange(command, question.input, nonce, room, clock).await;
        heard.map_err(|error| Trouble::Program { program, said: error.to_string() })
    }
}

/// Whether nothing of the answer is missing.
fn complete(heard: &Heard) -> bool {
    match heard.ended {
        Ended::Whole | Ended::Goes => true,
        Ended::Cut(_) | Ended::TimeIsUp | Ended::TooLong => false,
    }
}

fn not_understood(node: &Node, said: String) -> NodeError {
    NodeError::unknown(Trouble::NotUnderstood { place: node.place.to_string(), said })
}

/// The answer began, and did not come to its end.
fn cut_off(node: &Node, heard: &Heard) -> NodeError {
    let place = node.place.to_string();
    NodeError::unknown(match heard.ended {
        Ended::TimeIsUp => Trouble::TimeIsUp { place, within: WITHIN },
        Ended::TooLong => {
            let said = "found more than any answer has".to_owned();
            Trouble::NotUnderstood { place, said }
        }
        Ended::Whole | Ended::Goes | Ended::Cut(_) => {
            Trouble::CutOff { place, said: shorten(&heard.said) }
        }
    })
}

/// What the script says that it could not do.
fn failed(node: &Node, user: Option<&str>, what: &str, said: &[u8]) -> NodeError {
    let text = String::from_utf8_lossy(said);
    let (place, folder) = (node.place.to_string(), node.folder.clone());
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let said = shorten(said);
    let trouble = match what {
        "sudo" => {
            let user = user.unwrap_or("root").to_owned();
            return NodeError::before(Trouble::Sudo { place, user, said });
        }
        "printf" => return NodeError::before(Trouble::NoPrintf { place }),
        "cut" => return NodeError::before(Trouble::CutOff { place, said }),
        "owner" => {
            let said = "it belongs to somebody else".to_owned();
            return NodeError::before(Trouble::Folder { place, folder, said });
        }
        _ if has(&["No space left", "quota exceeded"]) => Trouble::DiskFull { place, folder, said },
        _ if has(&["Read-only file system"]) => Trouble::ReadOnly { place, folder, said },
        _ => Trouble::Folder { place, folder, said },
    };
    match what {
        // There is no claim, or nobody can take it up.
        "folder" | "claim" => NodeError::before(trouble),
        // A later look may find what to do, and begin it.
        _ => NodeError::unknown(trouble),
    }
}

fn check_folder(folder: &str) -> Result<(), Trouble> {
    let plain = |c: char| !c.is_control();
    if folder.is_empty() || folder.starts_with(['-', '~']) || !folder.chars().all(plain) {
        let expected = "a path that is absolute, or one in the home of the user";
        return Err(refused("the work folder", format!("{folder:?}"), expected));
    }
    Ok(())
}

const _: () = assert!(QUICK.as_secs() < WITHIN.as_secs(), "a quick end is part of an exchange");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::gateway::nodes::Place;

    #[test]
    fn what_the_script_could_not_do_is_said_with_what_to_do() {
        let node = Node::at(Place::Local);
        let full = "sh: 169: printf: printf: I/O error\ntee: jobs/probe: No space left on device\n";
        for (what, said, expected, begun) in [
            ("write", full, "disk of this machine is full", true),
            ("claim", full, "disk of this machine is full", false),
            ("folder", "mkdir: cannot create directory: Disk quota exceeded", "is full", false),
            (
                "folder",
                "mkdir: w: Read-only file system",
                "name another folder in the inventory",
                false,
            ),
            (
                "folder",
                "mkdir: w: Permission denied",
                "it has to be a folder of the user there",
                false,
            ),
            ("owner", "", "it belongs to somebody else", false),
            ("sudo", "sudo: a password is required", "needs a rule with NOPASSWD", false),
            ("sudo", "sh: 1: sudo: not found", "sudo: not found", false),
            ("printf", "", "install dash or bash", false),
            ("cut", "", "ended before the answer did", false),
            ("later", "", "failed to use .replibook-gateway", true),
        ] {
            let error = failed(&node, None, what, said.as_bytes());
            assert!(error.to_string().contains(expected), "{what}: {error}");
            assert_eq!(error.may_have_begun(), begun, "{what}");
        }
    }

    #[test]
    fn folders_are_paths_and_no_options() {
        for (folder, good) in [
            (".replibook-gateway", true),
            ("/var/lib/it's mine", true),
            ("", false),
            ("-p", false),
            ("~/work", false),
            ("a\nb", false),
        ] {
            assert_eq!(check_folder(folder).is_ok(), good, "{folder:?}");
        }
    }
}
