//! The imports that a server knows: those that go on, and those that ended not long ago.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::failures::Failures;
use super::turns::Turns;
use crate::api::error::{ApiError, Code};
use crate::api::wire::{ImportProblem, ImportState, ImportView, PluginView};
use crate::plugin::PluginError;
use crate::registry::{MAX_LAYER, Progress, Registries};
use crate::run::{Digest, Timestamp};
use crate::web::{Client, Memory};

/// The most imports that are known: those of several people who apply large playbooks.
const MAX_IMPORTS: usize = 256;

/// The most of them that go on for one client: a playbook with very many plugins.
const MAX_OF_CLIENT: usize = 64;

/// How long an import is known after its end: far longer than any client needs to ask.
const KEPT: Duration = Duration::from_secs(600);

/// How long the failure of a reference is remembered: somebody mends it by pushing, and tries again.
pub(super) const REFERENCE_FAILS: Duration = Duration::from_secs(20);

/// How long the failure of bytes is remembered: they will never be a plugin.
const BYTES_FAIL: Duration = Duration::from_secs(600);

/// Memory for plugins that come from registries. One client gets half, so that the slow registry of one does not hold
/// up another.
const MAX_PULLED: usize = 2 * MAX_LAYER;

/// The imports of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::api) struct Imports {
    pub(super) registries: Registries,
    pub(super) memory: Memory,
    /// Whose turn it is to have a plugin compiled; uploads take it too.
    pub(super) turns: Turns<Client>,
    /// Which bytes are being compiled.
    pub(super) vetted: Turns<Digest>,
    /// Bytes that were refused, by their digest; those of uploads too.
    pub(super) refused: Failures<PluginError>,
    /// References that could not be imported.
    pub(super) failed: Failures<ImportProblem>,
    table: Arc<Mutex<BTreeMap<Uuid, Import>>>,
}

/// One import.
#[derive(Debug)]
struct Import {
    client: Client,
    source: String,
    stage: Stage,
    progress: Arc<Progress>,
    manifest: Option<Digest>,
    created_at: Timestamp,
    ended: Option<(Timestamp, Instant)>,
    stop: CancellationToken,
    /// Is notified when somebody asks.
    asked: Arc<Notify>,
}

#[derive(Clone, Debug)]
enum Stage {
    Waiting,
    Pulling,
    Checking,
    /// The plugin, and whether this import brought it.
    Done(Box<PluginView>, bool),
    Failed(ImportProblem),
}

/// What the task of an import needs to know.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) id: Uuid,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    pub(super) asked: Arc<Notify>,
}

/// A plugin that an import brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Brought {
    pub(super) digest: Digest,
    /// Since when nothing pinned it, when it came. Whoever finds it later begins its retention anew.
    pub(super) unpinned_at: Option<Timestamp>,
}

impl Brought {
    pub(super) fn of(plugin: &PluginView) -> Self {
        Self { digest: plugin.info.digest.clone(), unpinned_at: plugin.unpinned_at }
    }
}

impl Imports {
    /// No imports yet, from these registries.
    pub(in crate::api) fn new(registries: Registries) -> Self {
        Self {
            registries,
            memory: Memory::new(MAX_PULLED),
            turns: Turns::default(),
            vetted: Turns::default(),
            refused: Failures::new(BYTES_FAIL),
            failed: Failures::new(REFERENCE_FAILS),
            table: Arc::default(),
        }
    }

