//! The engine: claims runs, keeps their leases, hands out commands, and starts one driver for each run. A driver
//! that fails or panics affects its own run only.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::World;
use super::abandoned::{self, Endings};
use super::activity::Activity;
use super::claiming::With;
use super::exits::{Exit, Exits};
use super::file_sums::FileSums;
use super::lacking::{Lacking, Lacks};
use super::lease::LeaseGuard;
use super::places::{Place, Places};
use super::queue::Queues;
use super::run_driver::{DriveError, RunDriver};
use super::skew::SkewWatch;
use super::standing::{BEAT, Standing, Takers};
use super::trouble;
use super::upkeep::{self, Upkeep};
use crate::run::{Command, CommandId, EngineId, Input, RunId, Timestamp};
use crate::store::{Lease, RENEWAL, StoreError};
use replibook_core::mutant;

/// How often the engine looks for runs and commands when nobody wakes it.
const LOOK: Duration = Duration::from_millis(250);

/// How long the engine waits after the store has failed it, since each failure is logged. Much shorter than a
/// lease, which must be renewed as soon as the store answers.
const LOOK_FAILED: Duration = Duration::from_secs(2);

/// How often expired documents are deleted.
const SWEEP: Duration = Duration::from_secs(30);

/// The most documents that one write deletes, so that commits don't have to wait for it.
const SWEPT_AT_ONCE: u32 = 1_000;

/// The most writes of one sweep. The rest is left to the next sweep; nothing reads those documents meanwhile.
const SWEEPS: u32 = 20;

/// The most commands that one look reads, of all runs together.
const COMMANDS_AT_ONCE: u32 = 1_000;

/// How many commands may wait for the driver of one run. Further ones stay in the store for the next look.
const COMMANDS: usize = 64;

/// How long a stop waits for the drivers. They only have to finish their commit; if one is cut off, the next
/// engine makes it. Whoever asked the process to end may kill it soon.
const STOPPING: Duration = Duration::from_millis(400);

/// How long it may take after that to give all runs back, which is one write. If an engine can't, others claim its
/// runs once their leases run out.
const RELEASING: Duration = Duration::from_millis(300);

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Identifies this engine among those that share the store. Each process needs its own.
    pub id: EngineId,
    /// The most runs that this engine drives at the same time; further ones wait for a place.
    pub max_runs: usize,
    /// The name that people see.
    pub name: String,
    /// The name of the machine that it runs on; empty if it has none.
    pub host: String,
    /// Base URL of the server that it is part of. None if there is no server.
    pub address: Option<String>,
    /// The files by which that server goes.
    pub files: FileSums,
    /// Counts what the engine does.
    pub activity: Arc<Activity>,
}

impl EngineConfig {
    /// The default of [`max_runs`](Self::max_runs): each run holds its records in memory. Runs that only wait, for
    /// a person or for their cluster, do not count.
    pub const MAX_RUNS: usize = 1_000;

    /// Settings of an engine that is named by its identifier, on a machine without a name.
    pub fn new(id: EngineId, max_runs: usize) -> Self {
        let (name, host) = (id.0.clone(), String::new());
        let (files, activity) = (FileSums::default(), Arc::default());
        Self { id, max_runs, name, host, address: None, files, activity }
    }
}

/// Drives all runs that it can claim.
pub struct Engine {
    pub(super) world: World,
    pub(super) config: EngineConfig,
    /// Ordered, so that the same history always goes the same way.
    pub(super) drivers: BTreeMap<RunId, Driver>,
    tasks: JoinSet<(RunId, u64)>,
    /// The runs that wait for their clusters.
    queues: Queues,
    pub(super) exchanged: Timestamp,
    /// When it last asked whether others have room for runs that wait here.
    pub(super) passed_on: Timestamp,
    pub(super) skew: SkewWatch,
    pub(super) places: Arc<Places>,
    pub(super) exits: Arc<Exits>,
    /// Runs that it leaves to engines that have their secrets.
    pub(super) lacking: Arc<Lacking>,
    /// When it first wrote its report to the store.
    pub(super) started: Option<Timestamp>,
    pub(super) standing: Standing,
    pub(super) takers: Takers,
    pub(super) is_draining: bool,
    /// When it last claimed more than its share.
    pub(super) yielded: Timestamp,
    stop: CancellationToken,
}

/// When an engine last did each of the things that it does now and then.
struct Turns {
    renewed: Timestamp,
    swept: Timestamp,
    looked: Timestamp,
    beaten: Option<Timestamp>,
    endings: Endings,
    tended: Option<Timestamp>,
    upkeep: Upkeep,
}

pub(super) struct Driver {
    pub(super) lease: LeaseGuard,
    pub(super) cluster: Option<String>,
    /// The place of the run. A run without one only waits, so giving it back costs little.
    pub(super) place: Arc<Place>,
    /// When it was first seen to wait for its place. None if it does not wait.
    pub(super) waits_since: Option<Timestamp>,
    /// Ends the driver once its commit is made.
    pub(super) stop: CancellationToken,
    /// Ends the driver once nothing of the run is in flight, if the run may go.
    pub(super) exit: Exit,
    /// The task that drives the run, or that rests after a panic.
    task: Id,
    commands: mpsc::Sender<Input>,
    /// Commands that the driver was given. They stay in the store until the driver has committed them.
    sent: HashSet<CommandId>,
}

