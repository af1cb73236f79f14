//! Keeps the inventory of a gateway: reads it when the gateway starts, and again when any of its sources changes. What can't
//! be used changes nothing: the log says what is wrong, and the last good inventory counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::known::KnownNodes;
use super::source::{HostsFrom, list_by_ansible};
use crate::clock::Clock;
use crate::playbook::inventory::{Inventory, parse_inventory};
use crate::playbook::{Limits, MAX_CLUSTER_BYTES, Problem, Problems, Text};
use crate::run::Millis;
use crate::watched_file::{FileError, LOOK, WatchedFile};

/// How often a program is asked for its hosts. Dynamic inventories ask a cloud each time.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);

/// Why an inventory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The document can't be used.
    #[error("failed to use {}:\n{problems}", path.display())]
    Document {
        /// Path of the document.
        path: PathBuf,
        /// Everything that is wrong, with line and column.
        problems: Problems,
    },
    /// Hosts from elsewhere can't be read.
    #[error("failed to use the hosts of {from}:\n{problems}")]
    Hosts {
        /// Where they are from.
        from: String,
        /// Everything that is wrong.
        problems: Problems,
    },
    /// The program that knows the hosts gave none.
    #[error("failed to have the hosts of {from}: {why}")]
    Program {
        /// What was asked.
        from: String,
        /// What happened, as human-readable text.
        why: String,
    },
    /// Each part is good, but not all of them together.
    #[error("failed to use the hosts of {from} together with {}:\n{problems}", path.display())]
    Together {
        /// Where the hosts are from.
        from: String,
        /// Path of the document.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Problems,
    },
}

/// A file, and what it had when it could last be read.
#[derive(Debug)]
struct Watched {
    file: WatchedFile<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Watched {
    fn open(path: &Path) -> Result<Self, FileError> {
        // What is too large is refused by whoever reads it as what it is.
        let (file, bytes) =
            WatchedFile::open(path, MAX_CLUSTER_BYTES, |bytes| Ok::<_, Problems>(bytes.to_vec()))?;
        Ok(Self { file, bytes })
    }

    /// Whether it changed.
    fn look(&mut self) -> Result<bool, FileError> {
        let found = self.file.look()?;
        let changed = found.is_some();
        self.bytes = found.unwrap_or_else(|| std::mem::take(&mut self.bytes));
        Ok(changed)
    }
}

/// A source of hosts, and what it last had.
#[derive(Debug)]
enum Source {
    File(HostsFrom, Watched),
    Program(HostsFrom, PathBuf, Vec<u8>),
}

impl Source {
    const fn from(&self) -> &HostsFrom {
        match self {
            Self::File(from, _) | Self::Program(from, ..) => from,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::File(_, watched) => &watched.bytes,
            Self::Program(.., bytes) => bytes,
        }
    }
}

/// The sources of an inventory.
#[derive(Debug)]
pub(in crate::agent::gateway) struct Keeper {
    own: Watched,
    sources: Vec<Source>,
    /// Variables of Ansible that become attributes.
    vars: Vec<String>,
    /// Whether anything changed since all of it was last read.
    is_changed: bool,
}

impl Keeper {
    /// Reads everything for the first time.
    ///
    /// # Errors
    /// [`InventoryError`]: there is no inventory yet.
    pub(in crate::agent::gateway) async fn open(
        path: &Path,
        from: &[HostsFrom],
        vars: &[String],
    ) -> Result<(Self, KnownNodes), InventoryError> {
        let own = Watched::open(path)?;
        let mut sources = Vec::new();
        for from in from {
            sources.push(match (from, from.file()) {
                (_, Some(file)) => Source::File(from.clone(), Watched::open(file)?),
                (HostsFrom::AnsibleInventory(path), None) => {
                    Source::Program(from.clone(), path.clone(), asked(from, path).await?)
                }
                (HostsFrom::Ansible(_) | HostsFrom::SshConfig(_), None) => continue,
            });
        }
        let keeper = Self { own, sources, vars: vars.to_vec(), is_changed: false };
        let known = keeper.read()?;
        Ok((keeper, known))
    }

