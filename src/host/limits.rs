//! Every limit on plugins, each with its reason. Exceeding one gives an error of its own.

use std::time::Duration;

use replibook_core::run::Millis;

/// CPU time of one activation, plan or description: a thousand times what a guest in Rust needs, and
/// hundreds of times what one in Python needs.
pub(super) const CPU_TIME: Duration = Duration::from_secs(1);

/// How often a running guest is interrupted to check its time. A guest may run longer than [`CPU_TIME`] by twice
/// this, because its time counts from the first check. An interval of ten milliseconds costs nothing that can be
/// measured.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Memory of one instance in all its linear memories together: a guest in Python needs about 40 MiB.
pub(super) const MEMORY_BYTES: usize = 128 << 20;

/// Linear memories of one instance, one per module: QuickJS has three.
pub(super) const MEMORIES: u32 = 4;

/// Elements of one table: the largest known guest, Python, has about 15,000 functions.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Tables of one instance: each of its modules may have one.
pub(super) const TABLES: u32 = 64;

/// Core modules of one instance: a guest in Python has 38.
pub(super) const CORE_INSTANCES: u32 = 64;

/// Bytes that wasmtime keeps about one instance: a guest in Python needs about 200 KiB.
pub(super) const INSTANCE_BYTES: usize = 1 << 20;

/// Stack of the guest: interpreters recurse deeply.
pub(super) const STACK_BYTES: usize = 1 << 20;

/// Stack of a thread that runs guests: the guest's, and room for the host's own calls.
pub(super) const THREAD_STACK_BYTES: usize = STACK_BYTES + (3 << 20);

/// How much memory stays mapped in a slot of the pool for the next guest: as much as an ordinary guest touches.
pub(super) const KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// The same, if the kernel cannot tell which pages were touched, so that all of it has to be cleared.
pub(super) const KEEP_RESIDENT_BYTES_BLIND: usize = 64 << 10;

/// Bytes that one call may carry between guest and host. A few times the largest valid argument or result, so that
/// larger ones still get an error that names them; yet no call can fill the host's memory.
pub(super) const CALL_BYTES: usize = 16 << 20;

/// Effects of one attempt. Each is a document that is written once, and read again for each later effect.
pub(super) const CALLS: usize = 256;

/// Bytes of the arguments of one call, as JSON text: they are stored and sent over HTTP.
pub(super) const ARGUMENT_BYTES: usize = 1 << 20;

/// Bytes of the result of a step, as JSON text: it is stored in the agent's record.
pub(super) const RESULT_BYTES: usize = 1 << 20;

/// How deep lists and objects may be nested in results, arguments and schemas: as deep as in documents that people
/// write. The reader of stored documents stops at 127 levels, and each of these values is stored inside of a
/// record.
pub(super) const NESTING: usize = replibook_core::playbook::MAX_JSON_DEPTH;

/// Characters in a kind of action.
pub(super) const KIND_CHARS: usize = 256;

/// Statuses that one call may wait for.
pub(super) const STATUSES: usize = 16;

/// Characters in a status.
pub(super) const STATUS_CHARS: usize = 64;

/// Agents that one plan may ask to be refreshed.
pub(super) const REFRESHED: usize = replibook_core::run::MAX_REFRESH;

/// Different expressions of one plan, since they are kept while it is made: one for each of the most groups that a
/// person would tell apart.
pub(super) const EXPRESSIONS: usize = 64;

/// Random bytes of one call: plenty for identifiers and jitter.
pub(super) const RANDOM_BYTES: u64 = 64 << 10;

/// Lines that one activation may log after the last recorded answer, and as many before each answer that it
/// repeats. They are committed together with the result of the activation.
pub(super) const LOG_LINES: usize = replibook_core::run::MAX_LOG_LINES;

/// Bytes of one line of the log, counted as JSON because that is how it is stored.
pub(super) const LOG_LINE_BYTES: usize = 8 << 10;

/// Bytes of all those lines, as JSON for the same reason.
pub(super) const LOG_BYTES: usize = replibook_core::run::MAX_LOG_BYTES;

/// Bytes of an error message from a guest, which is stored in the agent's record. Longer messages are cut.
pub(super) const MESSAGE_BYTES: usize = 4 << 10;

/// Handles of WASI resources that one guest may hold, and that it may poll at once. Ordinary language runtimes hold some
/// tens. StarlingMonkey gives none back, and needs eight or more for each `fetch`, of which an attempt may make as many
/// as it has calls: so sixteen for each. One handle keeps some tens of KiB at most, those of a request, so that all of
/// them keep about as much as the guest's own memory.
pub(super) const WASI_HANDLES: usize = 16 * CALLS;

/// Requests that a guest has handed over to `wasi:http` and that have no answer yet. They are sent one after the other,
/// so that more of them at once would gain nothing, and an attempt has only a few times as many calls.
pub(super) const WASI_REQUESTS: usize = 64;

/// Bytes of all bodies together that a guest has written to `wasi:http` and that are not sent yet: a few of the
/// largest.
pub(super) const WASI_BODY_BYTES: usize = 4 * replibook_core::run::MAX_HTTP_BODY;