impl Engine {
    /// Makes an engine. It does nothing until [`run`](Self::run) is called.
    pub fn new(world: World, config: EngineConfig) -> Self {
        let places = Places::new(config.max_runs);
        Self {
            world,
            config,
            drivers: BTreeMap::new(),
            tasks: JoinSet::new(),
            queues: Queues::default(),
            exchanged: Timestamp::default(),
            passed_on: Timestamp::default(),
            skew: SkewWatch::default(),
            places,
            exits: Arc::default(),
            lacking: Arc::default(),
            started: None,
            standing: Standing::default(),
            takers: Takers::default(),
            is_draining: false,
            yielded: Timestamp::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Drives runs until `stop` is cancelled. Then every driver finishes its commit and the leases are given back,
    /// so that the next engine can go on at once.
    pub async fn run(mut self, stop: CancellationToken) {
        let endings = Endings::new(self.world.clone(), stop.clone());
        let clock = self.world.clock.clone();
        let now = clock.now();
        let upkeep = Upkeep::new(self.world.clone());
        let mut turns = Turns {
            renewed: now,
            swept: now,
            looked: now,
            beaten: None,
            endings,
            tended: None,
            upkeep,
        };
        tokio::select! {
            biased;
            // Whatever the engine is doing may be cut off here: what a call to the store took by then is given
            // back below.
            () = stop.cancelled() => {}
            never = self.go_on(&mut turns) => match never {},
        }
        turns.upkeep.end().await;
        self.end(turns.endings).await;
    }

    async fn go_on(&mut self, turns: &mut Turns) -> Infallible {
        let clock = self.world.clock.clone();
        let (queues, world) = (self.queues.clone(), self.world.clone());
        let mut looking = pin!(queues.look(&world));
        // Another engine, or an earlier version, may have been unable to go on with runs that go well here.
        log(self.world.store.rouse().await.map(drop));
        loop {
            let is_well = self.turn(turns).await;
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => self.ended(ended).await,
                () = self.world.signals.wait_for_work() => {}
                // This future never ends.
                () = &mut looking => {}
                () = clock.sleep(if is_well { LOOK } else { LOOK_FAILED }) => {}
            }
        }
    }

    /// Does what is due. Returns whether all of it went well.
    async fn turn(&mut self, turns: &mut Turns) -> bool {
        let clock = self.world.clock.clone();
        let mut is_well = true;
        if clock.now().since(turns.renewed) >= RENEWAL {
            turns.renewed = clock.now();
            is_well &= log(self.renew().await);
        }
        if clock.now().since(turns.looked).to_std() >= abandoned::LOOK {
            turns.looked = clock.now();
            turns.endings.look();
        }
        if clock.now().since(turns.swept).to_std() >= SWEEP {
            turns.swept = clock.now();
            is_well &= log(self.sweep().await);
        }
        if turns.tended.is_none_or(|at| clock.now().since(at).to_std() >= upkeep::LOOK) {
            turns.tended = Some(clock.now());
            turns.upkeep.look();
        }
        if turns.beaten.is_none_or(|at| clock.now().since(at) >= BEAT) {
            turns.beaten = Some(clock.now());
            is_well &= log(self.beat().await);
        }
        is_well &= log(self.claim().await);
        is_well &= log(self.pass_on().await);
        is_well &= log(self.hand_out_commands().await);
        is_well
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        for _ in 0..SWEEPS {
            if self.world.store.sweep(SWEPT_AT_ONCE).await? < u64::from(SWEPT_AT_ONCE) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, lease: &Lease, with: With) {
        let guard = LeaseGuard::new(lease, self.world.clock.clone());
        let (sender, receiver) = mpsc::channel(COMMANDS);
        let cluster = lease.cluster.as_deref();
        let place = match with {
            With::Place => Place::new(&self.places, cluster),
            With::Beyond => Place::beyond(&self.places, cluster),
            With::None => Place::none(&self.places, cluster),
        };
        let stopping = self.stop.child_token();
        self.exits.came(lease.run, lease.epoch, self.world.store.time());
        let exit = Exit::new(&self.exits, lease.run, lease.epoch);
        let driver = RunDriver {
            world: self.world.clone(),
            lease: guard.clone(),
            queues: self.queues.clone(),
            place: place.clone(),
            stop: stopping.clone(),
            exit: exit.clone(),
            lacking: self.lacking.clone(),
            lacks: Lacks::default(),
            own: self.world.clock.clone(),
            activity: self.config.activity.clone(),
            commands: receiver,
        };
        let (run, epoch) = (lease.run, lease.epoch);
        let stop = stopping.clone();
        let (engine, activity) = (self.config.id.clone(), self.config.activity.clone());
        let committer = driver.committer();
        let task = self.tasks.spawn(async move {
            let driven = AssertUnwindSafe(driver.drive()).catch_unwind().await;
            let failed = match driven {
                Ok(result) => result.err(),
                Err(_) => Some(DriveError::Panicked),
            };
            if let Some(error) = failed {
                if matches!(error, DriveError::Panicked) {
                    activity.panic();
                }
                trouble::look_after(&committer, &engine, error, &stop).await;
            }
            (run, epoch)
        });
        let (cluster, task) = (lease.cluster.clone(), task.id());
        let driver = Driver {
            lease: guard,
            cluster,
            place,
            waits_since: None,
            stop: stopping,
            exit,
            task,
            commands: sender,
            sent: HashSet::new(),
        };
        self.drivers.insert(run, driver);
        self.config.activity.hold(self.drivers.len());
    }

    async fn ended(&mut self, ended: Result<(RunId, u64), JoinError>) {
        let (run, epoch) = match ended {
            Ok(ended) => ended,
            Err(error) => return self.broke(&error),
        };
        if self.drivers.get(&run).is_none_or(|driver| driver.lease.epoch() != epoch) {
            return;
        }
        let Some(driver) = self.drivers.remove(&run) else { return };
        self.config.activity.release();
        self.config.activity.hold(self.drivers.len());
        log(self.world.store.release(run, driver.lease.epoch()).await);
    }

    /// The task of a run panicked where it must not, so nobody drives the run. This engine or another one goes on
    /// with it after a rest.
    fn broke(&mut self, error: &JoinError) {
        let of = |(_, driver): &(&RunId, &mut Driver)| driver.task == error.id();
        let Some((run, driver)) = self.drivers.iter_mut().find(of) else { return };
        tracing::error!(%run, %error, "the task of a run broke off; the run is taken up again soon");
        self.config.activity.panic();
        let (ended, stop) = ((*run, driver.lease.epoch()), driver.stop.clone());
        let clock = self.world.clock.clone();
        let rest = async move {
            trouble::rest(clock.as_ref(), &stop).await;
            ended
        };
        driver.task = self.tasks.spawn(rest).id();
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        let renewed = self.world.store.renew(&self.config.id).await?;
        let renewed: BTreeMap<RunId, Lease> =
            renewed.into_iter().map(|lease| (lease.run, lease)).collect();
        for (run, driver) in &self.drivers {
            match renewed.get(run) {
                Some(lease) if lease.epoch == driver.lease.epoch() => driver.lease.prolong(lease),
                Some(_) | None => driver.lease.lose(),
            }
        }
        // Nobody drives these runs: the answer to a claim got lost, or a release did not arrive.
        for lease in renewed.values().filter(|lease| !self.drivers.contains_key(&lease.run)) {
            self.world.store.release(lease.run, lease.epoch).await?;
        }
        Ok(())
    }

    async fn hand_out_commands(&mut self) -> Result<(), StoreError> {
        if self.drivers.is_empty() {
            return Ok(());
        }
        let waiting = self.world.store.waiting_commands(&self.config.id, COMMANDS_AT_ONCE).await?;
        for command in waiting {
            self.hand_out(command);
        }
        Ok(())
    }

    fn hand_out(&mut self, command: Command) {
        let Some(driver) = self.drivers.get_mut(&command.run) else { return };
        let id = command.id;
        if !driver.sent.contains(&id) && driver.commands.try_send(Input::Command(command)).is_ok() {
            driver.sent.insert(id);
        }
    }

    async fn end(mut self, mut endings: Endings) {
        let clock = self.world.clock.clone();
        if mutant!(ReleasedTooSoon) {
            log(self.world.store.release_all(&self.config.id).await);
            clock.sleep(RENEWAL.to_std()).await;
        }
        self.stop.cancel();
        let stopped = async {
            while self.tasks.join_next().await.is_some() {}
            endings.ended().await;
        };
        let in_time = tokio::select! {
            biased;
            () = stopped => true,
            () = clock.sleep(STOPPING) => false,
        };
        if !in_time {
            tracing::warn!(runs = self.tasks.len(), "runs did not stop in time, and are cut off");
        }
        // Once another engine has a run, no request for it may be on its way from here.
        self.drivers.values().for_each(|driver| driver.lease.lose());
        self.tasks.abort_all();
        let (store, id) = (self.world.store.as_ref(), &self.config.id);
        let given_back = async { tokio::join!(store.release_all(id), store.remove_engine(id)) };
        tokio::select! {
            biased;
            (released, forgotten) = given_back => {
                log(released.map(drop));
                log(forgotten);
            }
            () = clock.sleep(RELEASING) => tracing::warn!(
                "the store did not take all runs back in time; others can have them once their leases run out"
            ),
        }
    }
}

/// Logs that the store failed; the next look tries again. Returns whether all went well.
pub(super) fn log(result: Result<(), StoreError>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("{:#}", anyhow::Error::new(error));
            false
        }
    }
}
