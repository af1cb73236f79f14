//! Bounds how much of a run's log is kept. When the log is full, lines are dropped: those of the least severe
//! level first, and of that level the oldest.
//!
//! The run knows its log in parts, each with lines of one level that were written one after another. Whole parts
//! are dropped. So the log can be bounded without reading it, and an engine that takes the run over bounds it in
//! the same way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::history::LogLevel;
use super::json_text::escaped_bytes;

/// The most lines that a run keeps: one line for each agent of the largest cluster.
pub const MAX_RUN_LINES: u64 = 100_000;

/// The most bytes of lines that a run keeps, as JSON: about as many as [`MAX_RUN_LINES`] ordinary lines take.
pub const MAX_RUN_LOG_BYTES: u64 = 32 * 1024 * 1024;

/// A full log is cut by a sixteenth of what it may hold. That is little enough to lose, and enough that a run
/// which logs for ever is not busy with dropping lines. It also bounds the number of parts, which every commit of
/// the run writes.
const SHARE: u64 = 16;

/// The size at which a part is complete.
const PART: Size = Size { lines: MAX_RUN_LINES / SHARE, bytes: MAX_RUN_LOG_BYTES / SHARE };

/// The size to which a full log is brought down.
const ROOM: Size =
    Size { lines: MAX_RUN_LINES - PART.lines, bytes: MAX_RUN_LOG_BYTES - PART.bytes };

/// Bytes of a line apart from its texts, as JSON. It is approximate, and rarely too low.
const LINE_BYTES: u64 = 256;

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    lines: u64,
    bytes: u64,
}

impl Size {
    fn exceeds(self, most: Self) -> bool {
        self.lines > most.lines || self.bytes > most.bytes
    }
}

/// What a run knows about its own log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogKept {
    /// Number of the last line that was logged.
    #[serde(default)]
    pub last: u64,
    /// Sequence of the last event before the strategy's last line.
    #[serde(default)]
    after: u64,
    /// Number of the strategy's last line, among its lines that follow the same event.
    #[serde(default)]
    line: u32,
    /// The parts that are kept; of each level, the oldest comes first.
    #[serde(default)]
    parts: Vec<LogPart>,
    /// How many lines were dropped, by level.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<LogLevel, u64>,
    /// Dropped lines that may still be in the store: at most one entry for each level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub going: Vec<OldLines>,
}

/// Consecutive lines of one level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
struct LogPart {
    #[serde(flatten)]
    which: OldLines,
    lines: u64,
    bytes: u64,
}

/// Lines of one level: those up to a number that follow certain events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OldLines {
    /// Level of the lines.
    pub level: LogLevel,
    /// Sequence of the event before the first line.
    pub from: u64,
    /// Sequence of the event before the last line.
    pub to: u64,
    /// Number of the last line within the run.
    pub last: u64,
}

impl LogKept {
    /// Whether nothing was ever logged.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Number of lines that are kept.
    pub fn lines(&self) -> u64 {
        self.size().lines
    }

    /// Bytes of the lines that are kept, approximately.
    pub fn bytes(&self) -> u64 {
        self.size().bytes
    }

    fn size(&self) -> Size {
        self.parts.iter().fold(Size::default(), |Size { lines, bytes }, part| Size {
            lines: lines + part.lines,
            bytes: bytes + part.bytes,
        })
    }

    /// Counts a line that follows `event`, and returns its number within the run.
    pub(super) fn add(&mut self, level: LogLevel, event: u64, texts: &[&str]) -> u64 {
        self.last += 1;
        let texts: u64 = texts.iter().map(|text| escaped_bytes(text) as u64).sum();
        let bytes = LINE_BYTES + texts;
        let is_open = |part: &&mut LogPart| {
            part.which.level == level && part.lines < PART.lines && part.bytes < PART.bytes
        };
        match self.parts.iter_mut().rfind(is_open) {
            Some(part) => {
                (part.which.to, part.which.last) = (event, self.last);
                part.lines += 1;
                part.bytes += bytes;
            }
            None => {
                let which = OldLines { level, from: event, to: event, last: self.last };
                self.parts.push(LogPart { which, lines: 1, bytes });
            }
        }
        self.last
    }

    /// Takes the number of the strategy's next line among its lines that follow `event`. The strategy may write
    /// several lines before another event happens.
    pub(super) fn next_of_strategy(&mut self, event: u64) -> u32 {
        if self.after != event {
            (self.after, self.line) = (event, 0);
        }
        self.line = self.line.saturating_add(1);
        self.line
    }

    /// The number that the strategy's next line will get.
    pub(super) const fn line_of_strategy(&self, event: u64) -> u32 {
        if self.after == event { self.line.saturating_add(1) } else { 1 }
    }

    /// Drops parts until the log has room again, if it is full.
    pub(super) fn bound(&mut self) {
        let all = Size { lines: MAX_RUN_LINES, bytes: MAX_RUN_LOG_BYTES };
        if !self.size().exceeds(all) {
            return;
        }
        while self.size().exceeds(ROOM) {
            let oldest = (0..self.parts.len()).min_by_key(|index| {
                // The first part of a level is its oldest.
                self.parts.get(*index).map(|part| part.which.level)
            });
            let Some(oldest) = oldest else { return };
            let LogPart { which, lines, bytes: _ } = self.parts.remove(oldest);
            *self.dropped.entry(which.level).or_default() += lines;
            match self.going.iter_mut().find(|going| going.level == which.level) {
                // No line between the two is kept, since the oldest lines of a level are dropped first.
                Some(going) => (going.to, going.last) = (which.to, which.last),
                None => self.going.push(which),
            }
        }
    }

