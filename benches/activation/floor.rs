//! The floor of an activation: wasmtime with the engine's settings, and nothing of ours.

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::journal;
use exports::replicante::playbook::working::StepInput;
use replicante::playbook::{agent, entropy, failing, http, logging, signal, timer, types};

wasmtime::component::bindgen!({ path: "wit", world: "step", imports: { default: trappable } });

/// A component that is ready to be instantiated.
pub(crate) struct Floor {
    engine: Engine,
    step: StepPre<Guest>,
    input: StepInput,
}

/// What the host functions need.
struct Guest {
    payload: &'static str,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Floor {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let engine = Engine::new(&config()).unwrap();
        let mut linker = Linker::new(&engine);
        Step::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest).unwrap();
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        let component = Component::new(&engine, bytes).unwrap();
        let step = StepPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        let text = |text: &str| text.to_owned();
        let input = StepInput {
            arguments: journal::step_arguments().to_string(),
            run: uuid::Uuid::nil().to_string(),
            cluster: text("bench"),
            agent: text("node-1"),
            stage: text("all"),
            step: text("restart"),
            attempt: 1,
            attributes: text("{}"),
        };
        Self { engine, step, input }
    }

    /// Makes an instance and calls it. The call returns, or its first call without an answer unwinds it.
    pub(crate) fn run(&self) {
        let wasi = WasiCtx::builder().build();
        let guest = Guest { payload: r#"{"moved":3}"#, wasi, table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, guest);
        store.set_epoch_deadline(u64::MAX / 2);
        let step = self.step.instantiate(&mut store).unwrap();
        let returned = step.replicante_playbook_working().call_run(&mut store, &self.input);
        match returned {
            Ok(returned) => drop(returned.unwrap()),
            Err(error) => assert!(error.is::<Unwound>(), "{error:?}"),
        }
    }
}

/// Ends a guest at its first call without an answer.
#[derive(Debug, thiserror::Error)]
#[error("unwound")]
struct Unwound;

/// The same settings as in `src/host/engine.rs` and `src/host/limits.rs`.
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.pagemap_scan(Enabled::Auto);
    pool.linear_memory_keep_resident(1 << 20);
    pool.table_keep_resident(1 << 20);
    pool.max_memory_size(128 << 20);
    pool.table_elements(100_000);
    pool.max_core_instance_size(1 << 20);
    pool.max_component_instance_size(1 << 20);
    pool.max_core_instances_per_component(64);
    pool.max_memories_per_component(4);
    pool.max_tables_per_component(64);
    let guests = 4;
    pool.total_component_instances(guests);
    pool.total_core_instances(guests * 64);
    pool.total_memories(guests * 4);
    pool.total_tables(guests * 64);
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(1 << 20);
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config.concurrency_support(false);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

impl types::Host for Guest {}

impl failing::Host for Guest {
    fn fail(&mut self, message: String) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg(message))
    }
}

impl logging::Host for Guest {
    fn log(&mut self, _: logging::Level, _: String) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl agent::Host for Guest {
    fn info(&mut self) -> wasmtime::Result<Result<agent::NodeInfo, agent::AgentError>> {
        let text = |text: &str| text.to_owned();
        Ok(Ok(agent::NodeInfo {
            id: text("node-1"),
            attributes: text("{}"),
            status: text("HEALTHY"),
            node: text("{}"),
        }))
    }

    fn run_action(
        &mut self,
        _: String,
        _: String,
    ) -> wasmtime::Result<Result<String, agent::AgentError>> {
        Ok(Ok(self.payload.to_owned()))
    }

    fn wait_status(
        &mut self,
        _: Vec<String>,
        _: u32,
    ) -> wasmtime::Result<Result<String, agent::AgentError>> {
        Err(Unwound.into())
    }
}

impl timer::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<f64> {
        Ok(1_763_802_000_000.0)
    }

    fn sleep(&mut self, _: u32) -> wasmtime::Result<()> {
        Err(Unwound.into())
    }
}

impl entropy::Host for Guest {
    fn bytes(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(vec![0; length as usize])
    }
}

impl http::Host for Guest {
    fn send(
        &mut self,
        _: http::Request,
    ) -> wasmtime::Result<Result<http::Response, http::HttpError>> {
        Err(Unwound.into())
    }
}

impl signal::Host for Guest {
    fn wait(&mut self, _: String, _: u32) -> wasmtime::Result<Result<String, signal::SignalError>> {
        Err(Unwound.into())
    }
}
