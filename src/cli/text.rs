//! Text for people: made harmless, shortened, wrapped and coloured; and times, lengths of time and counts as
//! human-readable text. All widths are in columns of a terminal, not in characters or bytes.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr as _;

use crate::run::{AgentState, Millis, RunId, RunStatus, Timestamp};

pub(crate) use crate::shown::clean;

/// A line in which every character is visible, apart from the colours that [`Paint`] has added.
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

/// Columns of a terminal that `text` takes; its colours take none.
pub(crate) fn width(text: &str) -> usize {
    if text.contains('\x1b') { uncoloured(text).width() } else { text.width() }
}

/// `text` without its colours.
pub(crate) fn uncoloured(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\x1b') {
        plain.push_str(&rest[..at]);
        let code = &rest[at + 1..];
        let length = code.find('m').filter(|end| {
            code.starts_with('[') && code[1..*end].bytes().all(|b| b.is_ascii_digit() || b == b';')
        });
        rest = &code[length.map_or(0, |end| end + 1)..];
    }
    plain + rest
}

/// `text` in at most `most` columns, with a mark if something was left out.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    // There may be any number of characters that take no column.
    for c in text.chars().take(most.saturating_mul(MOST_IN_COLUMN)) {
        kept.push(c);
        if kept.width() >= most {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

/// The most characters per column that a shortened text keeps: more than any script needs.
const MOST_IN_COLUMN: usize = 4;

/// The words of `text` in lines of at most `width` columns, each with a line feed. A longer word has a line of
/// its own.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let line = wrap_line(&text.split_whitespace().collect::<Vec<_>>().join(" "), width, 0);
    if line.is_empty() { line } else { line + "\n" }
}

/// Wraps each line of `text`. Its further lines are indented like the line itself and a little more.
pub(crate) fn wrap_lines(text: &str, width: usize) -> String {
    let wrapped = text.lines().map(|line| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        wrap_line(line, width, indent + 2)
    });
    let end = if text.ends_with('\n') { "\n" } else { "" };
    wrapped.collect::<Vec<_>>().join("\n") + end
}

/// `line` wrapped into lines of at most `most` columns. All but the first are indented by `indent` spaces, or
/// fewer if a word would not fit otherwise. No line feed follows the last one.
pub(crate) fn wrap_line(line: &str, most: usize, indent: usize) -> String {
    if width(line) <= most {
        return line.to_owned();
    }
    let (mut lines, mut used) = (String::with_capacity(line.len() + 16), 0);
    for (place, word) in line.split(' ').enumerate() {
        let length = width(word);
        let gap = usize::from(place > 0);
        if !word.is_empty() && !lines.trim().is_empty() && used + gap + length > most {
            lines.truncate(lines.trim_end_matches(' ').len());
            let indent = indent.min(most.saturating_sub(length));
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            lines.push_str(word);
            used = indent + length;
        } else {
            lines.push_str(if gap > 0 { " " } else { "" });
            lines.push_str(word);
            used += gap + length;
        }
    }
    lines
}

/// A length of time, as precise as is useful: `0.4s`, `12.0s`, `2m05s`, `1h02m`.
pub(crate) fn length(length: Millis) -> String {
    let tenths = length.0.saturating_add(50) / 100;
    let seconds = tenths / 10;
    match seconds {
        0..60 => format!("{seconds}.{}s", tenths % 10),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A time to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// A time without the year, for tables that would not fit: `11-22 09:00:00`.
pub(crate) fn short_moment(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(5..19).map_or(text.clone(), |text| text.replace('T', " "))
}

/// The end of a run's identifier, which is enough to name the run. The beginning is a time, which many runs
/// have in common.
pub(crate) fn short_id(run: RunId) -> String {
    run.0.simple().to_string().split_off(24)
}

/// `text` with each run's identifier in its short form.
pub(crate) fn with_short_ids(text: &str) -> String {
    let word = |word: &str| word.parse().map_or(word.to_owned(), short_id);
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The time of day, in UTC.
pub(crate) fn time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..19).map_or(text.clone(), str::to_owned)
}

/// Counts as human-readable text: `10 done, 2 failed`.
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

/// The meaning of a colour; `Plain` is no colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Something succeeded.
    Good,
    /// Something failed.
    Bad,
    /// Something goes on, or waits for somebody.
    Busy,
    /// More important than the rest.
    Bold,
    /// Less important than the rest.
    Faint,
    /// No colour.
    Plain,
}

impl Paint {
    /// Everything that [`on`](Self::on) may put around a text.
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

    /// `text` in this colour, if `colour` allows colours.
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
    fn text_is_shortened_by_columns() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten("日本語", 6), "日本語");
        assert_eq!(shorten("日本語", 5), "日本…");
        assert_eq!(shorten("日本語", 4), "日…");
        assert!(shorten(&format!("a{}", "\u{301}".repeat(10_000)), 0).len() < 10);
        assert_eq!(width("a\u{1b}[1;31m日\u{1b}[0m"), 3);
        assert_eq!(width("\u{1b}[2Jx\u{1b}"), 4);
    }

    #[test]
    fn words_go_into_lines() {
        assert_eq!(wrap("one two  three four", 9), "one two\nthree\nfour\n");
        assert_eq!(wrap("äöüäöüäöü a", 4), "äöüäöüäöü\na\n");
        assert_eq!(wrap(" ", 4), "");
        assert_eq!(wrap("日本 日本", 8), "日本\n日本\n");
        assert_eq!(wrap_line("12:00  one two three", 10, 7), "12:00  one\n       two\n     three");
        assert_eq!(wrap_line("  \u{1b}[1mone\u{1b}[0m two", 9, 2), "  \u{1b}[1mone\u{1b}[0m two");
        assert_eq!(wrap_lines("a b\n\n  c d\n", 3), "a b\n\n  c\n  d\n");
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
        assert_eq!(short_moment(at), "11-22 09:00:00");
    }

    #[test]
    fn identifiers_have_a_short_form_by_which_runs_are_found() {
        let id = "01920000-0000-7000-8000-0000deadbeef";
        assert_eq!(short_id(id.parse().unwrap()), "deadbeef");
        assert!(short_id(id.parse().unwrap()).len() >= crate::api::MIN_DIGITS);
        let text = with_short_ids(&format!("waits for run {id} to end"));
        assert_eq!(text, "waits for run deadbeef to end");
    }

    #[test]
    fn counts_name_what_there_is() {
        assert_eq!(counts(&[(AgentState::Done, 12)].into()), "12 done");
        let mixed = [(AgentState::Failed, 2), (AgentState::Done, 10), (AgentState::Running, 0)];
        assert_eq!(counts(&mixed.into()), "10 done, 2 failed");
        assert_eq!(counts(&BTreeMap::new()), "no agents");
    }
}
