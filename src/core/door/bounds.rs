//! How much each kind of answer may hold, and why. The numbers are together in one module so that they can be
//! compared with each other, and with the table in `docs/agents.md`.

use std::time::Duration;

use crate::playbook::MAX_JSON_DEPTH;

/// How much one answer, or one member of it, may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes. A whole answer is measured as it comes, a member of it as JSON without spaces.
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

/// The most bytes of a key that is kept of an answer. Keys are names, and messages quote them.
pub const KEY_BYTES: usize = 1_024;

/// Bytes of a whole answer about an action: a payload of 1 MiB, as much again for the arguments, and room for the
/// backtraces that agents put in.
pub const ACTION_BYTES: usize = 4 * 1024 * 1024;

/// The payload of an action. It is kept in the journal and given to the step, which is promised 1 MiB. A run has
/// one payload in memory for each agent at work, and keeps it as text ([`JsonText`](crate::run::JsonText)). A
/// payload is a parsed value only while it is read or while an expression looks at it, one payload at a time. As
/// many values as a payload may have take 12 MiB at most, which is when they are objects of one member each.
pub const PAYLOAD: Bounds = Bounds {
    bytes: 1024 * 1024,
    depth: MAX_JSON_DEPTH,
    values: 20_000,
    text: 1024 * 1024,
    key: KEY_BYTES,
};

/// What an agent says about an action that failed: messages, causes, and a backtrace, which is not kept.
pub const ERROR: Bounds =
    Bounds { bytes: ACTION_BYTES, depth: 16, values: 1_000, text: ACTION_BYTES, key: KEY_BYTES };

/// A member that is a word or an identifier.
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

/// What an agent says about its shards. More is read than is kept: the names of the fields take most of the bytes.
pub const SHARDS: Bounds =
    Bounds { bytes: 256 * 1024, depth: 8, values: 20_000, text: 1_024, key: KEY_BYTES };

/// Bytes of an agent's shards as they are kept: enough for some hundred shards. They go into the record of the
/// agent.
pub const SHARDS_KEPT: usize = 16 * 1024;

/// An agent's queue: some thousand actions, each with an identifier, a kind and a phase.
pub const QUEUE: Bounds =
    Bounds { bytes: 1024 * 1024, depth: 8, values: 20_000, text: 1_024, key: KEY_BYTES };

/// Bytes of the answer to a request to schedule. Only the identifier is read, but agents may say more.
pub const SCHEDULED_BYTES: usize = 256 * 1024;

/// Bytes that are read of the body of an answer that refuses or fails a request; the rest is not read.
pub const REFUSAL_BYTES: usize = 32 * 1024;

/// The longest time that reading such a body may take. It is short, and the status of the answer already says what
/// to do.
pub const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Bytes that are read of an answer whose status says all there is to know. They are read only so that the
/// connection can be used again.
pub const PASSED_OVER_BYTES: usize = 4 * 1024;

/// The longest time that reading them may take: the engine acts on the status only after that.
pub const PASSED_OVER_TIME: Duration = Duration::from_secs(1);

/// Bytes of the word that says the status of a node.
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
