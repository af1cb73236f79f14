//! Engines that behave like processes: they are started, killed, and started again.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replibook::agent::AgentLimits;
use replibook::clock::Clock;
use replibook::driver::{Engine, EngineConfig, Followers, Signals, World};
use replibook::plugin::PluginHost;
use replibook::run::{EngineId, Millis, Timestamp};
use replibook::store::MemoryStore;
use tokio_util::sync::CancellationToken;

use crate::agents::{Agents, EngineAgents};
use crate::dialect::both_dialects;
use crate::documents::secrets;
use crate::gate::{EngineClock, Fate, Gate, lock};
use crate::ledger::SharedLedger;
use crate::plan::{CALM, EnginePlan, Outage};
use crate::platform::{EnginePlatform, Platforms};
use crate::store::{EngineStore, Faults};
use crate::web::{EngineWeb, Web};

/// What all engines of a history share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) platforms: Arc<Platforms>,
    pub(crate) web: Arc<Web>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) start: Timestamp,
    pub(crate) plugins: PluginHost,
    pub(crate) outages: Arc<[Outage]>,
    pub(crate) ledger: SharedLedger,
    pub(crate) unreachable_after: Millis,
    pub(crate) tells: bool,
}

/// Lets an engine live one life after another, until `stop`.
pub(crate) async fn live(
    around: Surroundings,
    number: usize,
    plan: EnginePlan,
    stop: CancellationToken,
) {
    let fate = Arc::new(Mutex::new(Fate::new(&plan.troubles)));
    let faults = Faults::new(&plan.faults);
    let calm = calm_down(around.clock.clone(), Arc::clone(&fate));
    let calm = tokio::spawn(calm);
    around.clock.sleep(Duration::from_millis(plan.at)).await;
    let mut stops = plan.stops;
    for life in 0.. {
        let (fate, ledger) = (Arc::clone(&fate), around.ledger.clone());
        let gate = Gate::new((number, life), fate, around.clock.clone(), ledger);
        let id = format!("engine-{number}.{life}");
        let engine = engine(&around, &gate, &faults, &plan, &id);
        let asked = stop.child_token();
        let mut task = tokio::spawn(engine.run(asked.clone()));
        let abort = task.abort_handle();
        let mut back_after = 0;
        let died = loop {
            tokio::select! {
                biased;
                _ = &mut task => break None,
                back_after = gate.died() => break Some(back_after),
                () = moment(&around, stops) => {
                    around.ledger.note(number, "is asked to stop");
                    back_after = stops.take().map_or(0, |(_, back_after)| back_after);
                    asked.cancel();
                }
            }
        };
        if stop.is_cancelled() {
            break;
        }
        abort.abort();
        around.clock.sleep(Duration::from_millis(died.unwrap_or(back_after))).await;
        if stop.is_cancelled() {
            break;
        }
    }
    calm.abort();
}

/// Returns when the engine is to be asked to stop; never if it is not.
async fn moment(around: &Surroundings, stops: Option<(u64, u64)>) {
    match stops {
        Some((at, _)) => {
            let gone = around.clock.now().since(around.start).0;
            around.clock.sleep(Duration::from_millis(at.saturating_sub(gone))).await;
        }
        None => std::future::pending().await,
    }
}

/// From [`CALM`] on, nothing more happens to the engine.
async fn calm_down(clock: Arc<dyn Clock>, fate: Arc<Mutex<Fate>>) {
    clock.sleep(Duration::from_millis(CALM)).await;
    lock(&fate).troubles.clear();
}

fn engine(
    around: &Surroundings,
    gate: &Arc<Gate>,
    faults: &Arc<Faults>,
    plan: &EnginePlan,
    id: &str,
) -> Engine {
    let store = EngineStore {
        inner: Arc::clone(&around.memory),
        gate: Arc::clone(gate),
        faults: Arc::clone(faults),
        outages: Arc::clone(&around.outages),
        clock: around.clock.clone(),
        ahead: plan.ahead,
        start: around.start,
        ledger: around.ledger.clone(),
        activity: Arc::default(),
        went: AtomicU64::default(),
    };
    let activity = store.activity.clone();
    let agents = EngineAgents {
        agents: Arc::clone(&around.agents),
        gate: Arc::clone(gate),
        ledger: around.ledger.clone(),
    };
    let mut limits =
        AgentLimits { unreachable_after: around.unreachable_after, ..AgentLimits::default() };
    if !around.tells {
        (limits.silent_after, limits.queue_after) = (Millis(u64::MAX), Millis(u64::MAX));
    }
    let clock = Arc::new(EngineClock { gate: Arc::clone(gate), ahead: plan.ahead });
    let store = Arc::new(store);
    let platforms = EnginePlatform {
        platforms: Arc::clone(&around.platforms),
        gate: Arc::clone(gate),
        ledger: around.ledger.clone(),
    };
    let world = World {
        followers: Followers::new(Arc::new(platforms), store.clone(), clock.clone()),
        store,
        agents: both_dialects(agents),
        outbound: Arc::new(EngineWeb {
            web: Arc::clone(&around.web),
            gate: Arc::clone(gate),
            ledger: around.ledger.clone(),
        }),
        secrets: Arc::new(secrets()),
        plugins: around.plugins.clone(),
        clock,
        signals: Signals::new(),
        agent_limits: limits,
    };
    let config = EngineConfig::new(EngineId(id.to_owned()), plan.max_runs);
    Engine::new(world, EngineConfig { activity, ..config })
}
