//! Threads of the host's own: guests block and compute, which must never hold up the event loop.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::limits::THREAD_STACK_BYTES;

type Job = Box<dyn FnOnce() + Send>;

/// Some threads with a bounded queue. They end when this is dropped and the queue is empty.
pub(super) struct Workers {
    queue: mpsc::Sender<Job>,
}

/// The threads are gone, or the work panicked.
#[derive(Debug, thiserror::Error)]
#[error("the plugin host gave up on this call")]
pub(super) struct Gone;

impl Workers {
    /// Starts `threads` threads; at most `queued` jobs wait for them.
    pub(super) fn start(name: &str, threads: usize, queued: usize) -> io::Result<Self> {
        Self::start_behind(name, threads, queued, 0)
    }

    /// The same, with threads that stand back so far for others: the nice value is raised by that.
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
                    // On Linux this is for the thread alone, elsewhere for the whole process.
                    if back > 0
                        && cfg!(target_os = "linux")
                        && let Err(error) = rustix::process::nice(back)
                    {
                        tracing::warn!("failed to have a thread stand back: {error}");
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
            // Who asked may have gone: then there is nothing to do.
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        };
        self.queue.send(Box::new(job)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}

/// Does `job` on a thread that lives for it alone, and blocks the calling one until it is done: the
/// order of things is as if the caller did it. It can not, where it drives an async runtime: the
/// WASI streams block on theirs, which is a panic there.
pub(super) fn run_alone<T: Send>(name: &str, job: impl FnOnce() -> T + Send) -> Result<T, Gone> {
    thread::scope(|scope| {
        let started = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, || in_context(job));
        match started {
            Ok(thread) => thread.join().map_err(|_| {
                tracing::error!("a call of a plugin panicked in the host");
                Gone
            }),
            Err(error) => {
                tracing::warn!("failed to start a plugin thread: {error}");
                Err(Gone)
            }
        }
    })
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    in_context(|| {
        loop {
            // One thread waits for the queue, the others for the lock.
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(job) = job else { return };
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                // Who asked learns it from the answer that does not come; the thread goes on.
                tracing::error!("a call of a plugin panicked in the host");
            }
        }
    });
}

/// Does `job` with a runtime at hand: the WASI streams look for one, and would start one with many
/// threads if there was none.
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
    async fn work_alone_may_block_and_its_panic_is_an_error() {
        let blocks = || tokio::runtime::Handle::current().block_on(async { 1 + 1 });
        assert_eq!(run_alone("test", blocks).unwrap(), 2);
        assert!(run_alone("test", || panic!("on purpose")).is_err());
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