    /// Looks for changes for ever. A good inventory counts as soon as it is found; until then the last one does.
    pub(in crate::agent::gateway) async fn run(
        mut self,
        clock: Arc<dyn Clock>,
        known: watch::Sender<Arc<KnownNodes>>,
    ) {
        let every = Millis(u64::try_from(ASK_EVERY.as_millis()).unwrap_or(u64::MAX));
        let mut ask_at = clock.passed().plus(every);
        loop {
            clock.sleep(LOOK).await;
            if clock.passed() >= ask_at {
                self.ask().await;
                ask_at = clock.passed().plus(every);
            }
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            let Ok((keeper, found)) = looked.await else {
                tracing::error!("failed to look at the inventory; the last good one counts");
                return;
            };
            self = keeper;
            match found {
                Ok(None) => {}
                Ok(Some(found)) => {
                    tracing::info!(nodes = found.nodes().len(), "the inventory changed");
                    known.send_replace(Arc::new(found));
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!("{error:#}; the last good inventory counts");
                }
            }
        }
    }

    /// Asks the programs again. One that fails is said, and what it had before counts.
    async fn ask(&mut self) {
        for source in &mut self.sources {
            let Source::Program(from, path, bytes) = source else { continue };
            match asked(from, path).await {
                Ok(found) => {
                    self.is_changed |= *bytes != found;
                    *bytes = found;
                }
                Err(error) => tracing::error!("{error}; its last hosts count"),
            }
        }
    }

    /// The inventory, if anything changed.
    fn look(&mut self) -> Result<Option<KnownNodes>, InventoryError> {
        // Of a file that can't be read what it had before counts, and the others are looked at all the same.
        let mut unread = None;
        let mut look = |watched: &mut Watched| match watched.look() {
            Ok(changed) => changed,
            Err(error) => {
                unread = Some(error);
                false
            }
        };
        self.is_changed |= look(&mut self.own);
        for source in &mut self.sources {
            match source {
                Source::File(_, watched) => self.is_changed |= look(watched),
                Source::Program(..) => {}
            }
        }
        if let Some(error) = unread {
            return Err(error.into());
        }
        match std::mem::take(&mut self.is_changed) {
            true => self.read().map(Some),
            false => Ok(None),
        }
    }

