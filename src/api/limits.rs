//! Every limit of the API, in one place with its reason. Several of them only make sense together: what one
//! request may cost, times how many there may be, has to fit the memory of the server.

use std::time::Duration;

/// The largest body with a playbook in it, in bytes. A playbook may be 1 MiB of text, which grows when it is
/// written as a JSON string, since line ends and quotes take two bytes each.
pub const MAX_PLAYBOOK_BODY: usize = 4 * 1024 * 1024;

/// The largest body with a cluster in it, in bytes: a cluster may be 16 MiB of text, which is some
/// 100,000 agents.
pub const MAX_CLUSTER_BODY: usize = 32 * 1024 * 1024;

/// The largest body with several documents, in bytes: two of the largest clusters, each of which may be in
/// a file of its own.
pub const MAX_APPLY_BODY: usize = 2 * MAX_CLUSTER_BODY;

/// The largest body of any other request in JSON, in bytes: enough for the parameters of a run,
/// which are kept in its snapshot.
pub const MAX_JSON_BODY: usize = 1024 * 1024;

/// The largest body of a request that steers a run, in bytes. The longest reason, actor and agent fit into it,
/// even if each letter that is not ASCII is written as `\u`.
pub(super) const MAX_STEERING_BODY: usize = 24 * 1024;

/// The largest body of a request that sends a signal, in bytes: what any request that steers has, and a payload in
/// which many letters are written as `\u`.
pub(super) const MAX_SIGNAL_BODY: usize = 64 * 1024;

/// The largest plugin, in bytes: components that contain a whole language runtime stay below this.
pub const MAX_PLUGIN_BODY: usize = 64 * 1024 * 1024;

/// The largest of all bodies, in bytes.
pub(super) const LARGEST_BODY: usize =
    if MAX_PLUGIN_BODY > MAX_APPLY_BODY { MAX_PLUGIN_BODY } else { MAX_APPLY_BODY };

/// Bytes of all bodies that are in memory at once, counted as they arrive; what exceeds this waits its turn.
/// One client gets half at most.
pub(super) const MAX_BODIES: usize = 256 * 1024 * 1024;

/// Bodies up to this size are not counted, and so never wait: all connections together have a few dozen
/// megabytes of them.
pub(super) const SMALL_BODY: usize = 24 * 1024;

/// How long a body may take to begin, after its headers have arrived.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(10);

/// The same for a body that steers a run: it fits the packets that its headers come in.
pub(super) const STEERING_GRACE: Duration = Duration::from_secs(2);

/// The fewest bytes of a body per second, on average, after [`BODY_GRACE`]: the slowest lines carry several
/// times that.
pub(super) const BODY_RATE: u32 = 16 * 1024;

/// JSON bodies above this size are parsed on a blocking thread, since parsing them would hold up the event loop
/// for longer than a millisecond or so.
pub(super) const INLINE_JSON: usize = 128 * 1024;

/// Bytes of a page at most, if it has more than one item: of results of a megabyte a page has only a few, and
/// no page of ordinary items is cut.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Items that are read first for a page, while their size is not known yet.
pub(super) const FIRST_PIECE: u32 = 8;

/// The most bytes of an agent record: its results, the last action, and what is known of its node.
pub(super) const RECORD_BYTES: usize = 2 * 1024 * 1024 + 256 * 1024;

/// The most bytes of a journal: those that it may have, and one answer that exceeds them.
pub(super) const JOURNAL_BYTES: usize = 2 * 1024 * 1024 + 512 * 1024;

/// The most bytes of an event: the agents of a decision, with identifiers of a kilobyte each.
pub(super) const EVENT_BYTES: usize = 512 * 1024;

/// The most bytes of a line of the log.
pub(super) const LINE_BYTES: usize = 16 * 1024;

/// The most bytes of a run or a playbook: a text of a megabyte, the playbook that it is resolved to, and
/// parameters.
pub(super) const PLAYBOOK_BYTES: usize = 3 * 1024 * 1024;

/// The most bytes of a cluster: a text of 16 MiB, and the values that are read from it.
pub(super) const CLUSTER_BYTES: usize = 80 * 1024 * 1024;

/// The most bytes of what is known about a plugin: a schema of its arguments, descriptions, where it came from, and
/// 6 KiB of signatures, whose comments are kept twice.
pub(super) const PLUGIN_BYTES: usize = 304 * 1024;

/// Bytes of items that are read at once after the first ones, assuming that they are no larger than those.
pub(super) const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Memory that the read of a page may take: its items are in memory as values, which take a multiple of their
/// bytes, and then as text.
pub(super) const READ_BYTES: usize = 24 * 1024 * 1024;

/// Memory for all reads in progress; further reads wait. What has been read counts until it is sent. One client
/// gets half at most.
pub(super) const MAX_READS: usize = 192 * 1024 * 1024;

/// Bytes of an answer that are not counted, if nothing large was read for it.
pub(super) const LIGHT: usize = 64 * 1024;

