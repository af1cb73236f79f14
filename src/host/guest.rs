//! One guest: the state of a wasmtime store that lives for one call, and the limits on it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};

use super::error::Stop;
use super::limits;
use super::log::Log;
use super::replay::{Replay, word};
use super::wasi::Wasi;
use replibook_core::playbook::{Expr, ExprError, Grants};
use replibook_core::run::{AgentId, Answer, AttemptKey, Call, Roster, RunId, Timestamp};
use serde_json::{Map, Value};

/// What a guest is asked to do. It decides which host functions the guest may call.
pub(super) enum Role {
    /// To describe itself: it may call no function but those of WASI.
    Describe,
    /// To do a step for an agent.
    Step(Box<Attempt>),
    /// To plan, as a strategy.
    Strategy(Box<Plan>),
}

/// What a strategy looks at while it plans, and what it asks for besides its decision.
pub(super) struct Plan {
    pub(super) roster: Arc<dyn Roster>,
    /// Agents that are to be asked anew before the next plan.
    pub(super) refresh: BTreeSet<AgentId>,
    /// Expressions that the strategy used, each parsed once.
    pub(super) expressions: HashMap<String, Result<Expr, ExprError>>,
}

impl Plan {
    pub(super) fn new(roster: Arc<dyn Roster>) -> Self {
        Self { roster, refresh: BTreeSet::new(), expressions: HashMap::new() }
    }
}

/// What a step works on.
pub(super) struct Attempt {
    pub(super) agent: AgentId,
    pub(super) attributes: Arc<Map<String, Value>>,
    pub(super) grants: Grants,
    pub(super) replay: Replay,
    /// The arguments of the step as texts, once the guest has asked for one.
    pub(super) settings: OnceCell<BTreeMap<String, String>>,
}

impl Attempt {
    pub(super) fn new(
        agent: AgentId,
        attributes: Arc<Map<String, Value>>,
        grants: Grants,
        replay: Replay,
    ) -> Self {
        Self { agent, attributes, grants, replay, settings: OnceCell::new() }
    }
}

/// Where the random bytes of a guest come from. The generator is only seeded when it is needed, because few guests
/// need it.
#[derive(Clone, Copy)]
pub(super) enum Seed {
    /// These bytes are the seed.
    Of([u8; 32]),
    /// The seed belongs to an attempt of this run.
    Attempt(AttemptKey, RunId),
}

/// What the host keeps for a guest while it runs.
pub(super) struct Guest {
    pub(super) role: Role,
    pub(super) log: Log,
    pub(super) wasi: Wasi,
    /// The time that a guest without a journal sees.
    asked_at: Timestamp,
    seed: Seed,
    random: Option<ChaCha20Rng>,
    memory: Memory,
}

impl Guest {
    /// A guest that sees the time `asked_at`, or the time of its journal, and random bytes from `seed`.
    pub(super) fn new(role: Role, asked_at: Timestamp, seed: Seed) -> Self {
        let (log, wasi) = (Log::default(), Wasi::default());
        Self { role, log, wasi, asked_at, seed, random: None, memory: Memory::default() }
    }

