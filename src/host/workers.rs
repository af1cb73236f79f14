//! The host's own threads: guests block and compute, which must never hold up the event loop.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::limits::THREAD_STACK_BYTES;

type Job = Box<dyn FnOnce() + Send>;

/// Some threads with a bounded queue. They end once this is dropped and the queue is empty.
pub(super) struct Workers {
    queue: mpsc::Sender<Job>,
}

/// The threads have ended, or the job panicked.
#[derive(Debug, thiserror::Error)]
#[error("the plugin host gave up on this call")]
pub(super) struct Gone;

impl Workers {
    /// Starts `threads` threads; at most `queued` jobs wait for them.
    pub(super) fn start(name: &str, threads: usize, queued: usize) -> io::Result<Self> {
        Self::start_behind(name, threads, queued, 0)
    }

    /// The same, with threads that give way to others: their nice value is raised by `back`.
    pub(super) fn start_behind(
        name: &str,
        threads: usize,
        queued: usize,
        back: i32,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>(queued);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .stack_size(THREAD_STACK_BYTES)
                .spawn(move || {
                    // On Linux this affects only this thread; elsewhere it would affect the whole process.
                    if back > 0
                        && cfg!(target_os = "linux")
                        && let Err(error) = rustix::process::nice(back)
                    {
                        tracing::warn!("failed to lower the priority of a thread: {error}");
                    }
                    work(&jobs);
                })?;
        }
        Ok(Self { queue })
    }

    /// Does `job` on one of the threads. Waits while the queue is full.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            // If the caller has gone, there is nothing to do.
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        };
        self.queue.send(Box::new(job)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}

thread_local! {
    /// The thread beside this one, once it has been started.
    static BESIDE: RefCell<Option<SyncSender<Job>>> = const { RefCell::new(None) };
}

/// Does `job` on a companion thread of the calling thread, and blocks the caller until it is done, so that
/// everything happens in the same order as if the caller did it. The caller can't do it itself if it drives an
/// async runtime: the WASI streams block on their own runtime, which panics there. To start a thread for each job
/// would take longer than most calls of plugins do.
pub(super) fn run_beside<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Gone> {
    let (answer, answered) = sync_channel(1);
    // If the job panics, no answer is sent.
    let job: Job = Box::new(move || drop(answer.send(job())));
    BESIDE.with_borrow_mut(|beside| {
        let jobs = match beside {
            Some(jobs) => jobs,
            None => beside.insert(start_beside().map_err(|error| {
                tracing::warn!("failed to start a plugin thread: {error}");
                Gone
            })?),
        };
        jobs.send(job).map_err(|_| Gone)
    })?;
    answered.recv().map_err(|_| Gone)
}

/// Starts the companion thread. It ends with the thread that it belongs to. That thread waits for each job, so the
/// queue needs room for only one.
fn start_beside() -> io::Result<SyncSender<Job>> {
    let (queue, jobs) = sync_channel::<Job>(1);
    let work = move || in_context(|| jobs.into_iter().for_each(guarded));
    thread::Builder::new().name("plugin".to_owned()).stack_size(THREAD_STACK_BYTES).spawn(work)?;
    Ok(queue)
}

/// Does a job, and catches its panic. The caller learns of it because no answer comes.
fn guarded(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a call of a plugin panicked in the host");
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    in_context(|| {
        loop {
            // One thread waits for the queue, the others wait for the lock.
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(job) = job else { return };
            guarded(job);
        }
    });
}

/// Does `job` in the context of a runtime: the WASI streams look for one, and would otherwise start one with many
/// threads.
fn in_context<T>(job: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let _context = match &runtime {
        Ok(runtime) => Some(runtime.enter()),
        Err(error) => {
            tracing::warn!("failed to make a context for a plugin thread: {error}");
            None
        }
    };
    job()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_the_end_of_its_job_only() {
        let workers = Workers::start("test", 1, 1).unwrap();
        assert!(workers.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(workers.run(|| 1 + 1).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn work_beside_may_block_and_its_panic_is_an_error() {
        let blocks = || tokio::runtime::Handle::current().block_on(async { 1 + 1 });
        let thread = || thread::current().id();
        let first = run_beside(thread).unwrap();
        assert_eq!(run_beside(blocks).unwrap(), 2);
        assert!(run_beside(|| panic!("on purpose")).is_err());
        assert_eq!(run_beside(thread).unwrap(), first, "it is the same one");
        assert_ne!(first, thread::current().id());
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_waits_and_is_served() {
        let workers = Arc::new(Workers::start("test", 1, 1).unwrap());
        let calls = (0..20).map(|number| {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move { workers.run(move || number).await.unwrap() })
        });
        let mut sum = 0;
        for call in calls.collect::<Vec<_>>() {
            sum += call.await.unwrap();
        }
        assert_eq!(sum, 190);
    }
}
