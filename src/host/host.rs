//! The host: the only way in which everything else reaches plugins. It keeps their work off the caller's threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use bytes::Bytes;

use super::catalog::{Catalog, Loaded};
use super::code::{CacheConfig, Compile, Compiler};
use super::engine::Runtime;
use super::error::PluginError;
use super::guest::cpu_time;
use super::in_use::{Held, InUse};
use super::workers::{Gone, Workers, run_beside};
use super::{activate, builtin, import, limits, strategy};
use replibook_core::playbook::PluginInfo;
use replibook_core::run::{Activate, Activation, Decision, Digest, PlanInput, PluginLine, Roster};

/// Settings of the host.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// How many threads run plugins. None: one per processor. Zero: no threads are kept, and a caller is blocked
    /// until a thread that was made for its call is done. That is for simulators, in which everything has to
    /// happen in one order.
    pub threads: Option<usize>,
    /// Where plugins are compiled.
    pub compile: Compile,
    /// Folder for compiled code, so that the next start need not compile again. The host creates the folder, and
    /// refuses one that other users can reach. None: no code is kept.
    pub cache: Option<PathBuf>,
    /// The most bytes in that folder: what was not used for longest makes room. Code of plugins that are
    /// [held](PluginHost::hold) stays, even if it has more. None: 2 GiB. The most files are 1,000 in any case.
    pub cache_bytes: Option<u64>,
}

/// What the host did since it started, as counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginCounts {
    /// Plugins that were compiled, including built-in ones.
    pub compiled: u64,
    /// Plugins whose compiled code was found in the cache.
    pub loaded: u64,
}

/// A plugin that is compiled into this binary.
#[derive(Clone, Debug)]
pub struct Builtin {
    /// The plugin's description of itself, and its digest.
    pub info: PluginInfo,
    /// The component itself.
    pub bytes: Bytes,
}

/// The result of asking a strategy.
#[derive(Debug)]
pub struct PlanOutcome {
    /// The decision, which has not been checked against the roster.
    pub result: Result<Decision, PluginError>,
    /// What the strategy wrote to its log.
    pub logs: Vec<PluginLine>,
}

impl PlanOutcome {
    pub(super) fn failed(error: PluginError) -> Self {
        Self { result: Err(error), logs: Vec::new() }
    }
}

/// Runs plugins, on threads of its own and within limits. Cheap to clone.
///
/// # Guarantees
/// - Nothing of a plugin is kept between two calls: each call gets its own instance.
/// - A plugin that traps, does not end, or exceeds any other limit fails only its own call.
/// - A plugin that takes long is kept to threads of its own, which give way to all others.
/// - No call computes or blocks on the thread that awaits it, so that any runtime will do. The exception is a host
///   with zero [`HostConfig::threads`], which blocks the calling thread.
///
/// The threads end once the last clone is dropped and their work is done.
#[derive(Clone)]
pub struct PluginHost {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// None if each call gets a thread for itself.
    threads: Option<Threads>,
    builtins: Vec<Builtin>,
}

struct Threads {
    /// Run plugins.
    workers: Workers,
    /// Run plugins that took long lately, behind everything else.
    slow: Workers,
    /// Loads plugins whose compiled code is kept. These must not wait for a plugin that is being compiled.
    loader: Workers,
    /// Compiles plugins, a few at a time: a large one takes seconds, and a hostile one as long as it may.
    importer: Workers,
}

/// What the threads share.
struct Shared {
    runtime: Runtime,
    compiler: Compiler,
    catalog: Catalog,
    in_use: InUse,
}

impl PluginHost {
    /// Starts a host with the built-in plugins loaded. If they are not in the cache it compiles them, and so
    /// blocks for some tens of milliseconds.
    ///
    /// # Errors
    /// `unavailable` when the runtime or its threads could not be started, `unsafe-cache` when the folder for
    /// compiled code can't be created, or when others can reach it.
    pub fn start(config: HostConfig) -> Result<Self, PluginError> {
        let threads = config.threads.or_else(|| available_parallelism().ok().map(Into::into));
        let threads = threads.unwrap_or(1).min(limits::THREADS);
        // Slow plugins get threads of their own, half as many, and more of the processors when nobody else needs
        // them.
        let slow = (threads / 2).max(1);
        // One guest for each thread, also of loader and importers, and one for a caller that blocks; but at
        // least one for each built-in plugin, since these are all imported at once.
        let guests = (threads + slow + 2 + limits::IMPORTERS).max(builtin::COMPONENTS.len());
        let runtime = Runtime::new(u32::try_from(guests).unwrap_or(u32::MAX))
            .map_err(|error| unavailable(format!("failed to start the runtime: {error:#}")))?;
        let no_thread = |error| unavailable(format!("failed to start a thread: {error}"));
        runtime.start_ticking().map_err(no_thread)?;

        let in_use = InUse::default();
        let bytes = config.cache_bytes.unwrap_or(limits::CACHE_BYTES);
        let cache =
            config.cache.map(|folder| CacheConfig { folder, bytes, in_use: in_use.clone() });
        let compiler = Compiler::new(&runtime.engine, config.compile, cache)?;
        let loaded = import::import_all(&runtime, &compiler, &builtin::COMPONENTS)?;
        let builtins = loaded.iter().zip(builtin::COMPONENTS).map(|(plugin, bytes)| Builtin {
            info: plugin.info.clone(),
            bytes: Bytes::from_static(bytes),
        });
        let builtins = builtins.collect();
        let catalog = Catalog::new(loaded, in_use.clone());
        let shared = Arc::new(Shared { runtime, compiler, catalog, in_use });
        let start = |name, threads, queue| Workers::start(name, threads, queue).map_err(no_thread);
        let threads = match threads {
            0 => None,
            threads => Some(Threads {
                workers: start("plugin", threads, limits::QUEUED_CALLS)?,
                slow: Workers::start_behind(
                    "plugin-slow",
                    slow,
                    limits::QUEUED_CALLS,
                    limits::SLOW_NICE,
                )
                .map_err(no_thread)?,
                loader: start("plugin-load", 1, limits::QUEUED_IMPORTS)?,
                importer: start("plugin-import", limits::IMPORTERS, limits::QUEUED_IMPORTS)?,
            }),
        };
        Ok(Self { inner: Arc::new(Inner { shared, threads, builtins }) })
    }

