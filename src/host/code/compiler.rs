//! Compiles components, either in this process or in one that is held to limits, and keeps the code in the cache.

use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{Cache, CacheConfig};
use super::draft::Draft;
use super::{child, map, shape};
use crate::error::PluginError;
use crate::limits;
use replibook_core::run::Digest;

/// Where components are compiled.
#[derive(Clone, Debug, Default)]
pub enum Compile {
    /// In this process, without limits on time and memory: for the user's own plugins.
    #[default]
    Here,
    /// In a separate process with limits: for what strangers send.
    Apart(CompileApart),
}

/// How to start a process that compiles.
#[derive(Clone, Debug)]
pub struct CompileApart {
    /// A program of this version that first of all calls [`compile_if_asked`](super::compile_if_asked).
    pub program: PathBuf,
    /// The limits of the process.
    pub limits: CompileLimits,
}

/// The limits of a compiling process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time of all its threads together, in whole seconds.
    pub cpu: Duration,
    /// Bytes of address space.
    pub memory: u64,
    /// Bytes of compiled code.
    pub code: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        let (cpu, memory) = (limits::COMPILE_CPU_TIME, limits::COMPILE_MEMORY_BYTES);
        Self { cpu, memory, code: limits::CODE_BYTES }
    }
}

impl CompileApart {
    /// Compiles with the program of this process. It must be `replibook` or `replictl`, or call
    /// [`compile_if_asked`](super::compile_if_asked) like them.
    ///
    /// # Errors
    /// When the system does not say where the program's file is.
    pub fn this_program() -> io::Result<Self> {
        // This still is the running program after an upgrade has replaced its file.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self { program, limits: CompileLimits::default() })
    }
}

/// Compiles components, and keeps the compiled code.
pub(crate) struct Compiler {
    how: Compile,
    cache: Option<Cache>,
    compiled: AtomicU64,
    loaded: AtomicU64,
}

impl Compiler {
    /// A compiler for this engine, which keeps code, if that says where.
    ///
    /// # Errors
    /// `unsafe-cache`, if the folder can't be created, or if others can reach it.
    pub(crate) fn new(
        engine: &Engine,
        how: Compile,
        cache: Option<CacheConfig>,
    ) -> Result<Self, PluginError> {
        let cache = cache.map(|config| Cache::open(config, engine_key(engine))).transpose()?;
        let cache = cache.flatten();
        Ok(Self { how, cache, compiled: AtomicU64::new(0), loaded: AtomicU64::new(0) })
    }

    /// How many plugins were compiled, and how many were loaded from the cache.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.compiled.load(Ordering::Relaxed), self.loaded.load(Ordering::Relaxed))
    }

    /// The code of a plugin, if it is kept.
    pub(crate) fn load(&self, engine: &Engine, plugin: &Digest) -> Option<Component> {
        let file = self.cache.as_ref()?.find(plugin)?;
        match map::map(engine, &file) {
            Ok(component) => {
                self.loaded.fetch_add(1, Ordering::Relaxed);
                Some(component)
            }
            Err(error) => {
                tracing::warn!(%plugin, "failed to map compiled code, so it is made again: {error:#}");
                None
            }
        }
    }

    /// Compiles a component that came with this program, without limits: it can be trusted.
    pub(crate) fn compile_own(
        &self,
        engine: &Engine,
        plugin: &Digest,
        bytes: &[u8],
    ) -> Result<Component, PluginError> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        if self.cache.is_none() {
            return Component::from_binary(engine, bytes).map_err(|error| invalid(&error));
        }
        let code = engine.precompile_component(bytes).map_err(|error| invalid(&error))?;
        let write = |draft: &Draft| {
            let mut file = draft.file();
            Ok(file.write_all(&code).map_err(|error| error.to_string()))
        };
        let draft = self.written(plugin, write)?;
        self.finish(engine, plugin, draft)
    }

    /// Checks and compiles a component from a stranger. Takes seconds for a large one.
    ///
    /// # Errors
    /// `too-complex`, `invalid-component`, `compile-time`, `compile-memory`, `compile-size`,
    /// `compile-crashed`, `unavailable`.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        plugin: &Digest,
        bytes: &[u8],
    ) -> Result<Component, PluginError> {
        shape::check(bytes)?;
        let apart = match &self.how {
            Compile::Here => return self.compile_own(engine, plugin, bytes),
            Compile::Apart(apart) => apart,
        };
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let draft = self.written(plugin, |draft| apart.write(draft, bytes))?;
        self.finish(engine, plugin, draft)
    }

    /// A file with the code that `write` writes. If the disk of the cache does not take it, it is written to memory.
    fn written(
        &self,
        plugin: &Digest,
        write: impl Fn(&Draft) -> Result<Written, PluginError>,
    ) -> Result<Draft, PluginError> {
        if let Some(draft) = self.kept_draft() {
            match write(&draft)? {
                Ok(()) => return Ok(draft),
                Err(why) => {
                    tracing::warn!(%plugin, "the cache of plugins does not take compiled code: {why}");
                }
            }
        }
        let draft = Draft::loose();
        let draft =
            draft.map_err(|error| unavailable("make room in memory for compiled code", &error))?;
        match write(&draft)? {
            Ok(()) => Ok(draft),
            Err(why) => Err(unavailable("write compiled code", &why)),
        }
    }

    /// A file in the cache. None if there is no cache, or no file can be made there: the cache only saves time, and
    /// somebody may have removed its folder.
    fn kept_draft(&self) -> Option<Draft> {
        match self.cache.as_ref()?.draft() {
            Ok(draft) => Some(Draft::Kept(draft)),
            Err(error) => {
                tracing::warn!("failed to write to the cache of plugins: {error}");
                None
            }
        }
    }

    fn finish(
        &self,
        engine: &Engine,
        plugin: &Digest,
        draft: Draft,
    ) -> Result<Component, PluginError> {
        // Map it first: code that exceeds the limits of the engine is not worth keeping.
        let component = map::map(engine, draft.file()).map_err(|error| invalid(&error))?;
        if let (Some(cache), Draft::Kept(draft)) = (&self.cache, draft)
            && let Err(error) = cache.keep(draft, plugin)
        {
            tracing::warn!(%plugin, "failed to keep compiled code: {error}");
        }
        Ok(component)
    }
}

