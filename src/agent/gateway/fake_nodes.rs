//! Nodes of tests: in memory, or silent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::nodes::{
    Facts, Job, JobState, Listed, Node, NodeError, Phase, Piece, Place, Said, Seen, Started, Stream,
};
use super::reach::Nodes;
use crate::run::Timestamp;

/// Nodes in memory, which do nothing.
#[derive(Default)]
pub(super) struct FakeNodes {
    pub(super) jobs: Mutex<HashMap<(Place, Uuid), Seen>>,
    /// What a job becomes when it is started.
    pub(super) becomes: Mutex<Option<JobState>>,
    pub(super) trouble: Mutex<Option<NodeError>>,
    pub(super) asked: Mutex<BTreeMap<&'static str, usize>>,
    pub(super) started: Mutex<Vec<Job>>,
    pub(super) purged: Mutex<Vec<Timestamp>>,
}

impl FakeNodes {
    fn ask(&self, what: &'static str) -> Result<(), NodeError> {
        *self.asked.lock().unwrap().entry(what).or_default() += 1;
        self.trouble.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    pub(super) fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, id: Uuid, state: JobState) {
        for ((_, of), seen) in self.jobs.lock().unwrap().iter_mut() {
            if *of == id {
                seen.state = state.clone();
            }
        }
    }
}

#[async_trait]
impl Nodes for FakeNodes {
    async fn start(&self, node: &Node, job: &Job) -> Result<Started, NodeError> {
        self.ask("start")?;
        let since = Timestamp::from_millis(7);
        let state = self.becomes.lock().unwrap().clone().unwrap_or(JobState::Running { since });
        self.started.lock().unwrap().push(job.clone());
        let seen = Seen {
            kind: job.kind.clone(),
            args: job.args.clone(),
            metadata: job.metadata.clone(),
            created: job.created,
            sent: since,
            state: state.clone(),
        };
        match self.jobs.lock().unwrap().insert((node.place.clone(), job.id), seen) {
            Some(_) => Ok(Started::Known),
            None => Ok(Started::Begun(state)),
        }
    }

    async fn look(&self, node: &Node, id: Uuid) -> Result<Option<Seen>, NodeError> {
        self.ask("look")?;
        Ok(self.jobs.lock().unwrap().get(&(node.place.clone(), id)).cloned())
    }

    async fn list(&self, node: &Node) -> Result<Vec<Listed>, NodeError> {
        self.ask("list")?;
        let jobs = self.jobs.lock().unwrap();
        let of_node = jobs.iter().filter(|((place, _), _)| *place == node.place);
        let listed = of_node.map(|((_, id), seen)| {
            let phase = match &seen.state {
                JobState::Running { .. } => Phase::Running,
                JobState::Ended(end) => Phase::Ended(end.code),
                JobState::Lost { .. } => Phase::Lost,
                JobState::NotStarted => Phase::NotStarted,
            };
            Listed { id: *id, kind: seen.kind.clone(), sent: seen.sent, phase }
        });
        Ok(listed.collect())
    }

    async fn output(
        &self,
        node: &Node,
        id: Uuid,
        stream: Stream,
        from: u64,
    ) -> Result<Option<Piece>, NodeError> {
        self.ask("output")?;
        let jobs = self.jobs.lock().unwrap();
        let Some(seen) = jobs.get(&(node.place.clone(), id)) else { return Ok(None) };
        let (bytes, ended) = match (&seen.state, stream) {
            (JobState::Ended(end), Stream::Out) => (end.stdout.clone(), true),
            (JobState::Ended(end), Stream::Err) => (end.stderr.clone(), true),
            (JobState::Running { .. } | JobState::Lost { .. } | JobState::NotStarted, _) => {
                (Bytes::from_static(b"so far"), false)
            }
        };
        let from = usize::try_from(from).unwrap().min(bytes.len());
        Ok(Some(Piece { next: bytes.len() as u64, bytes: bytes.slice(from..), ended }))
    }

    async fn facts(&self, _: &Node, status: Option<&[String]>) -> Result<Facts, NodeError> {
        self.ask("facts")?;
        let said = Said { code: 0, stdout: Bytes::from_static(b"DEGRADED") };
        Ok(Facts { os: "debian 12".to_owned(), status: status.map(|_| said), ..Facts::default() })
    }

    async fn purge(&self, _: &Node, before: Timestamp) -> Result<u64, NodeError> {
        self.purged.lock().unwrap().push(before);
        Ok(1)
    }
}

/// A node that never answers.
pub(super) struct Silent;

#[async_trait]
impl Nodes for Silent {
    async fn start(&self, _: &Node, _: &Job) -> Result<Started, NodeError> {
        std::future::pending().await
    }

    async fn look(&self, _: &Node, _: Uuid) -> Result<Option<Seen>, NodeError> {
        std::future::pending().await
    }

    async fn list(&self, _: &Node) -> Result<Vec<Listed>, NodeError> {
        std::future::pending().await
    }

    async fn output(
        &self,
        _: &Node,
        _: Uuid,
        _: Stream,
        _: u64,
    ) -> Result<Option<Piece>, NodeError> {
        std::future::pending().await
    }

    async fn facts(&self, _: &Node, _: Option<&[String]>) -> Result<Facts, NodeError> {
        std::future::pending().await
    }

    async fn purge(&self, _: &Node, _: Timestamp) -> Result<u64, NodeError> {
        std::future::pending().await
    }
}
