//! Every limit of plugins, each with its reason. What goes past one gets an error of its own.

use std::time::Duration;

/// CPU time of one activation, plan or description: a thousand times what a guest in Rust needs, and
/// hundreds of times what one in Python needs.
pub(super) const CPU_TIME: Duration = Duration::from_secs(1);

/// How often a running guest is looked at: it may run longer than [`CPU_TIME`] by twice this much, as
/// that counts from the first look. Ten milliseconds cost nothing that can be measured.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Memory of one instance, all its linear memories together: a guest in Python needs about 40 MiB.
pub(super) const MEMORY_BYTES: usize = 128 << 20;

/// Linear memories of one instance, one to a module: QuickJS brings three.
pub(super) const MEMORIES: u32 = 4;

/// Elements of one table: the largest known guest, Python, has about 15,000 functions.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Tables of one instance: each of its modules may bring one.
pub(super) const TABLES: u32 = 64;

/// Core modules of one instance: a guest in Python brings 38.
pub(super) const CORE_INSTANCES: u32 = 64;

/// Bytes that the runtime keeps about one instance: a guest in Python needs about 200 KiB.
pub(super) const INSTANCE_BYTES: usize = 1 << 20;

/// Stack of the guest: interpreters nest deep.
pub(super) const STACK_BYTES: usize = 1 << 20;

/// Stack of a thread that runs guests: the guest's, and room for the host's own calls below it.
pub(super) const THREAD_STACK_BYTES: usize = STACK_BYTES + (3 << 20);

/// Memory that stays mapped in a slot of the pool for the next guest: what an ordinary guest touches.
pub(super) const KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// The same where the kernel cannot tell which pages were touched, and all of it has to be cleared.
pub(super) const KEEP_RESIDENT_BYTES_BLIND: usize = 64 << 10;

/// Bytes that one call may carry between guest and host: a few times the largest valid argument or
/// result, so that those get an error that names them, and no call can fill the host's memory.
pub(super) const CALL_BYTES: usize = 16 << 20;

/// Effects of one attempt: each is a document written and, once for each later effect, read again.
pub(super) const CALLS: usize = 256;

/// Arguments of one call as JSON text: they are kept and sent over HTTP.
pub(super) const ARGUMENT_BYTES: usize = 1 << 20;

/// Result of a step as JSON text: it is kept in the agent's record.
pub(super) const RESULT_BYTES: usize = 1 << 20;

/// How deep lists and objects may be nested in results, arguments and schemas: as deep as in a
/// document of people. The reader of what is kept stops at 127, and each is kept inside of a record.
pub(super) const NESTING: usize = replibook_core::playbook::MAX_JSON_DEPTH;

/// Characters in a kind of action.
pub(super) const KIND_CHARS: usize = 256;

/// Statuses that one call may wait for.
pub(super) const STATUSES: usize = 16;

/// Characters in a status.
pub(super) const STATUS_CHARS: usize = 64;

/// Agents that one plan may have asked afresh.
pub(super) const REFRESHED: usize = replibook_core::run::MAX_REFRESH;

/// Different expressions of one plan: they are kept while it is made. One for each of the most groups
/// that a person would tell apart.
pub(super) const EXPRESSIONS: usize = 64;

/// Random bytes of one call: plenty for identifiers and jitter.
pub(super) const RANDOM_BYTES: u64 = 64 << 10;

/// Lines that one activation may log after the last recorded answer, and as many before each
/// answer that it repeats. They are committed with what the activation did.
pub(super) const LOG_LINES: usize = replibook_core::run::MAX_LOG_LINES;

/// Bytes in one line of the log, as JSON has them: that is how it is kept.
pub(super) const LOG_LINE_BYTES: usize = 8 << 10;

/// Bytes of those lines, as JSON, for the same reason.
pub(super) const LOG_BYTES: usize = replibook_core::run::MAX_LOG_BYTES;

/// Bytes of an error message from a guest; what is longer is cut. It is kept in the agent's record.
pub(super) const MESSAGE_BYTES: usize = 4 << 10;

