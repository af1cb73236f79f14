//! Text for people: cleaned, shortened, coloured; lengths of time and counts in words.

use std::collections::BTreeMap;

use crate::run::{AgentState, Millis, RunStatus, Timestamp};

pub(crate) use crate::shown::clean;

/// A line in which everything is seen, but for the colours that [`Paint`] has put there.
pub(crate) fn clean_painted(line: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find('\x1b') {
        kept.push_str(&clean(&rest[..at]));
        rest = &rest[at..];
        let code = Paint::CODES.iter().find(|code| rest.starts_with(**code));
        kept.push_str(code.unwrap_or(&" "));
        rest = &rest[code.map_or(1, |code| code.len())..];
    }
    kept + &clean(rest)
}

/// At most `most` characters of `text`, with a mark where something was left out.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{kept}…")
        }
    }
}

/// The words of `text` in lines of at most `width` characters, each with its line feed; a word that is
/// longer has a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let (mut lines, mut used) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push('\n');
            used = 0;
        }
        if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    if used > 0 {
        lines.push('\n');
    }
    lines
}

/// A length of time, as exact as it matters: `0.4s`, `12.0s`, `2m05s`, `1h02m`.
pub(crate) fn length(length: Millis) -> String {
    let tenths = length.0.saturating_add(50) / 100;
    let seconds = tenths / 10;
    match seconds {
        0..60 => format!("{seconds}.{}s", tenths % 10),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A moment to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The time of day of a moment, in UTC.
pub(crate) fn time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..19).map_or(text.clone(), str::to_owned)
}

/// Counts in words: `10 done, 2 failed`.
pub(crate) fn counts(counts: &BTreeMap<AgentState, u32>) -> String {
    let words =
        AgentState::SETTLED_FIRST.into_iter().filter_map(|state| match counts.get(&state) {
            None | Some(0) => None,
            Some(count) => Some(format!("{count} {}", state.as_str().to_lowercase())),
        });
    let words = words.collect::<Vec<_>>().join(", ");
    if words.is_empty() { "no agents".to_owned() } else { words }
}

/// `1 agent`, `2 agents`.
pub(crate) fn plural(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A colour for something, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It goes on, or waits for somebody.
    Busy,
    /// It matters more than the rest.
    Bold,
    /// It matters less than the rest.
    Faint,
    /// As it is.
    Plain,
}

impl Paint {
    /// All that [`on`](Self::on) puts around a text.
    const CODES: [&'static str; 6] =
        ["\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[2m", "\x1b[0m"];

    /// The colour of an agent's state.
    pub fn of_agent(state: AgentState) -> Self {
        match state {
            AgentState::Done => Self::Good,
            AgentState::Failed => Self::Bad,
            AgentState::Running | AgentState::Added => Self::Busy,
            AgentState::Pending | AgentState::Skipped | AgentState::Removed => Self::Faint,
        }
    }

    /// The colour of a run's status.
    pub fn of_run(status: RunStatus) -> Self {
        match status {
            RunStatus::Done => Self::Good,
            RunStatus::Failed => Self::Bad,
            RunStatus::PendingApprove
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing => Self::Busy,
            RunStatus::Pending | RunStatus::Cancelled => Self::Faint,
        }
    }

    /// `text` in this colour, if there is to be colour at all.
    pub fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Bad => "31",
            Self::Busy => "33",
            Self::Bold => "1",
            Self::Faint => "2",
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_can_not_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
        assert_eq!(clean_painted("a\x1b[2Jb\nc\u{9b}d\x1b"), "a [2Jb c d ");
        let paints =
            [Paint::Good, Paint::Bad, Paint::Busy, Paint::Bold, Paint::Faint, Paint::Plain];
        for paint in paints {
            let painted = paint.on("x", true);
            assert_eq!(clean_painted(&painted), painted, "its own colours stay");
        }
    }

    #[test]
    fn text_is_shortened_by_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }

    #[test]
    fn words_go_into_lines() {
        assert_eq!(wrap("one two  three four", 9), "one two\nthree\nfour\n");
        assert_eq!(wrap("äöüäöüäöü a", 4), "äöüäöüäöü\na\n");
        assert_eq!(wrap(" ", 4), "");
    }

    #[test]
    fn lengths_of_time_fit_their_size() {
        let shown = [0, 1_240, 59_940, 59_960, 125_000, 3_720_000].map(|ms| length(Millis(ms)));
        assert_eq!(shown, ["0.0s", "1.2s", "59.9s", "1m00s", "2m05s", "1h02m"]);
    }

    #[test]
    fn moments_lose_their_milliseconds() {
        let at = Timestamp::from_millis(1_763_802_000_123);
        assert_eq!(moment(at), "2025-11-22T09:00:00Z");
        assert_eq!(time_of_day(at), "09:00:00");
    }

    #[test]
    fn counts_name_what_there_is() {
        assert_eq!(counts(&[(AgentState::Done, 12)].into()), "12 done");
        let mixed = [(AgentState::Failed, 2), (AgentState::Done, 10), (AgentState::Running, 0)];
        assert_eq!(counts(&mixed.into()), "10 done, 2 failed");
        assert_eq!(counts(&BTreeMap::new()), "no agents");
    }
}
