//! Signals: what people and programs tell a run while it goes on. A signal is kept until the run ends, also if no
//! step waits for it yet. It ends one wait of each attempt that waits for its name.

use serde::{Deserialize, Serialize};

use super::json_text::JsonText;
use crate::ids::AgentId;
use crate::time::Timestamp;

/// The most signals to the whole run that are kept. They are in the run's progress, which each commit writes.
pub const MAX_SIGNALS_OF_RUN: usize = 64;

/// The most signals to one agent that are kept. They are in the agent's record.
pub const MAX_SIGNALS_OF_AGENT: usize = 16;

/// The most bytes of one payload: enough for what a person or another program has to say, and little in a
/// document that is written again and again.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024;

/// The most bytes of all payloads together that the run, or one agent, keeps.
pub const MAX_SIGNAL_BYTES: usize = 64 * 1024;

/// A signal as it is sent with a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SentSignal {
    /// Name of the signal.
    pub name: String,
    /// What the step that waits gets: any JSON.
    pub payload: JsonText,
}

/// A signal that a run keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Signal {
    /// Number of the signal in its run, from 1 in the order in which the signals came.
    pub number: u32,
    /// Name of the signal.
    pub name: String,
    /// What the step that waits gets: any JSON.
    pub payload: JsonText,
    /// When the run took the signal.
    pub at: Timestamp,
}

impl Signal {
    /// What a step gets of the signal.
    pub fn received(&self) -> Received {
        Received { number: self.number, payload: self.payload.clone() }
    }
}

/// A signal that ended a wait, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Received {
    /// Number of the signal in its run. An attempt gets each signal once.
    pub number: u32,
    /// What was sent.
    pub payload: JsonText,
}

/// Why one more signal can't be kept beside those of `kept`, of which there may be `most`. `to` is the agent, if
/// the signal is for one.
pub(in crate::run) fn no_room(
    kept: &[Signal],
    most: usize,
    sent: &SentSignal,
    to: Option<&AgentId>,
) -> Option<String> {
    let whose = to.map_or_else(|| "it".to_owned(), |agent| format!("agent {agent}"));
    let found = sent.payload.bytes();
    if found > MAX_PAYLOAD_BYTES {
        let expected = format!("expected at most {MAX_PAYLOAD_BYTES}");
        return Some(format!("found a payload of {found} bytes, {expected}"));
    }
    if kept.len() >= most {
        return Some(format!("{whose} keeps {most} signals already, which is the most"));
    }
    let bytes = kept.iter().map(|signal| signal.payload.bytes()).sum::<usize>() + found;
    (bytes > MAX_SIGNAL_BYTES).then(|| {
        format!(
            "the payloads of {whose} would have {bytes} bytes, at most {MAX_SIGNAL_BYTES} are kept"
        )
    })
}

/// Bytes that kept signals take as JSON text, approximately.
pub(in crate::run) fn signal_bytes(signals: &[Signal]) -> usize {
    signals.iter().map(|signal| signal.payload.bytes() + signal.name.len() + 80).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn sent(bytes: usize) -> SentSignal {
        let payload = Value::String("x".repeat(bytes - 2)).into();
        SentSignal { name: "go".to_owned(), payload }
    }

    fn kept(count: u32, bytes: usize) -> Vec<Signal> {
        let SentSignal { name, payload } = sent(bytes);
        let one = |number| Signal {
            number,
            name: name.clone(),
            payload: payload.clone(),
            at: Timestamp::default(),
        };
        (1..=count).map(one).collect()
    }

    #[test]
    fn what_is_kept_has_limits() {
        let agent = AgentId::from("node-1");
        let full = |kept: &[Signal], bytes| no_room(kept, 16, &sent(bytes), Some(&agent));
        assert_eq!(full(&kept(15, 10), MAX_PAYLOAD_BYTES), None);
        let why = full(&kept(0, 10), MAX_PAYLOAD_BYTES + 1).unwrap();
        assert_eq!(why, "found a payload of 16385 bytes, expected at most 16384");
        let why = full(&kept(16, 10), 10).unwrap();
        assert_eq!(why, "agent node-1 keeps 16 signals already, which is the most");
        let why = full(&kept(4, MAX_PAYLOAD_BYTES), 10).unwrap();
        assert!(why.starts_with("the payloads of agent node-1 would have 65546 bytes"), "{why}");
    }
}