/// Handles of WASI resources that one guest may hold: ordinary runtimes hold some tens.
pub(super) const WASI_HANDLES: usize = 1_024;

/// Characters in the name of a plugin, and in the label of a batch: those of a DNS label.
pub(super) const LABEL_CHARS: usize = 63;

/// Bytes in the summary of a plugin.
pub(super) const SUMMARY_BYTES: usize = 1 << 10;

/// Bytes in the JSON Schema of a plugin's arguments.
pub(super) const SCHEMA_BYTES: usize = 64 << 10;

/// Bytes in the reason why a strategy leaves an agent out, as JSON.
pub(super) const REASON_BYTES: usize = 1 << 10;

/// Bytes in a component: a guest in Python has 18 MiB.
pub(super) const COMPONENT_BYTES: usize = 32 << 20;

/// Components inside of components: one in Python has three levels.
pub(super) const COMPONENT_NESTING: usize = 16;

/// Functions of all modules of a component: a guest in Python has about 40,000.
pub(super) const FUNCTIONS: usize = 200_000;

/// Bytes of one function: the largest known, the loop of an interpreter, have about 200 KiB, and a
/// compiler's time and memory grow faster than this.
pub(super) const FUNCTION_BYTES: usize = 1 << 20;

/// CPU time of compiling one plugin: a guest in Python needs 10 s.
pub(super) const COMPILE_CPU_TIME: Duration = Duration::from_secs(60);

/// Time of compiling one plugin by the clock, so that a process that hangs without computing ends:
/// as long as the CPU time takes on a machine that is ten times too busy. It is no fault of the plugin.
pub(super) const COMPILE_WALL_TIME: Duration = Duration::from_secs(600);

/// Address space of a process that compiles: a guest in Python needs less than half.
pub(super) const COMPILE_MEMORY_BYTES: u64 = 2 << 30;

/// Threads of a process that compiles: with more, a large machine would run past the limit on memory,
/// which their stacks and heaps take.
pub(super) const COMPILE_THREADS: usize = 4;

/// How much a process that compiles stands back for others that compute: as much as there is.
pub(super) const COMPILE_NICE: i32 = 19;

/// What is read of the messages of a process that compiles: an error, which it has cut already, or
/// the last words of a crash.
pub(super) const COMPILER_SAYS_BYTES: u64 = 16 << 10;

/// Bytes of the compiled code of one plugin: a guest in Python has 31 MiB.
pub(super) const CODE_BYTES: u64 = 256 << 20;

/// Bytes of all compiled code on disk: some tens of the largest plugins.
pub(super) const CACHE_BYTES: u64 = 2 << 30;

/// Bytes of compiled code that is ready to run, besides [`LOADED_PLUGINS`].
pub(super) const LOADED_BYTES: u64 = 1 << 30;

/// Compiled plugins that are kept; the one that was not used for longest goes first. A guest in Rust
/// takes about 0.3 MiB, one in Python 60 MiB.
pub(super) const LOADED_PLUGINS: usize = 256;

/// Activations and plans that may wait for a thread; who asks for more waits before it is queued.
pub(super) const QUEUED_CALLS: usize = 1_024;

/// CPU time of a call that is slow: ten times what a guest in Python needs.
pub(super) const SLOW_CALL: Duration = Duration::from_millis(50);

/// How long a plugin counts as slow after such a call: long enough that one which takes turns between
/// slow and quick holds up others for a small part of the time.
pub(super) const SLOW_TIME: Duration = Duration::from_secs(60);

/// How far the threads of slow plugins stand back for all others: as far as it goes. Their limit on
/// CPU time does not run while they wait.
pub(super) const SLOW_NICE: i32 = 19;

/// Imports that may wait for each of the threads that load and compile: each holds the bytes of a
/// component.
pub(super) const QUEUED_IMPORTS: usize = 4;

/// Threads that run plugins at most: each takes [`MEMORIES`] slots of 4 GiB of address space.
pub(super) const THREADS: usize = 256;