/// Bytes that a guest may write to a body at once, which is what it is told when it asks: as many as wasmtime lets it
/// write to a pipe.
pub(super) const WASI_WRITE_BYTES: usize = 64 << 10;

/// Bytes in a method or a scheme that `wasi:http` has no name for: none of them is offered, so they are only kept until
/// they are refused.
pub(super) const WASI_WORD_BYTES: usize = 64;

/// How long a request waits for its response where the guest sets no limit: as long as the built-in step `http` does.
pub(super) const WASI_HTTP_TIMEOUT: Millis = Millis::from_secs(30);

/// Lines of the log that explain errors of `wasi:http`, whose codes have no text, between two answers: as many as a
/// person reads, so that a guest that tries again and again does not use up its log.
pub(super) const WASI_HTTP_NOTES: usize = 16;

/// Characters in the name of a plugin and in the label of a batch: the same as in a DNS label.
pub(super) const LABEL_CHARS: usize = 63;

/// Bytes in the summary of a plugin.
pub(super) const SUMMARY_BYTES: usize = 1 << 10;

/// Bytes in the JSON Schema of a plugin's arguments.
pub(super) const SCHEMA_BYTES: usize = 64 << 10;

/// Bytes of a strategy's reason for skipping an agent, as JSON.
pub(super) const REASON_BYTES: usize = 1 << 10;

/// Bytes in a component: a guest in Python has 18 MiB.
pub(super) const COMPONENT_BYTES: usize = 32 << 20;

/// Components inside of components: one in Python has three levels.
pub(super) const COMPONENT_NESTING: usize = 16;

/// Functions of all modules of a component: a guest in Python has about 40,000.
pub(super) const FUNCTIONS: usize = 200_000;

/// Bytes of one function. The largest known functions, the loops of interpreters, have about 200 KiB; a compiler's
/// time and memory grow faster than the size.
pub(super) const FUNCTION_BYTES: usize = 1 << 20;

/// CPU time for compiling one plugin: a guest in Python needs 10 s.
pub(super) const COMPILE_CPU_TIME: Duration = Duration::from_secs(60);

/// Wall-clock time for compiling one plugin, so that a process that hangs without computing ends too: what the CPU
/// time takes on a machine that is ten times too busy. Exceeding it is no fault of the plugin.
pub(super) const COMPILE_WALL_TIME: Duration = Duration::from_secs(600);

/// Address space of a compiling process: a guest in Python needs less than half of it.
pub(super) const COMPILE_MEMORY_BYTES: u64 = 2 << 30;

/// Threads of a compiling process. With more of them, their stacks and heaps would exceed the limit on memory on a
/// large machine.
pub(super) const COMPILE_THREADS: usize = 4;

/// Niceness of a compiling process, so that it gives way to everything else: the highest there is.
pub(super) const COMPILE_NICE: i32 = 19;

/// How many bytes of a compiling process's messages are read: an error, which the process has cut already, or the
/// last output of a crash.
pub(super) const COMPILER_SAYS_BYTES: u64 = 16 << 10;

/// Bytes of the compiled code of one plugin: a guest in Python has 31 MiB.
pub(super) const CODE_BYTES: u64 = 256 << 20;

/// Bytes of all compiled code on disk, unless the operator says otherwise: enough for some tens of the largest plugins.
pub(super) const CACHE_BYTES: u64 = 2 << 30;

/// Files with compiled code on disk: a few times what is ready to run, and few enough to read the folder each time.
pub(super) const CACHE_FILES: usize = 1_000;

/// Bytes of compiled code that is ready to run, a further limit besides [`LOADED_PLUGINS`]. What is in use stays beyond
/// both: it is mapped from files, so the system can take its memory back.
pub(super) const LOADED_BYTES: u64 = 1 << 30;

/// How many compiled plugins are kept; the least recently used one goes first. A guest in Rust takes about 0.3
/// MiB, one in Python 60 MiB.
pub(super) const LOADED_PLUGINS: usize = 256;

/// Activations and plans that may wait for a thread. Further callers wait before they are queued.
pub(super) const QUEUED_CALLS: usize = 1_024;

/// CPU time from which a call counts as slow: ten times what a guest in Python needs.
pub(super) const SLOW_CALL: Duration = Duration::from_millis(50);

/// How long a plugin counts as slow after such a call: long enough that a plugin which alternates between slow and
/// quick calls holds up others for only a small part of the time.
pub(super) const SLOW_TIME: Duration = Duration::from_secs(60);

/// Niceness of the threads of slow plugins: the highest, so that they give way to all others. Their limit on CPU
/// time does not count while they wait.
pub(super) const SLOW_NICE: i32 = 19;

/// Imports that may wait for the thread that loads, and for the one that compiles: each holds the bytes of a
/// component.
pub(super) const QUEUED_IMPORTS: usize = 4;

/// Plugins that are compiled at once: each may take [`COMPILE_MEMORY_BYTES`], and with two of them that of one client never
/// holds up that of another for long.
pub(super) const IMPORTERS: usize = 2;

/// The most threads that run plugins: each takes [`MEMORIES`] slots of 4 GiB of address space.
pub(super) const THREADS: usize = 256;