/// Items in a page when the request does not say how many.
pub(super) const DEFAULT_PAGE: u32 = 100;

/// How long a request may take until its answer begins, including the time for its body.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for the upload of a plugin, which may wait its turn and is compiled.
pub(super) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// How long the answer to a command waits for the outcome. An engine looks for commands several times a second,
/// so a longer wait means that no engine holds the run.
pub(super) const COMMAND_WAIT: Duration = Duration::from_secs(5);

/// How often a waiting command is checked: too often for a person to notice a delay.
pub(super) const COMMAND_POLL: Duration = Duration::from_millis(50);

/// The longest `Idempotency-Key` in bytes.
pub(super) const MAX_IDEMPOTENCY_KEY: usize = 255;

/// The longest name of a person in bytes: every event that the person caused contains it.
pub(super) const MAX_ACTOR: usize = 256;

/// The most words of a command: as many as a person types, or a shell makes of a pattern.
pub(super) const MAX_ARGV: usize = 1_000;

/// The most bytes of a command. They are in the snapshot of its run, and in the arguments of each agent's action.
pub(super) const MAX_ARGV_BYTES: usize = 64 * 1024;

/// The longest identifier of an agent in bytes: a cluster may have identifiers of 256 characters.
pub(super) const MAX_AGENT: usize = 4 * 256;

/// The longest name of a guard in bytes that a request may have: as long as any name in a document.
pub(super) const MAX_GUARD: usize = 256;

/// The longest reason that a person gives, in bytes: it is written to the run's history.
pub(super) const MAX_REASON: usize = 4 * 1024;

/// The most requests in progress that steer a run: people and their programs send a few a second.
pub(super) const MAX_URGENT: usize = 128;

/// The most requests in progress that ask how the server is: each may wait some seconds for the store.
pub(super) const MAX_PROBES: usize = 32;

/// The most connections that wait a few seconds for a place. They are taken from those that may be open.
pub(super) const LOBBY: usize = 64;

/// The shortest time between two lines in the log that say that requests are refused: clients that are refused
/// come again.
pub(super) const REFUSALS_SAID: Duration = Duration::from_secs(10);

/// The most event streams that are open at once.
pub(super) const MAX_STREAMS: usize = 1_000;

/// How often the store is asked whether there is more for clients that follow runs: engines in other processes
/// can't notify this one. Also how long a stream waits after a read that failed.
pub(super) const STREAM_POLL: Duration = Duration::from_millis(500);

/// The most events that a stream reads at once: it reads fewer if earlier ones were large.
pub(super) const STREAM_PAGE: u32 = 50;

/// The most bytes of events that a stream keeps, unless a single event is larger. There may be a thousand
/// streams; other answers of this size are not counted either. A larger event counts as memory for reads until
/// it is sent.
pub(super) const STREAM_BYTES: usize = LIGHT;

/// How often a silent stream shows that it is alive: more often than the usual 30 s of proxies.
pub(super) const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Consecutive reads that may fail before a stream gives up; with [`STREAM_POLL`] that is 10 s.
pub(super) const STREAM_FAILURES: u32 = 20;

/// How long the store may take to answer a ping.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the numbers of runs in the metrics are kept: reading them costs a page of the store.
pub(super) const METRICS_AGE: Duration = Duration::from_secs(10);

/// Runs that are read at once to be counted: each has a snapshot of up to some megabytes.
pub(super) const COUNTED_PAGE: u32 = 8;

/// How many agents are asked at a time how they are, for all requests together: people who look must not keep
/// the engine from its agents.
pub(super) const MAX_ASKED: usize = 32;

/// Connections that are open at once, if the process has enough descriptors for them. When a further one
/// arrives, the one that has waited longest for a request is closed.
pub(super) const MAX_CONNECTIONS: usize = 4_096;

/// How long a connection may pass no byte while a request is answered. Longer than any answer takes to begin,
/// which is at most [`UPLOAD_TIMEOUT`] after the request. An event stream sends something every
/// [`STREAM_KEEP_ALIVE`], so only a client that neither sends nor reads loses its place.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(360);

/// How long requests may go on after the server was told to stop. Nearly all are answered within that, and with
/// what follows the process is gone within a second, long before anybody kills it.
pub(super) const STOP_DEADLINE: Duration = Duration::from_millis(600);

/// Pages of agent records that are searched for one that may be retried: all of most clusters, in a fraction of
/// the time that a request may take. In a larger cluster the new run finds out for itself.
pub(super) const RETRY_PAGES: u32 = 1_250;

/// Agent records that are read at once when only a few of them are kept: each may have [`RECORD_BYTES`].
pub(super) const FEW_RECORDS: u32 = 8;

/// Records of agents in flight among which an explanation chooses those that tell most.
pub(super) const EXPLAINED_RUNNING: u32 = 96;

/// Records of failed agents that an explanation reads: it names only a few.
pub(super) const EXPLAINED_FAILED: u32 = 8;
