//! The border of one engine's process. Every call that passes it can be held up, or can be the last one
//! before the process dies.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use replibook::clock::Clock;
use replibook::run::Timestamp;
use tokio::sync::Notify;

use crate::ears::Life;
use crate::ledger::SharedLedger;
use crate::plan::{Interruption, Point, Side, Trouble};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Going,
    Frozen,
    Dead,
}

/// What is going to happen to an engine, in all of its lives.
pub(crate) struct Fate {
    pub(crate) troubles: VecDeque<Trouble>,
    /// How often the point of the next trouble has been passed so far.
    passed: u32,
}

impl Fate {
    pub(crate) fn new(troubles: &[Trouble]) -> Self {
        Self { troubles: troubles.iter().copied().collect(), passed: 0 }
    }

    fn next(&mut self, point: Point, side: Side) -> Option<Interruption> {
        let trouble = self.troubles.front().copied()?;
        if trouble.point != point {
            return None;
        }
        self.passed += u32::from(side == Side::Before);
        if self.passed < trouble.nth || trouble.side != side {
            return None;
        }
        self.troubles.pop_front();
        self.passed = 0;
        Some(trouble.what)
    }
}

/// The border of one life of an engine. While it is frozen, nothing passes in either direction; once the
/// process is dead, nothing ever does.
pub(crate) struct Gate {
    pub(crate) engine: usize,
    pub(crate) life: u32,
    fate: Arc<Mutex<Fate>>,
    mode: Mutex<Mode>,
    thawed: Notify,
    /// Set once the process has died: how long it takes until the next one is there.
    died: Mutex<Option<u64>>,
    dying: Notify,
    clock: Arc<dyn Clock>,
    ledger: SharedLedger,
}

impl Gate {
    pub(crate) fn new(
        (engine, life): Life,
        fate: Arc<Mutex<Fate>>,
        clock: Arc<dyn Clock>,
        ledger: SharedLedger,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            life,
            fate,
            mode: Mutex::new(Mode::Going),
            thawed: Notify::new(),
            died: Mutex::new(None),
            dying: Notify::new(),
            clock,
            ledger,
        })
    }

    /// The life of the engine that this border belongs to.
    pub(crate) fn whose(&self) -> Life {
        (self.engine, self.life)
    }

    /// Returns once the engine is not frozen.
    pub(crate) async fn pass(&self) {
        loop {
            let thawed = self.thawed.notified();
            tokio::pin!(thawed);
            thawed.as_mut().enable();
            let mode = *lock(&self.mode);
            match mode {
                Mode::Going if !self.ledger.is_over() => return,
                Mode::Frozen => thawed.await,
                Mode::Going | Mode::Dead => pending().await,
            }
        }
    }

    /// Passes a point, before or after what happens there.
    pub(crate) async fn at(self: &Arc<Self>, point: Point, side: Side) {
        self.pass().await;
        let interruption = lock(&self.fate).next(point, side);
        match interruption {
            None => {}
            Some(Interruption::Killed { back_after }) => {
                self.ledger.note(self.engine, "killed");
                *lock(&self.mode) = Mode::Dead;
                *lock(&self.died) = Some(back_after);
                self.dying.notify_one();
                self.pass().await;
            }
            Some(Interruption::Frozen { length }) => {
                self.ledger.note(self.engine, "frozen");
                *lock(&self.mode) = Mode::Frozen;
                let gate = Arc::clone(self);
                tokio::spawn(async move {
                    gate.clock.sleep(Duration::from_millis(length)).await;
                    gate.thaw();
                });
                self.pass().await;
            }
        }
    }

    fn thaw(&self) {
        let mut mode = lock(&self.mode);
        if *mode == Mode::Frozen {
            self.ledger.note(self.engine, "thawed");
            *mode = Mode::Going;
            self.thawed.notify_waiters();
        }
    }

    /// Returns once the process has died: how long it takes until the next one is there.
    pub(crate) async fn died(&self) -> u64 {
        loop {
            self.dying.notified().await;
            if let Some(back_after) = *lock(&self.died) {
                return back_after;
            }
        }
    }
}

/// The clock of one engine. A sleep ends only once the engine is not frozen.
pub(crate) struct EngineClock {
    pub(crate) gate: Arc<Gate>,
    /// How many milliseconds it is ahead of the store's.
    pub(crate) ahead: i64,
}

#[async_trait]
impl Clock for EngineClock {
    fn now(&self) -> Timestamp {
        let now = self.gate.clock.now().as_millis();
        Timestamp::from_millis(now.saturating_add(self.ahead))
    }

    async fn sleep(&self, length: Duration) {
        self.gate.clock.sleep(length).await;
        self.gate.pass().await;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