/// Whether code was written, or why not: the compiler did its part.
type Written = Result<(), String>;

impl CompileApart {
    /// Compiles a component, and has the code written to this file.
    fn write(&self, draft: &Draft, bytes: &[u8]) -> Result<Written, PluginError> {
        let start = |error| unavailable("start the compiler", &error);
        let output = draft.file().try_clone().map_err(start)?;
        let process = self.start(output).map_err(start)?;
        let (status, said) = wait(process, bytes, limits::COMPILE_WALL_TIME)
            .map_err(|error| unavailable("wait for the compiler", &error))?;
        if status.and_then(|status| status.code()) == Some(i32::from(child::UNWRITTEN)) {
            return Ok(Err(said));
        }
        self.limits.outcome(status, &said).map(Ok)
    }

    fn start(&self, output: File) -> io::Result<Child> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Command::new(&self.program)
            .arg(child::COMMAND)
            .args(child::write_limits(self.limits))
            .env_clear()
            // Each thread reserves address space, which is limited.
            .env("RAYON_NUM_THREADS", threads.min(limits::COMPILE_THREADS).to_string())
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Gives the process its component and waits for its end. After `longest`, kills it. Returns how it ended (None:
/// it was killed here) and what it wrote to standard error.
fn wait(
    mut process: Child,
    component: &[u8],
    longest: Duration,
) -> io::Result<(Option<ExitStatus>, String)> {
    let (input, errors) = (process.stdin.take(), process.stderr.take());
    let (said, hear) = mpsc::channel();
    let in_time = std::thread::scope(|scope| {
        scope.spawn(move || {
            // If the process ended before it had read everything, its exit status says why.
            let _ = input.map(|mut input| input.write_all(component));
        });
        scope.spawn(move || {
            let mut text = Vec::new();
            // This stream ends when the process ends.
            let _ = errors.map(|it| it.take(limits::COMPILER_SAYS_BYTES).read_to_end(&mut text));
            let _ = said.send(text);
        });
        let heard = hear.recv_timeout(longest).ok();
        if heard.is_none() {
            // It may have ended at this very moment.
            let _ = process.kill();
        }
        heard
    });
    let status = process.wait()?;
    let text = in_time.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    Ok((in_time.is_some().then_some(status), text.trim().to_owned()))
}

impl CompileLimits {
    /// What it means that the process ended with this status. None: it was killed because it took too long.
    fn outcome(&self, status: Option<ExitStatus>, said: &str) -> Result<(), PluginError> {
        let Some(status) = status else {
            // It had CPU time left, so this says more about the machine than about the plugin.
            let most = limits::COMPILE_WALL_TIME.as_secs();
            let busy = format!("the compiler was not done after {most} s; the machine may be busy");
            return Err(unavailable("compile", &busy));
        };
        let killed = |signal: Signal| status.signal() == Some(signal.as_raw());
        let refused = |code, message: String| Err(PluginError::new(code, message));
        if status.success() {
            return Ok(());
        }
        if killed(Signal::XCPU) {
            let most = self.cpu.as_secs();
            return refused(
                "compile-time",
                format!("compiling took more than {most} s of CPU time"),
            );
        }
        if killed(Signal::XFSZ) {
            let most = self.code >> 20;
            return refused("compile-size", format!("the compiled code has more than {most} MiB"));
        }
        if killed(Signal::KILL) {
            // We did not kill it, so the system was short of memory, or somebody else did.
            return Err(unavailable("compile", &"the compiler was killed"));
        }
        let starved = OUT_OF_MEMORY.iter().any(|words| said.contains(words));
        if starved && status.code() != Some(i32::from(child::INVALID)) {
            let most = self.memory >> 20;
            return refused(
                "compile-memory",
                format!("compiling took more than {most} MiB of memory"),
            );
        }
        match status.code().map(u8::try_from) {
            Some(Ok(child::INVALID)) => refused("invalid-component", said.to_owned()),
            Some(Ok(child::FAILED | child::UNWRITTEN)) => Err(unavailable("compile", &said)),
            Some(_) | None => {
                refused("compile-crashed", format!("the compiler ended by {status}: {said}"))
            }
        }
    }
}

/// What a process says when it gets no memory for an allocation, for what it reads, or for a thread.
const OUT_OF_MEMORY: [&str; 4] = [
    "memory allocation of",
    "out of memory",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
];

fn invalid(error: &wasmtime::Error) -> PluginError {
    PluginError::new("invalid-component", format!("failed to compile the component: {error:#}"))
}

fn unavailable(what: &str, error: &dyn std::fmt::Display) -> PluginError {
    PluginError::new("unavailable", format!("failed to {what}: {error}"))
}

/// Identifies what code must have been compiled for to run here: the version of wasmtime, the processor, and every
/// setting that code depends on.
fn engine_key(engine: &Engine) -> String {
    struct Sum(Sha256);
    impl Hasher for Sum {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sum = Sum(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sum);
    hex::encode(&sum.0.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use crate::engine::Runtime;
    use crate::in_use::InUse;

    #[test]
    fn each_end_of_a_compiler_has_its_code() {
        let killed = |signal: Signal| Some(ExitStatus::from_raw(signal.as_raw()));
        let exit = |code: u8| Some(ExitStatus::from_raw(i32::from(code) << 8));
        let starved = "memory allocation of 7 bytes failed";
        let cases = [
            (None, "", "unavailable"),
            (killed(Signal::XCPU), "", "compile-time"),
            (killed(Signal::XFSZ), "", "compile-size"),
            (killed(Signal::ABORT), starved, "compile-memory"),
            (killed(Signal::ABORT), "", "compile-crashed"),
            (killed(Signal::SEGV), "", "compile-crashed"),
            (exit(101), "panicked at …", "compile-crashed"),
            (exit(child::INVALID), starved, "invalid-component"),
            (exit(child::FAILED), "failed to read", "unavailable"),
            (exit(child::UNWRITTEN), "failed to write", "unavailable"),
            (killed(Signal::KILL), "", "unavailable"),
        ];
        for (status, said, code) in cases {
            let error = CompileLimits::default().outcome(status, said).unwrap_err();
            assert_eq!(error.code, code, "{status:?} {said}");
        }
        assert!(CompileLimits::default().outcome(exit(0), "").is_ok());
    }

    #[test]
    fn code_that_the_disk_does_not_take_is_used_all_the_same_and_not_kept() {
        let runtime = Runtime::new(1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (folder, in_use) = (folder.path().join("made"), InUse::default());
        let config = CacheConfig { folder: folder.clone(), bytes: 1 << 30, in_use };
        let compiler = Compiler::new(&runtime.engine, Compile::Here, Some(config)).unwrap();
        let bytes = builtin::COMPONENTS[0];
        let plugin = Digest::of(bytes);
        let code = runtime.engine.precompile_component(bytes).unwrap();
        let write = |draft: &Draft| match draft {
            Draft::Kept(_) => Ok(Err("No space left on device".to_owned())),
            Draft::Loose(file) => {
                let mut file = file;
                Ok(file.write_all(&code).map_err(|error| error.to_string()))
            }
        };
        let draft = compiler.written(&plugin, write).unwrap();
        assert!(matches!(draft, Draft::Loose(_)));
        compiler.finish(&runtime.engine, &plugin, draft).unwrap();
        assert!(compiler.load(&runtime.engine, &plugin).is_none());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        compiler.compile(&runtime.engine, &plugin, bytes).unwrap();
        assert!(compiler.load(&runtime.engine, &plugin).is_some(), "there is room again");

        let full = |_: &Draft| Ok(Err("No space left on device".to_owned()));
        let error = compiler.written(&plugin, full).err().unwrap();
        assert_eq!((error.code, error.retryable()), ("unavailable", true));
    }

    #[test]
    fn a_compiler_that_hangs_is_killed() {
        let mut hangs = Command::new("sleep");
        hangs.arg("1000").stdin(Stdio::piped()).stderr(Stdio::piped());
        let process = hangs.spawn().unwrap();
        // More than a pipe holds, and the process does not read it.
        let (status, said) = wait(process, &[0; 1 << 20], Duration::from_millis(1)).unwrap();
        assert_eq!((status, said.as_str()), (None, ""));
    }
}