    /// The built-in plugins.
    pub fn builtins(&self) -> &[Builtin] {
        &self.inner.builtins
    }

    /// Checks that the bytes are a plugin, compiles and keeps it, and asks it to describe itself. Bytes that are
    /// loaded already, or whose code is in the cache, are not compiled again.
    ///
    /// # Errors
    /// `too-large`, `not-a-component`, `too-complex`, `invalid-component`, `compile-time`,
    /// `compile-memory`, `compile-size`, `compile-crashed`, `wrong-world`, `unknown-export`, `unknown-import`
    /// (with the list of what was asked for), `wrong-type`, `bad-description`, or whatever went wrong while the
    /// plugin described itself: `trapped`, `stack-overflow`, `out-of-time`, `out-of-memory`, `forbidden-call`,
    /// `data-limit`, `exited`. `unavailable` says nothing about the plugin.
    pub async fn import(&self, bytes: Bytes) -> Result<PluginInfo, PluginError> {
        let [shared, again] = [(); 2].map(|()| Arc::clone(&self.inner.shared));
        let wanted = bytes.clone();
        let find = move || shared.find(&wanted);
        let import = move || again.import(&bytes);
        let done = match &self.inner.threads {
            Some(threads) => match threads.loader.run(find).await {
                Ok(Some(found)) => Ok(found),
                Ok(None) => threads.importer.run(import).await,
                Err(gone) => Err(gone),
            },
            None => run_beside(move || find().unwrap_or_else(import)),
        };
        done.unwrap_or_else(|gone| Err(gone.into()))
    }

    /// What the host did since it started, as counters.
    pub fn counts(&self) -> PluginCounts {
        let (compiled, loaded) = self.inner.shared.compiler.counts();
        PluginCounts { compiled, loaded }
    }

    /// Whether the plugin is compiled and ready. If it is not, [`import`](Self::import) its bytes.
    pub fn is_loaded(&self, digest: &Digest) -> bool {
        self.inner.shared.catalog.get(digest).is_some()
    }

    /// Keeps the code of these plugins until the result is dropped, for whoever is going to call them again and again: it
    /// makes no room for the code of others, in memory or in the cache. Those that are not loaded yet count from when
    /// they are.
    pub fn hold(&self, plugins: impl IntoIterator<Item = Digest>) -> Held {
        self.inner.shared.in_use.hold(plugins)
    }

    /// Makes one activation of a step: a pure function of `activate`, whose journal answers the calls of the step.
    /// Never performs an effect.
    ///
    /// If the plugin is not loaded, or no longer, the activation fails as `plugin-unavailable`, which is
    /// retryable.
    pub async fn activate(&self, activate: Activate) -> Activation {
        let shared = Arc::clone(&self.inner.shared);
        let digest = activate.plugin.clone();
        let done = self.run(&digest, activate, move |activate| shared.activate(activate)).await;
        done.unwrap_or_else(|gone| activate::unavailable(gone.to_string(), true))
    }

    /// Like [`activate`](Self::activate), but on the calling thread. That thread needs 2 MiB of stack and must be
    /// outside of any async runtime. At most one thread may do so at a time.
    pub fn activate_blocking(&self, activate: Activate) -> Activation {
        self.inner.shared.activate(activate)
    }

    /// Makes a loaded plugin describe itself again, on the calling thread like
    /// [`activate_blocking`](Self::activate_blocking). That is the cheapest call that a plugin has.
    ///
    /// # Errors
    /// Like [`import`](Self::import), and `not-loaded`.
    pub fn describe_blocking(&self, digest: &Digest) -> Result<(), PluginError> {
        let shared = &self.inner.shared;
        let plugin = shared.catalog.get(digest).ok_or_else(|| not_loaded(digest))?;
        import::describe(&shared.runtime, &plugin.compiled).map(drop)
    }