    /// A store for this guest, with all limits in place.
    pub(super) fn into_store(self, engine: &Engine) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(limits::CALL_BYTES);
        store.set_epoch_deadline(1);
        // CPU time counts from the first tick, since most guests have ended by then and reading the clock costs
        // time.
        let mut start = None;
        store.epoch_deadline_callback(move |_| {
            // Wall-clock time would punish a good plugin for a busy machine.
            let now = cpu_time();
            match now.saturating_sub(*start.get_or_insert(now)) > limits::CPU_TIME {
                true => Err(Stop::OutOfTime.into()),
                false => Ok(UpdateDeadline::Continue(1)),
            }
        });
        store
    }

    /// The time that the guest sees: it does not pass while the guest computes.
    pub(super) fn logical_now(&self) -> Timestamp {
        match &self.role {
            Role::Step(attempt) => attempt.replay.now(),
            Role::Describe | Role::Strategy(_) => self.asked_at,
        }
    }

    /// The next bytes of the guest's random stream.
    pub(super) fn random_bytes(&mut self, length: u64) -> Result<Vec<u8>, Stop> {
        match usize::try_from(length) {
            Ok(size) if length <= limits::RANDOM_BYTES => {
                let mut bytes = vec![0; size];
                self.stream().fill_bytes(&mut bytes);
                Ok(bytes)
            }
            Ok(_) | Err(_) => {
                let most = limits::RANDOM_BYTES;
                let message = format!("asked for {length} random bytes, expected at most {most}");
                Err(Stop::Limit { code: "random-limit", message })
            }
        }
    }

    /// The next number of the guest's random stream.
    pub(super) fn random_u64(&mut self) -> u64 {
        self.stream().next_u64()
    }

    fn stream(&mut self) -> &mut ChaCha20Rng {
        let seed = self.seed;
        self.random.get_or_insert_with(|| {
            ChaCha20Rng::from_seed(match seed {
                Seed::Of(bytes) => bytes,
                Seed::Attempt(key, run) => key.seed(run),
            })
        })
    }

    /// Makes a call that has an effect: it is answered from the journal, or ends this activation. Requests that the
    /// guest has handed over before are sent before it.
    pub(super) fn effect(&mut self, call: Call) -> wasmtime::Result<Answer> {
        self.send_whole()?;
        Ok(self.answered(call)?)
    }

    /// The answer to a call from the journal, which otherwise ends this activation.
    pub(super) fn answered(&mut self, call: Call) -> Result<Answer, Stop> {
        match &mut self.role {
            Role::Step(attempt) => {
                let answer = attempt.replay.call(call)?;
                self.log.forget();
                self.wasi.http.notes = 0;
                Ok(answer)
            }
            Role::Describe => Err(forbidden(word(call.name()), "describe")),
            Role::Strategy(_) => Err(forbidden(word(call.name()), "plan")),
        }
    }

    /// The attempt of a step. `call` names the function that needs it, for the error of other guests.
    pub(super) fn attempt(&mut self, call: &'static str) -> Result<&mut Attempt, Stop> {
        match &mut self.role {
            Role::Step(attempt) => Ok(attempt),
            Role::Describe => Err(forbidden(call, "describe")),
            Role::Strategy(_) => Err(forbidden(call, "plan")),
        }
    }

    /// The roster of a strategy.
    pub(super) fn roster(&self, call: &'static str) -> Result<&dyn Roster, Stop> {
        match &self.role {
            Role::Strategy(plan) => Ok(plan.roster.as_ref()),
            Role::Describe => Err(forbidden(call, "describe")),
            Role::Step(_) => Err(forbidden(call, "run")),
        }
    }

    /// The plan of a strategy.
    pub(super) fn plan(&mut self, call: &'static str) -> Result<&mut Plan, Stop> {
        match &mut self.role {
            Role::Strategy(plan) => Ok(plan),
            Role::Describe => Err(forbidden(call, "describe")),
            Role::Step(_) => Err(forbidden(call, "run")),
        }
    }
}

pub(super) fn forbidden(call: &'static str, during: &'static str) -> Stop {
    Stop::Forbidden { call, during }
}

/// The CPU time of this thread so far.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Counts the memory of a guest: all its linear memories together.
#[derive(Default)]
struct Memory {
    used: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > limits::MEMORY_BYTES {
            // Return an error rather than a refusal: most guests turn a refusal into a trap that explains nothing.
            return Err(Stop::OutOfMemory.into());
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > limits::TABLE_ELEMENTS {
            let most = limits::TABLE_ELEMENTS;
            let message = format!(
                "the plugin asked for a table of {desired} elements, expected at most {most}"
            );
            return Err(Stop::Limit { code: "table-limit", message }.into());
        }
        Ok(true)
    }

    fn memories(&self) -> usize {
        limits::MEMORIES as usize
    }

    fn tables(&self) -> usize {
        limits::TABLES as usize
    }

    fn instances(&self) -> usize {
        limits::CORE_INSTANCES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_a_guest_count_together() {
        let mut memory = Memory::default();
        let half = limits::MEMORY_BYTES / 2;
        assert!(memory.memory_growing(0, half, None).unwrap());
        assert!(memory.memory_growing(0, half, None).unwrap());
        let error = memory.memory_growing(half, half + 65_536, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::OutOfMemory)));
    }

    #[test]
    fn a_table_has_a_size() {
        let mut memory = Memory::default();
        assert!(memory.table_growing(0, limits::TABLE_ELEMENTS, None).unwrap());
        let error = memory.table_growing(0, limits::TABLE_ELEMENTS + 1, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::Limit { code: "table-limit", .. })));
    }

    #[test]
    fn waiting_is_no_cpu_time() {
        let (start, begun) = (cpu_time(), std::time::Instant::now());
        let (_nobody, wait) = std::sync::mpsc::channel::<()>();
        let waited = Duration::from_millis(300);
        assert!(wait.recv_timeout(waited).is_err());
        assert!(begun.elapsed() >= waited);
        assert!(cpu_time().saturating_sub(start) < waited / 2);
    }

    #[test]
    fn random_bytes_follow_the_seed_alone() {
        let bytes = |seed| {
            let mut guest = Guest::new(Role::Describe, Timestamp::default(), Seed::Of(seed));
            (guest.random_bytes(16).unwrap(), guest.random_u64())
        };
        assert_eq!(bytes([1; 32]), bytes([1; 32]));
        assert_ne!(bytes([1; 32]), bytes([2; 32]));
        let mut guest = Guest::new(Role::Describe, Timestamp::default(), Seed::Of([0; 32]));
        assert!(guest.random_bytes(limits::RANDOM_BYTES).is_ok());
        assert!(guest.random_bytes(limits::RANDOM_BYTES + 1).is_err());
    }
}