    /// Adds an import that begins.
    pub(super) fn start(
        &self,
        client: Client,
        source: String,
        created_at: Timestamp,
        stopping: &CancellationToken,
    ) -> Result<Started, ApiError> {
        let mut table = self.table();
        let now = Instant::now();
        table.retain(|_, import| import.ended.is_none_or(|(_, ended)| now < ended + KEPT));
        let is_going = |import: &&Import| import.ended.is_none();
        let of_client = table.values().filter(is_going).filter(|import| import.client == client);
        if of_client.count() >= MAX_OF_CLIENT {
            let detail = format!("found {MAX_OF_CLIENT} imports that go on, expected fewer");
            return Err(ApiError::new(Code::TooBusy, detail));
        }
        if table.len() >= MAX_IMPORTS {
            let ended = table.iter().filter(|(_, import)| import.ended.is_some());
            let oldest = ended.min_by_key(|(_, import)| import.ended.map(|(_, at)| at));
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                let detail = format!("{MAX_IMPORTS} imports go on");
                return Err(ApiError::new(Code::TooBusy, detail));
            };
            table.remove(&oldest);
        }
        let (id, stop) = (Uuid::new_v4(), stopping.child_token());
        let (progress, asked) = (Arc::<Progress>::default(), Arc::<Notify>::default());
        let import = Import {
            client,
            source,
            stage: Stage::Waiting,
            progress: progress.clone(),
            manifest: None,
            created_at,
            ended: None,
            stop: stop.clone(),
            asked: asked.clone(),
        };
        table.insert(id, import);
        Ok(Started { id, progress, stop, asked })
    }

    /// How an import is. Asking keeps it going.
    pub(super) fn view(&self, id: Uuid) -> Result<ImportView, ApiError> {
        let table = self.table();
        let import = table.get(&id).ok_or_else(|| not_found(id))?;
        import.asked.notify_one();
        Ok(view(id, import))
    }

    /// Forgets an import, and stops it if it goes on. Returns the plugin if it is to be removed: the import brought it,
    /// and no other one found it there.
    pub(super) fn remove(&self, id: Uuid) -> Result<Option<Brought>, ApiError> {
        let mut table = self.table();
        let import = table.remove(&id).ok_or_else(|| not_found(id))?;
        import.stop.cancel();
        let brought = match import.stage {
            Stage::Done(plugin, true) => Brought::of(&plugin),
            Stage::Done(_, false)
            | Stage::Waiting
            | Stage::Pulling
            | Stage::Checking
            | Stage::Failed(_) => return Ok(None),
        };
        let found_it = |other: &Import| match &other.stage {
            Stage::Done(plugin, _) => plugin.info.digest == brought.digest,
            Stage::Waiting | Stage::Pulling | Stage::Checking | Stage::Failed(_) => false,
        };
        Ok((!table.values().any(found_it)).then_some(brought))
    }

    pub(super) fn pulling(&self, id: Uuid) {
        self.change(id, |import| import.stage = Stage::Pulling);
    }

    pub(super) fn knows(&self, id: Uuid, manifest: Digest) {
        self.change(id, |import| import.manifest = Some(manifest));
    }

    pub(super) fn checking(&self, id: Uuid) {
        self.change(id, |import| import.stage = Stage::Checking);
    }

    /// The plugin is in the store. False: the import was cancelled before.
    pub(super) fn done(&self, id: Uuid, plugin: PluginView, brought: bool, at: Timestamp) -> bool {
        self.change(id, |import| {
            import.stage = Stage::Done(Box::new(plugin), brought);
            import.ended = Some((at, Instant::now()));
        })
    }

    pub(super) fn failed(&self, id: Uuid, problem: ImportProblem, at: Timestamp) {
        self.change(id, |import| {
            import.stage = Stage::Failed(problem);
            import.ended = Some((at, Instant::now()));
        });
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut Import)) -> bool {
        self.table().get_mut(&id).map(change).is_some()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Uuid, Import>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(id: Uuid) -> ApiError {
    let detail = format!(
        "there is no import {id}: it was cancelled, nobody asked for it, or it ended long ago"
    );
    ApiError::new(Code::ImportNotFound, detail)
}

fn view(id: Uuid, import: &Import) -> ImportView {
    let (state, plugin, problem) = match import.stage.clone() {
        Stage::Waiting => (ImportState::Waiting, None, None),
        Stage::Pulling => (ImportState::Pulling, None, None),
        Stage::Checking => (ImportState::Checking, None, None),
        Stage::Done(plugin, _) => (ImportState::Done, Some(*plugin), None),
        Stage::Failed(problem) => (ImportState::Failed, None, Some(problem)),
    };
    let (received, total) = (import.progress.received(), import.progress.total());
    ImportView {
        id,
        source: import.source.clone(),
        state,
        received,
        total: (total > 0).then_some(total),
        manifest: import.manifest.clone(),
        plugin,
        problem,
        created_at: import.created_at,
        ended_at: import.ended.map(|(at, _)| at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn imports_are_bounded_in_number_and_forgotten_after_a_while() {
        let imports = Imports::new(Registries::default());
        let stopping = CancellationToken::new();
        let at = Timestamp::default();
        let start = |n: u8| {
            let client = Client::at(([10, 0, 0, n], 1).into());
            imports.start(client, "oci://a.example/b:1".to_owned(), at, &stopping)
        };
        let first = start(0).unwrap();
        for _ in 1..MAX_OF_CLIENT {
            start(0).unwrap();
        }
        assert_eq!(start(0).unwrap_err().code, Code::TooBusy);
        for client in 1..4 {
            for _ in 0..MAX_OF_CLIENT {
                start(client).unwrap();
            }
        }
        assert_eq!(start(9).unwrap_err().code, Code::TooBusy);
        let problem = ImportProblem {
            code: "registry-busy".to_owned(),
            message: String::new(),
            retryable: true,
        };
        imports.failed(first.id, problem, at);
        assert_eq!(imports.view(first.id).unwrap().state, ImportState::Failed);
        let second = start(9).unwrap();
        assert_eq!(imports.view(first.id).unwrap_err().code, Code::ImportNotFound);
        assert_eq!(imports.remove(second.id).unwrap(), None);
        assert!(second.stop.is_cancelled() && !stopping.is_cancelled());

        let third = start(9).unwrap();
        let problem =
            ImportProblem { code: "x".to_owned(), message: String::new(), retryable: false };
        imports.failed(third.id, problem, at);
        tokio::time::advance(KEPT).await;
        let _fourth = start(8).unwrap();
        assert!(imports.view(third.id).is_err());
    }
}
