//! Nodes for these tests, and jobs that write down on the node itself that they were done.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replibook::agent::gateway::nodes::{
    End, Job, JobState, Jobs, Node, Place, Programs, Seen, Started, Work,
};
use replibook::clock::SystemClock;
use replibook::run::Timestamp;
use serde_json::{Map, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The shells that nodes have. The last one is one on a machine without `/proc`.
pub(crate) const SHELLS: [&str; 4] = ["dash", "bash", "busybox ash", "no-proc"];

/// A node in a folder.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) jobs: Jobs,
    pub(crate) node: Node,
}

impl Scene {
    /// This machine, with one of [`SHELLS`].
    pub(crate) fn local(shell: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sh = folder.path().join("sh");
        let text = match shell {
            "no-proc" => {
                "#!/bin/sh\nscript=$(printf '%s\\n' \"$2\" | sed 's,/proc,/nowhere,g')\nshift 2\n\
                 exec dash -c \"$script\" \"$@\"\n"
                    .to_owned()
            }
            shell => format!("#!/bin/sh\nexec {shell} \"$@\"\n"),
        };
        program(&sh, &text);
        let programs = Programs { sh, ..Programs::default() };
        Self::with(folder, programs, Place::Local)
    }

    /// A node that these programs reach.
    pub(crate) fn with(folder: TempDir, programs: Programs, place: Place) -> Self {
        let jobs = Jobs::new(programs, Arc::new(SystemClock)).unwrap();
        let work = folder.path().join("work").display().to_string();
        Self { folder, jobs, node: Node { place, folder: work } }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of a job.
    pub(crate) fn job(&self, id: Uuid) -> PathBuf {
        self.path("work").join("jobs").join(id.to_string())
    }

    /// What jobs wrote down, a line each.
    pub(crate) fn done(&self) -> Vec<String> {
        let done = std::fs::read_to_string(self.path("done")).unwrap_or_default();
        done.lines().map(str::to_owned).collect()
    }

    /// A job that writes down its number, and says it.
    pub(crate) fn note(&self, id: Uuid) -> Job {
        let done = self.path("done").display().to_string();
        let text = format!("echo {id} >> {done}; echo {id}");
        command(id, &["sh", "-c", &text])
    }

    pub(crate) async fn start(&self, job: &Job) -> JobState {
        match self.jobs.start(&self.node, job).await.unwrap() {
            Started::Begun(state) => state,
            Started::Known => panic!("{}: known already", job.id),
        }
    }

    pub(crate) async fn look(&self, id: Uuid) -> Option<Seen> {
        self.jobs.look(&self.node, id).await.unwrap()
    }

    /// Starts a job and waits for its end.
    pub(crate) async fn run(&self, job: &Job) -> End {
        if let JobState::Ended(end) = self.start(job).await {
            return end;
        }
        self.end(job.id).await
    }

    /// Waits for the end of a job.
    pub(crate) async fn end(&self, id: Uuid) -> End {
        wait::until("the end of the job", LIMIT, async || match self.look(id).await?.state {
            JobState::Ended(end) => Some(end),
            JobState::Running { .. } => None,
            other @ (JobState::Lost { .. } | JobState::NotStarted) => panic!("{other:?}"),
        })
        .await
    }

    /// Does as an engine does: asks before it starts anything again.
    pub(crate) async fn see_through(&self, job: &Job) -> JobState {
        for _ in 0..1_000 {
            match self.jobs.start(&self.node, job).await {
                Ok(Started::Begun(state @ (JobState::Ended(_) | JobState::Lost { .. }))) => {
                    return state;
                }
                Err(error) if !error.may_have_begun() => continue,
                Ok(_) | Err(_) => {}
            }
            loop {
                match self.jobs.look(&self.node, job.id).await {
                    Ok(None) => break,
                    Ok(Some(seen)) => match seen.state {
                        state @ (JobState::Ended(_) | JobState::Lost { .. }) => return state,
                        JobState::Running { .. } | JobState::NotStarted => {}
                    },
                    Err(_) => {}
                }
                tokio::task::yield_now().await;
            }
        }
        panic!("{}: it never ends", job.id);
    }
}

/// A job that is a command.
pub(crate) fn command(id: Uuid, argv: &[&str]) -> Job {
    let work = Work::Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        stdin: Bytes::new(),
        env: [].into(),
        folder: None,
    };
    of(id, work)
}

pub(crate) fn of(id: Uuid, work: Work) -> Job {
    Job {
        id,
        kind: "test.example.com/kind with ä".to_owned(),
        args: json!({ "text": "a \\ b\nä" }),
        metadata: Map::new(),
        created: Timestamp::from_millis(1_795_338_000_000),
        work,
        secret: false,
        become_user: None,
        timeout: None,
    }
}

/// Writes a program.
pub(crate) fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// All files of a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
