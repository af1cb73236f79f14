//! The run: what it is, and how it goes on. It is pure: no I/O, no clock, no randomness, no async and no Wasm. So
//! it can be tested with random histories, and replayed.
//!
//! [`Run`] is a [`Snapshot`] that never changes and a [`Progress`] that does. Beside it there is one
//! [`AgentRecord`] for each agent and one [`Journal`] for each attempt. [`Machine`] holds them in memory and turns
//! one [`Input`] after another into [`Transition`]s: what to commit, and what to perform once that is committed.

mod abandon;
mod agent_record;
mod approving;
mod call;
mod closing;
mod command;
mod datastore;
mod decision;
mod document;
mod ending;
mod failure;
mod fill;
mod following;
mod format;
mod held;
mod held_now;
mod history;
mod http;
mod identity;
mod journal;
mod json_strict;
mod json_text;
mod known_secrets;
mod late;
mod log_kept;
mod machine;
mod node_info;
mod notice;
mod outcome;
mod reading;
mod retry_of;
mod roster_at;
mod scrub;
mod scrub_inputs;
mod scrub_lines;
mod scrub_search;
mod scrub_spelling;
mod secret;
mod secret_places;
mod signal;
mod stages;
mod start;
mod state;
mod status;
mod transition;
mod trouble;
mod waits_for;

pub use crate::ids::{
    AgentId, AgentSeq, AttemptKey, CommandId, Digest, DigestError, EngineId, RunId, SentAction,
};
pub use agent_record::{
    About, AgentRecord, Failure, FailureReason, Outstanding, PastStage, StepPhase, Was,
    declared_over,
};
pub use approving::{ApprovalChange, Approves, Asks, Given, NotCounted, Question};
pub use call::{Answer, Call, CallError, CallName, canonical};
pub use closing::Closing;
pub use command::{Command, CommandOutcome, Verb};
pub use datastore::{Datastore, Wanted};
pub use decision::{
    Decision, MAX_DECIDED, MAX_LOG_BYTES, MAX_LOG_LINES, MAX_MEMO_BYTES, MAX_REFRESH,
    MAX_ROSTER_PAGE, MAX_START, Next, PlanInput, Roster,
};
pub use document::{
    Loaded, PlannedNext, Progress, ReasonCode, Run, Snapshot, StageProgress, StatusReason,
    Unanswered,
};
pub use ending::Ending;
pub use fill::{MAX_FILLED_BYTES, destination, filled, secrets_in};
pub use format::{FIRST_FORMAT, KNOWN_FORMAT};
pub use held::{
    FACTS_AGE, GuardGroup, Held, HeldAgent, HeldBy, HeldThen, LOOK_EVERY, MAX_BECAUSE,
    MAX_DECIDING, MAX_HELD, MAX_HELD_NAMED,
};
pub use held_now::{AtRest, HeldNow};
pub use history::{Asked, Happened, LogLevel, LogLine, PluginLine, RunEvent};
pub use http::{
    Caller, HttpBody, HttpError, HttpRequest, HttpResponse, MAX_HTTP_BODY, MAX_HTTP_HEADER_BYTES,
    MAX_HTTP_HEADERS, MAX_HTTP_TIMEOUT, MAX_HTTP_URL,
};
pub use identity::{Expected, WrongNode};
pub use journal::{Answered, Journal, Pending};
pub use json_strict::{Unambiguous, integer_beyond_64_bits};
pub use json_text::{JsonText, escaped_bytes, json_text_depth};
pub use known_secrets::{KnownSecrets, MAX_SECRETS_BYTES};
pub use late::{LateEnd, Taken};
pub use log_kept::{LogKept, MAX_RUN_LINES, MAX_RUN_LOG_BYTES, OldLines, dropped_in_words};

pub use crate::time::{Millis, Timestamp, TimestampError};
pub use following::{
    ABSENCES, Difference, Follower, Heard, KnownAgent, LastAnswer, LeftOut, MASS_PERCENT,
    MAX_ATTRIBUTE_CHARS, MAX_CHANGED, MAX_FOUND, MAX_TOLD, MassAbsence, Members, Membership,
    MembershipChange, Outcome, Phase, PlatformNode, Source, difference, in_order,
};
pub use machine::{CANCEL_DEADLINE, Machine, Selection};
pub use node_info::{KeptNode, NodeInfo};
pub use notice::{Notice, Silent, Unheard, UnheardAgent};
pub use outcome::{Gone, MAX_NAMED, PassedOver, outcomes};
pub use retry_of::RetryOf;
pub use roster_at::{Before, HistoryError, InfoChange, RosterAt};
pub use scrub::{LONGEST_SPELLING, SCRUBBED, Scrubber};
pub use secret::{
    Entitled, MAX_SECRET_BYTES, MIN_SECRET_BYTES, NotASeed, RunSeed, SecretError, SecretText,
    TOKEN_PREFIX,
};
pub use secret_places::{SECRET_PLACES, SecretPlace, Withheld, secret_places, without_secrets};
pub use signal::{
    MAX_PAYLOAD_BYTES, MAX_SIGNAL_BYTES, MAX_SIGNALS_OF_AGENT, MAX_SIGNALS_OF_RUN, Received,
    SentSignal, Signal,
};
pub use stages::CameTo;
pub use start::{guarded, narrowed, new_retry, new_run, seeded};
pub use state::IllegalInput;
pub use status::{AgentState, RunStatus, UnknownWord};
pub use transition::{
    Activate, Activation, ActivationEnd, AskAgain, Effect, Input, Look, Looked, Member, Perform,
    PlanFailure, Refreshed, Refusal, Transition, Writes,
};
pub use trouble::{
    Abandoned, FIRST_REST, LONGEST_REST, MAX_TROUBLE, Trouble, TroubleCode, trouble_message,
};
pub use waits_for::{FEWEST_PLACES, OnEngine, WaitsFor, cluster_share};
