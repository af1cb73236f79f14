//! The wasmtime engine with its settings, and the thread that makes limits on CPU time work. The settings make an
//! activation give the same result on every machine.

use std::io;
use std::thread;

use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::bindings::{since_0_2_0, step, strategy};
use super::guest::Guest;
use super::{drafts, limits, wasi, wasi_http};
use replibook_core::playbook::PluginKind;

/// What all plugins share.
pub(super) struct Runtime {
    pub(super) engine: Engine,
    /// What a step may import.
    pub(super) step: Linker<Guest>,
    /// What a strategy may import.
    pub(super) strategy: Linker<Guest>,
}

impl Runtime {
    /// A runtime for this many guests at once.
    pub(super) fn new(guests: u32) -> wasmtime::Result<Self> {
        let engine = match Engine::new(&config(Some(pool(guests)))) {
            Ok(engine) => engine,
            Err(error) => {
                // The pool reserves address space, and some machines don't have enough of it.
                tracing::warn!(
                    "failed to reserve memory for plugins, so they start slower: {error:#}"
                );
                Engine::new(&config(None))?
            }
        };
        let mut step = Linker::new(&engine);
        step::Step::add_to_linker::<_, wasmtime::component::HasSelf<Guest>>(&mut step, |guest| {
            guest
        })?;
        wasi::link(&mut step)?;
        drafts::link(PluginKind::Step, &mut step)?;
        wasi_http::link(&mut step)?;
        let mut strategy = Linker::new(&engine);
        strategy::Strategy::add_to_linker::<_, wasmtime::component::HasSelf<Guest>>(
            &mut strategy,
            |guest| guest,
        )?;
        since_0_2_0::Strategy::add_to_linker::<_, wasmtime::component::HasSelf<Guest>>(
            &mut strategy,
            |guest| guest,
        )?;
        wasi::link(&mut strategy)?;
        drafts::link(PluginKind::Strategy, &mut strategy)?;
        Ok(Self { engine, step, strategy })
    }

    /// Starts the thread that advances the epoch. It ends when the engine is dropped.
    pub(super) fn start_ticking(&self) -> io::Result<()> {
        let engine = self.engine.weak();
        let tick = move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(limits::EPOCH_TICK);
            }
        };
        thread::Builder::new().name("plugin-epoch".to_owned()).spawn(tick).map(drop)
    }
}

/// An engine for a process that only compiles. A [`Runtime`] can run the code that it makes.
pub(super) fn for_compiling() -> wasmtime::Result<Engine> {
    Engine::new(&config(None))
}

fn config(pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    // An activation must give the same result on every machine that repeats it.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config.cranelift_opt_level(OptLevel::Speed);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits::STACK_BYTES);
    // Every activation that waits ends with an error, and a backtrace would cost more than all the rest of it.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config.concurrency_support(false);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pool(guests: u32) -> PoolingAllocationConfig {
    let resident = match PoolingAllocationConfig::is_pagemap_scan_available() {
        true => limits::KEEP_RESIDENT_BYTES,
        false => limits::KEEP_RESIDENT_BYTES_BLIND,
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.pagemap_scan(Enabled::Auto);
    pool.linear_memory_keep_resident(resident);
    pool.table_keep_resident(resident);
    pool.max_memory_size(limits::MEMORY_BYTES);
    pool.table_elements(limits::TABLE_ELEMENTS);
    pool.max_core_instance_size(limits::INSTANCE_BYTES);
    pool.max_component_instance_size(limits::INSTANCE_BYTES);
    pool.max_core_instances_per_component(limits::CORE_INSTANCES);
    pool.max_memories_per_component(limits::MEMORIES);
    pool.max_tables_per_component(limits::TABLES);
    pool.total_component_instances(guests);
    pool.total_core_instances(guests * limits::CORE_INSTANCES);
    pool.total_memories(guests * limits::MEMORIES);
    pool.total_tables(guests * limits::TABLES);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{Compile, Compiler};
    use crate::{builtin, import};

    #[test]
    fn without_address_space_for_a_pool_plugins_still_run() {
        // Slots for this many guests take more address space than a processor has.
        assert!(Engine::new(&config(Some(pool(40_000)))).is_err());
        let runtime = Runtime::new(40_000).unwrap();
        let compiler = Compiler::new(&runtime.engine, Compile::Here, None).unwrap();
        let plugin = import::import(&runtime, &compiler, builtin::COMPONENTS[0]).unwrap();
        assert_eq!(plugin.info.name, "action");
    }
}