    /// Asks a strategy for its decision. It reads the roster only until it returns.
    ///
    /// # Errors
    /// In [`PlanOutcome::result`]: `strategy-failed` with the strategy's own message,
    /// `bad-decision`, `not-loaded`, `wrong-world`, `unavailable`, or what stopped the plugin, as
    /// for [`import`](Self::import).
    pub async fn plan(
        &self,
        plugin: &Digest,
        input: PlanInput,
        roster: Arc<dyn Roster>,
    ) -> PlanOutcome {
        let (shared, digest) = (Arc::clone(&self.inner.shared), plugin.clone());
        let plan = move |(input, roster)| shared.plan(&digest, &input, roster);
        let done = self.run(plugin, (input, roster), plan).await;
        done.unwrap_or_else(|gone| PlanOutcome::failed(gone.into()))
    }

    /// Like [`plan`](Self::plan), but on the calling thread, like [`activate_blocking`](Self::activate_blocking): for whoever
    /// asks one question after the other, many thousands of them.
    pub fn plan_blocking(
        &self,
        plugin: &Digest,
        input: &PlanInput,
        roster: Arc<dyn Roster>,
    ) -> PlanOutcome {
        self.inner.shared.plan(plugin, input, roster)
    }

    /// Calls a plugin: does `work` on `question`, on the threads that suit the plugin's pace.
    async fn run<Q: Send + 'static, T: Send + 'static>(
        &self,
        plugin: &Digest,
        question: Q,
        work: impl FnOnce(Q) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let Some(threads) = &self.inner.threads else {
            return run_beside(move || work(question));
        };
        let [shared, pacing] = [(); 2].map(|()| Arc::clone(&self.inner.shared));
        let [plugin, paced] = [(); 2].map(|()| plugin.clone());
        let call = move |question| pacing.paced(&paced, || work(question));
        if shared.is_slow(&plugin) {
            return threads.slow.run(move || call(question)).await;
        }
        // The plugin may turn out to be slow while this call is queued. Then it moves to the queue of slow calls.
        let unless_slow = move || match shared.is_slow(&plugin) {
            true => Err((call, question)),
            false => Ok(call(question)),
        };
        match threads.workers.run(unless_slow).await? {
            Ok(done) => Ok(done),
            Err((call, question)) => threads.slow.run(move || call(question)).await,
        }
    }
}

impl Shared {
    /// A plugin that is loaded, or whose compiled code is kept. None if it has to be compiled.
    fn find(&self, bytes: &Bytes) -> Option<Result<PluginInfo, PluginError>> {
        if bytes.len() > limits::COMPONENT_BYTES {
            return None;
        }
        let digest = Digest::of(bytes);
        if let Some(known) = self.catalog.get(&digest) {
            return Some(Ok(known.info.clone()));
        }
        let loaded = import::load(&self.runtime, &self.compiler, &digest, bytes.len())?;
        Some(loaded.map(|plugin| self.add(plugin)))
    }

    fn import(&self, bytes: &Bytes) -> Result<PluginInfo, PluginError> {
        // Another import may have compiled the same bytes meanwhile.
        if let Some(found) = self.find(bytes) {
            return found;
        }
        import::import(&self.runtime, &self.compiler, bytes).map(|plugin| self.add(plugin))
    }

    fn add(&self, plugin: Loaded) -> PluginInfo {
        let info = plugin.info.clone();
        self.catalog.insert(Arc::new(plugin));
        info
    }

    fn is_slow(&self, plugin: &Digest) -> bool {
        self.catalog.get(plugin).is_some_and(|plugin| plugin.pace.is_slow())
    }

    /// Makes a call of a plugin, and notes how much CPU time it took.
    fn paced<T>(&self, plugin: &Digest, call: impl FnOnce() -> T) -> T {
        let start = cpu_time();
        let done = call();
        if let Some(plugin) = self.catalog.get(plugin) {
            plugin.pace.took(cpu_time().saturating_sub(start));
        }
        done
    }

    fn activate(&self, activate: Activate) -> Activation {
        match self.plugin(&activate.plugin) {
            Ok(plugin) => activate::activate(&self.runtime, &plugin, activate),
            Err(error) => activate::unavailable(error.to_string(), true),
        }
    }

    fn plan(&self, digest: &Digest, input: &PlanInput, roster: Arc<dyn Roster>) -> PlanOutcome {
        match self.plugin(digest) {
            Ok(plugin) => strategy::plan(&self.runtime, &plugin, input, roster),
            Err(error) => PlanOutcome::failed(error),
        }
    }

    fn plugin(&self, digest: &Digest) -> Result<Arc<Loaded>, PluginError> {
        self.catalog.get(digest).ok_or_else(|| not_loaded(digest))
    }
}

impl From<Gone> for PluginError {
    fn from(gone: Gone) -> Self {
        unavailable(gone.to_string())
    }
}

fn unavailable(message: String) -> PluginError {
    PluginError::new("unavailable", message)
}

fn not_loaded(digest: &Digest) -> PluginError {
    PluginError::new("not-loaded", format!("the plugin {digest} is not loaded"))
}