    /// The inventory of what was last read.
    fn read(&self) -> Result<KnownNodes, InventoryError> {
        let path = self.own.file.path().to_owned();
        let document = |problems| InventoryError::Document { path: path.clone(), problems };
        let mut inventory = parse_inventory(&self.own.bytes).map_err(document)?;
        let mut whole: Option<Value> = None;
        for source in &self.sources {
            let from = source.from();
            let hosts = from
                .hosts(source.bytes(), &self.vars)
                .map_err(|problems| InventoryError::Hosts { from: from.to_string(), problems })?;
            for note in hosts.notes() {
                tracing::warn!("{from}: {note}");
            }
            let mut value = match whole.take() {
                Some(value) => value,
                None => Text::read(&self.own.bytes, Limits::CLUSTER).map_err(document)?.value,
            };
            hosts.add_to(&mut value);
            inventory = together(&value).map_err(|problems| InventoryError::Together {
                from: from.to_string(),
                path: path.clone(),
                problems,
            })?;
            whole = Some(value);
        }
        Ok(KnownNodes::new(inventory))
    }
}

async fn asked(from: &HostsFrom, path: &Path) -> Result<Vec<u8>, InventoryError> {
    let asked = list_by_ansible(path).await;
    asked.map_err(|why| InventoryError::Program { from: from.to_string(), why })
}

/// Reads a document that was put together. Lines and columns would be those of a text that nobody has.
fn together(document: &Value) -> Result<Inventory, Problems> {
    parse_inventory(document.to_string().as_bytes()).map_err(|Problems(problems)| {
        let placed = problems.into_iter().map(|problem| {
            let node = problem.path.strip_prefix("/spec/nodes/").and_then(|path| {
                let index = path.split('/').next()?.parse::<usize>().ok()?;
                document.pointer(&format!("/spec/nodes/{index}/id"))?.as_str()
            });
            let message = match node {
                Some(node) => format!("node {node:?}: {}", problem.message),
                None => problem.message,
            };
            Problem { line: None, column: None, message, ..problem }
        });
        Problems(placed.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Timestamp;

    const OWN: &str = "apiVersion: replicante.io/v1\nkind: Inventory\nmetadata: { name: web }\nspec:\n  groups:\n    \
                       all: { allow: [command] }\n    db: { become: root }\n  nodes:\n    - { id: own-1 }\n";

    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let files = Self { folder: tempfile::tempdir().unwrap() };
            files.write("own.yaml", OWN);
            files.write("hosts.ini", "[db]\ndb-1 zone=a\n[web]\nweb-1\n");
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Replaced at once, as programs do it that want nobody to see half a file.
        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path("new"), text).unwrap();
            std::fs::rename(self.path("new"), self.path(name)).unwrap();
        }

        async fn open(&self) -> Result<(Keeper, KnownNodes), InventoryError> {
            let from = [HostsFrom::Ansible(self.path("hosts.ini"))];
            Keeper::open(&self.path("own.yaml"), &from, &["zone".to_owned()]).await
        }
    }

    fn ids(known: &KnownNodes) -> Vec<&str> {
        known.nodes().iter().map(|node| node.id.as_str()).collect()
    }

    #[tokio::test]
    async fn hosts_of_others_get_what_the_groups_of_the_document_say() {
        let files = Files::new();
        let (_, known) = files.open().await.unwrap();
        assert_eq!(ids(&known), ["own-1", "db-1", "web-1"]);
        let db = known.get("db-1").unwrap();
        assert_eq!(
            (db.become_user.as_deref(), &db.attributes["zone"]),
            (Some("root"), &"a".into())
        );
        assert_eq!(known.get("web-1").unwrap().become_user, None);
        assert_eq!(known.get("web-1").unwrap().allow.len(), 1);
        assert_eq!((known.cluster(), known.get("x").is_none()), ("web", true));
    }

    #[tokio::test]
    async fn what_is_wrong_says_where_it_is_from() {
        let files = Files::new();
        files.write("hosts.ini", "[db]\nown-1\n");
        let error = files.open().await.unwrap_err().to_string();
        assert!(
            error.contains("hosts.ini together with") && error.contains("node \"own-1\""),
            "{error}"
        );
        files.write("hosts.ini", "[db]\na b\n");
        let error = files.open().await.unwrap_err().to_string();
        assert!(error.contains("the hosts of") && error.contains("\n2:1: "), "{error}");
        files.write("own.yaml", &OWN.replace("become", "becomes"));
        let error = files.open().await.unwrap_err().to_string();
        assert!(error.contains("own.yaml:\n7:11: "), "{error}");
        std::fs::remove_file(files.path("own.yaml")).unwrap();
        assert!(matches!(files.open().await, Err(InventoryError::File(_))));
    }

    #[tokio::test]
    async fn a_change_counts_and_a_mistake_does_not() {
        let files = Files::new();
        let (keeper, known) = files.open().await.unwrap();
        let (sender, mut watched) = watch::channel(Arc::new(known));
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let running = tokio::spawn(keeper.run(clock, sender));
        files.write("hosts.ini", "[db]\nown-1\n");
        files.write("own.yaml", &OWN.replace("own-1", "own-2"));
        // The mistake of the first file is mended by the change of the second.
        let seen = watched.wait_for(|known| ids(known) == ["own-2", "own-1"]);
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
        files.write("own.yaml", "spec: [");
        files.write("hosts.ini", "db-2\n");
        files.write("own.yaml", OWN);
        let seen = watched.wait_for(|known| ids(known) == ["own-1", "db-2"]);
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
        running.abort();
    }
}
