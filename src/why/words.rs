//! Moments, lengths and counts in words.

use std::collections::BTreeMap;

use crate::run::{AgentState, Millis, Timestamp};

/// A moment to the second, in UTC.
pub(super) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The same, without the day where that is today's.
pub(super) fn near(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (moment(at), moment(now));
    match (at.split_once('T'), now.split_once('T')) {
        (Some((day, time)), Some((today, _))) if day == today => {
            time.trim_end_matches('Z').to_owned()
        }
        (_, _) => at,
    }
}

/// `since 09:00:00 (4m05s)`.
pub(super) fn since(at: Timestamp, now: Timestamp) -> String {
    format!("since {} ({})", near(at, now), length(now.since(at)))
}

/// `at 09:00:00 (in 4m05s)`, or that the moment has come.
pub(super) fn at(at: Timestamp, now: Timestamp) -> String {
    match at > now {
        true => format!("at {} (in {})", near(at, now), length(at.since(now))),
        false => format!("now, since {}", near(at, now)),
    }
}

/// A length of time: `12s`, `2m05s`, `1h02m`, `3d04h`.
pub(super) fn length(length: Millis) -> String {
    let seconds = length.0 / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `1 agent`, `2 agents`.
pub(super) fn agents(count: u32) -> String {
    if count == 1 { "1 agent".to_owned() } else { format!("{count} agents") }
}

/// `3 done, 1 failed`; nothing where there is no agent yet.
pub(super) fn counts(counts: &BTreeMap<AgentState, u32>) -> Option<String> {
    let words = AgentState::SETTLED_FIRST.into_iter().filter_map(|state| {
        let count = counts.get(&state).filter(|count| **count > 0)?;
        Some(format!("{count} {}", state.as_str().to_lowercase()))
    });
    let words: Vec<_> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// A message of somebody else at the end of a sentence of ours.
pub(super) fn quoted(message: &str) -> &str {
    message.trim().trim_end_matches('.')
}

/// A word as a shell takes it.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
