//! How much an answer may hold. `docs/agents.md` has the same numbers in a table.

use std::time::Duration;

use crate::playbook::MAX_JSON_DEPTH;

/// How much one answer, or one member of it, may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes: of an answer, as it comes; of a member, as JSON without spaces.
    pub bytes: usize,
    /// How deep objects and lists are nested; a number is 0 deep, `[]` is 1.
    pub depth: usize,
    /// Values, including those in lists and objects. Memory depends on them: a value takes about a
    /// hundred bytes, though its text may be only two.
    pub values: usize,
    /// Bytes of one text.
    pub text: usize,
    /// Bytes of one key.
    pub key: usize,
}

/// Bytes of a key in what is kept of an answer: keys are names, and are quoted in messages.
pub const KEY_BYTES: usize = 1_024;

/// The whole answer about an action: a payload of 1 MiB, as much again for arguments, and room for the
/// backtraces that agents put in.
pub const ACTION_BYTES: usize = 4 * 1024 * 1024;

/// The payload of an action. It is kept in the journal and given to the step, which is promised 1 MiB.
/// A run has one in memory for each agent at work: once, as its text
/// ([`JsonText`](crate::run::JsonText)). It is a value only while it is read or an expression looks at it,
/// one at a time. This many values take 12 MiB at most: objects of one member each.
pub const PAYLOAD: Bounds = Bounds {
    bytes: 1024 * 1024,
    depth: MAX_JSON_DEPTH,
    values: 20_000,
    text: 1024 * 1024,
    key: KEY_BYTES,
};

/// What an agent says of an action that failed: messages, causes, and a backtrace, which is not kept.
pub const ERROR: Bounds =
    Bounds { bytes: ACTION_BYTES, depth: 16, values: 1_000, text: ACTION_BYTES, key: KEY_BYTES };

/// Members that are a word or an identifier.
pub const WORD: Bounds = Bounds { bytes: 2_048, depth: 4, values: 16, text: 1_024, key: KEY_BYTES };

/// What an agent says about its node. All of it goes into the journal of a step that asks; if it is
/// small enough, it also goes into the record of the agent.
pub const NODE: Bounds = Bounds {
    bytes: 256 * 1024,
    depth: MAX_JSON_DEPTH,
    values: 4_000,
    text: 64 * 1024,
    key: KEY_BYTES,
};

/// What an agent says about its store. It goes into the record of the agent, hundreds of which are
/// written by one commit.
pub const STORE: Bounds =
    Bounds { bytes: 8 * 1024, depth: MAX_JSON_DEPTH, values: 500, text: 8 * 1024, key: KEY_BYTES };

/// What an agent says about its shards. More is read than is kept of them: the names of fields take most.
pub const SHARDS: Bounds =
    Bounds { bytes: 256 * 1024, depth: 8, values: 20_000, text: 1_024, key: KEY_BYTES };

/// Bytes of an agent's shards as they are kept: some hundred of them. They go into the record of the
/// agent.
pub const SHARDS_KEPT: usize = 16 * 1024;

/// An agent's queue: some thousand actions, of each an identifier, a kind and a phase.
pub const QUEUE: Bounds =
    Bounds { bytes: 1024 * 1024, depth: 8, values: 20_000, text: 1_024, key: KEY_BYTES };

/// The answer to a request to schedule: an identifier. Agents may say more.
pub const SCHEDULED_BYTES: usize = 256 * 1024;

/// Bytes that are read of the answer to a refused or failed request; the rest is not read.
pub const REFUSAL_BYTES: usize = 32 * 1024;

/// The longest time in which they are read. A refusal is short, and its status already says what to do.
pub const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Bytes that are read of an answer whose status says all there is to know. They are read only so that the
/// connection can be used again.
pub const PASSED_OVER_BYTES: usize = 4 * 1024;

/// The longest time in which they are read: what the status says is acted on only after that.
pub const PASSED_OVER_TIME: Duration = Duration::from_secs(1);

/// Bytes of the word that is the status of a node.
pub const STATUS_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::FailureReason;

    const PAGE: &str = include_str!("../../../docs/agents.md");

    #[test]
    fn the_page_about_agents_has_these_numbers() {
        let row = |name: &str, bounds: &Bounds| {
            let Bounds { bytes, depth, values, text, key } = bounds;
            format!("| {name} | {bytes} | {depth} | {values} | {text} | {key} |")
        };
        for row in [
            row("… its payload", &PAYLOAD),
            row("… its error", &ERROR),
            row("`info/node`", &NODE),
            row("`info/store`", &STORE),
            row("`info/shards`", &SHARDS),
            row("`actions/queue`", &QUEUE),
            format!("| … the shards, as they are kept | {SHARDS_KEPT} |"),
            format!("| `GET action/ID`, the whole answer | {ACTION_BYTES} |"),
            format!("| `POST action` | {SCHEDULED_BYTES} |"),
            format!("| … `node_status` | {STATUS_BYTES} |"),
            format!("| the body of a refusal or failure | {REFUSAL_BYTES} are read |"),
            format!("is read for {} s at most", REFUSAL_TIME.as_secs()),
        ] {
            assert!(PAGE.contains(&row), "docs/agents.md lacks {row}");
        }
    }

    #[test]
    fn the_page_about_agents_has_every_reason_for_a_failure() {
        let (_, table) = PAGE.split_once("## The reasons for a failure").unwrap();
        for reason in FailureReason::ALL {
            assert!(table.contains(&format!("`{reason}`")), "docs/agents.md lacks {reason}");
        }
    }
}