    /// Notes that these lines are no longer in the store.
    pub(super) fn gone(&mut self, lines: &OldLines) {
        self.going.retain(|going| going != lines);
    }
}

/// Which lines were dropped, as human-readable text; `None` if none were.
///
/// # Example
/// ```
/// use std::collections::BTreeMap;
///
/// use replibook_core::run::{LogLevel, dropped_in_words};
///
/// assert_eq!(dropped_in_words(&BTreeMap::new()), None);
/// let dropped = BTreeMap::from([(LogLevel::Info, 7), (LogLevel::Debug, 6_250)]);
/// let words = dropped_in_words(&dropped).unwrap_or_default();
/// assert!(words.starts_with("older lines are gone (6250 debug, 7 info)"), "{words}");
/// ```
pub fn dropped_in_words(dropped: &BTreeMap<LogLevel, u64>) -> Option<String> {
    let counts = dropped.iter().map(|(level, lines)| format!("{lines} {}", level.as_str()));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let most = MAX_RUN_LOG_BYTES >> 20;
    (!dropped.is_empty()).then(|| {
        format!(
            "older lines are gone ({counts}): a run keeps {MAX_RUN_LINES} lines or {most} MiB of them, \
             and the least severe go first"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as a store would keep them.
    #[derive(Default)]
    struct Stored {
        log: LogKept,
        lines: Vec<(LogLevel, u64, u64)>,
    }

    impl Stored {
        fn write(&mut self, level: LogLevel, event: u64, text: &str) {
            let number = self.log.add(level, event, &[text]);
            self.lines.push((level, event, number));
            self.log.bound();
            for gone in self.log.going.clone() {
                self.lines.retain(|(level, event, number)| {
                    let is_gone = *level == gone.level
                        && (gone.from..=gone.to).contains(event)
                        && *number <= gone.last;
                    !is_gone
                });
                self.log.gone(&gone);
            }
        }

        fn count(&self, level: LogLevel) -> u64 {
            self.lines.iter().filter(|line| line.0 == level).count() as u64
        }
    }

    #[test]
    fn the_oldest_of_the_least_severe_go_first_and_what_is_left_is_counted_right() {
        use LogLevel::{Debug, Error, Info, Warn};
        let mut stored = Stored::default();
        for number in 0..3 * MAX_RUN_LINES {
            let level = match number % 20 {
                0 => Error,
                1..8 => Info,
                8 => Warn,
                _ => Debug,
            };
            stored.write(level, number / 7, "x");
            if number % 1_000 == 0 {
                assert_eq!(stored.log.lines(), stored.lines.len() as u64);
                assert!(stored.log.lines() <= MAX_RUN_LINES);
                assert!(stored.log.parts.len() <= 2 * SHARE as usize + 4, "{:?}", stored.log);
            }
        }
        let written = |share: u64| 3 * MAX_RUN_LINES * share / 20;
        assert_eq!(stored.count(Error), written(1));
        assert_eq!(stored.count(Warn), written(1));
        let kept = stored.count(Info);
        assert!(kept > written(1) && kept < written(7), "{kept} of info");
        assert_eq!(stored.log.dropped[&Info], written(7) - kept, "{:?}", stored.log.dropped);
        let first = stored.lines.iter().find(|line| line.0 == Info).unwrap().2;
        assert!(first > MAX_RUN_LINES, "the oldest went: {first} is kept");
        assert!(!stored.log.dropped.contains_key(&Warn));
        let words = dropped_in_words(&stored.log.dropped).unwrap();
        assert!(words.starts_with("older lines are gone (16"), "{words}");
        assert!(words.contains("info): a run keeps 100000 lines or 32 MiB of them"), "{words}");
        assert_eq!(dropped_in_words(&BTreeMap::new()), None);
    }

    #[test]
    fn errors_alone_are_bounded_too_and_bytes_count_as_they_are_escaped() {
        let mut stored = Stored::default();
        // JSON escapes each of these characters, which makes the text six times as long.
        let text = "\u{1}".repeat(8 * 1024);
        for number in 0..4_000 {
            stored.write(LogLevel::Error, number, &text);
        }
        assert!(stored.log.bytes() <= MAX_RUN_LOG_BYTES);
        let most = MAX_RUN_LOG_BYTES / (6 * 8 * 1024);
        assert!((most / 2..=most).contains(&stored.count(LogLevel::Error)), "{most}");
        assert_eq!(stored.lines.last().unwrap().2, 4_000, "the newest stay");
    }

    #[test]
    fn lines_of_a_strategy_that_follow_one_event_have_numbers_of_their_own() {
        let mut log = LogKept::default();
        let numbers = [3, 3, 3, 4, 4].map(|event| log.next_of_strategy(event));
        assert_eq!(numbers, [1, 2, 3, 1, 2]);
        let text = serde_json::to_string(&log).unwrap();
        let mut again: LogKept = serde_json::from_str(&text).unwrap();
        assert_eq!(again.next_of_strategy(4), 3);
    }
}
