//! Engines: `get engines`, `engine drain` and `engine undrain`, with which an operator empties an engine before
//! stopping it.

use clap::Subcommand;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Console, Row};
use super::rows::or_dash;
use super::table::Narrower;
use super::text::{Paint, clean, moment, plural, short_moment};
use super::who::who;
use crate::api::wire::{DrainEngine, EngineState, EngineView, FileDiffers};
use crate::store::{ACCESS_FILE, CREDENTIALS_FOLDER, POLICY_FILE, SECRETS_FOLDER};

/// Characters of an identifier that are enough to name an engine.
const MIN_ID_PREFIX: usize = 4;

/// What to do with an engine.
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Make an engine hand over its runs and take no more, until `undrain`
    ///
    /// `get engines` shows how many runs it still drives, according to its last report, at most 4 s ago.
    Drain {
        /// Name of the engine, or the first digits of its identifier
        #[arg(value_name = "NAME|ID")]
        engine: String,
        /// Why, for everybody who looks at the engines
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let an engine take runs again
    Undrain {
        /// Name of the engine, or the first digits of its identifier
        #[arg(value_name = "NAME|ID")]
        engine: String,
    },
}

/// Runs `engine`.
pub(crate) async fn engine_command(
    client: &Client,
    command: &EngineCommand,
    console: &Console,
) -> Result<Exit, CliError> {
    let (name, drain, reason) = match command {
        EngineCommand::Drain { engine, reason } => (engine, true, reason.clone()),
        EngineCommand::Undrain { engine } => (engine, false, None),
    };
    let all = client.engines().await?.items;
    let engine = find_engine(&all, name)?;
    let request = DrainEngine { drain, actor: who(), reason };
    let asked = client.drain_engine(&engine.id, &request).await?;
    console.one(&asked)?;
    if let Some(already) = drained_already(engine).filter(|_| drain) {
        console.say(&clean(&already));
    }
    if let Some(warning) = left_standing(&all, &asked).filter(|_| drain) {
        console.say(&warning);
    }
    Ok(Exit::Ok)
}

/// What to say when the engine is being drained already: who asked first, and why, stays as it is.
fn drained_already(engine: &EngineView) -> Option<String> {
    let since = moment(engine.draining_since?);
    let by = engine.drained_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = engine.drain_reason.as_ref().map(|why| format!(": {why:?}")).unwrap_or_default();
    Some(format!("it is being drained already, since {since}{by}{why}; that stays as it is"))
}

/// What to say if, by their last reports, the other engines can't take all runs of the engine that is drained.
fn left_standing(all: &[EngineView], drained: &EngineView) -> Option<String> {
    let takes = |other: &&EngineView| other.id != drained.id && other.state == EngineState::Active;
    let others: Vec<_> = all.iter().filter(takes).collect();
    if others.is_empty() {
        return Some("no other engine is active, so its runs stand still until one is".to_owned());
    }
    let room = |engine: &&EngineView| u64::from(engine.max_runs.saturating_sub(engine.runs));
    let room: u64 = others.iter().map(room).sum();
    let runs = u64::from(drained.runs);
    (room < runs).then(|| {
        format!(
            "the other engines have room for {room} of its {}: the rest of its runs stand still until a place \
             is free",
            plural(runs, "run")
        )
    })
}

/// The engine with this name, or whose identifier begins so.
pub(crate) fn find_engine<'a>(
    all: &'a [EngineView],
    name: &str,
) -> Result<&'a EngineView, CliError> {
    let by_id = |engine: &EngineView| name.len() >= MIN_ID_PREFIX && engine.id.0.starts_with(name);
    let is_there = |engine: &EngineView| engine.state != EngineState::Silent;
    let found: Vec<_> = all.iter().filter(|e| e.name == name || by_id(e)).collect();
    // An engine that was restarted has the same name as its predecessor.
    let there: Vec<_> = found.iter().filter(|engine| is_there(engine)).copied().collect();
    match (if there.is_empty() { &found } else { &there }).as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::NotFound(format!(
            "found no engine {name:?}; `replictl get engines` lists them"
        ))),
        several => Err(CliError::NotFound(format!(
            "{} go by {name:?}; give the identifier of one: {}",
            plural(u64::try_from(several.len()).unwrap_or(u64::MAX), "engine"),
            several.iter().map(|engine| engine.id.0.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Says why the engines that are shown can't write, and which files not all engines have in common: that is too long for
/// columns.
pub(crate) fn say_problems(console: &Console, shown: &[EngineView], all: &[EngineView]) {
    for problem in problems(shown, all) {
        console.say(&clean(&problem));
    }
}

fn problems(shown: &[EngineView], all: &[EngineView]) -> Vec<String> {
    let unwritten = shown.iter().filter_map(|engine| {
        engine.problem.as_ref().map(|problem| format!("{} can't write: {problem}", engine.name))
    });
    unwritten.chain(FileDiffers::among(all).iter().map(ToString::to_string)).collect()
}

impl Row for EngineView {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "STATE", "RUNS", "QUEUED", "VERSION", "CLOCK", "SEEN"];
        if wide {
            headings.extend([
                "ID",
                "HOST",
                "ADDRESS",
                "STARTED",
                "POLICY",
                "CREDENTIALS",
                "SECRETS",
                "ACCESS",
            ]);
            headings.extend(["DRAINED BY", "REASON"]);
        }
        headings
    }

    fn narrower() -> &'static [Narrower] {
        // If an engine is silent or its clock is off, its state says so.
        &[
            Narrower::Short("SEEN"),
            Narrower::Without("VERSION"),
            Narrower::Without("SEEN"),
            Narrower::Without("QUEUED"),
            Narrower::Without("CLOCK"),
            Narrower::Cut,
        ]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "SEEN").then(|| short_moment(self.seen))
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.name.clone(),
            self.state.as_str().to_owned(),
            format!("{}/{}", self.runs, self.max_runs),
            self.queued.to_string(),
            self.version.clone(),
            clock(self.clock_ahead),
            moment(self.seen),
        ];
        if wide {
            cells.extend([
                self.id.0.clone(),
                self.host.clone(),
                or_dash(self.address.as_deref()),
                moment(self.started),
                sum(self, POLICY_FILE),
                sum(self, CREDENTIALS_FOLDER),
                sum(self, SECRETS_FOLDER),
                sum(self, ACCESS_FILE),
                or_dash(self.drained_by.as_deref()),
                or_dash(self.drain_reason.as_deref()),
            ]);
        }
        cells
    }

    fn paint(&self) -> (&str, Paint) {
        let paint = match self.state {
            EngineState::Active => Paint::Good,
            EngineState::Draining => Paint::Plain,
            EngineState::Silent | EngineState::ClockOff | EngineState::CantWrite => Paint::Bad,
        };
        (self.state.as_str(), paint)
    }

    fn name(&self) -> String {
        self.id.0.clone()
    }
}

/// The beginning of the digest of a file by which the engine's server goes.
fn sum(engine: &EngineView, file: &str) -> String {
    match engine.files.get(file) {
        Some(Some(digest)) => digest.short().to_owned(),
        Some(None) => "-".to_owned(),
        // Its version does not say.
        None => "?".to_owned(),
    }
}

/// How far a clock is off, in seconds.
fn clock(ahead: i64) -> String {
    let tenths = ahead.unsigned_abs().saturating_add(50) / 100;
    // A difference that rounds to zero is neither ahead nor behind.
    let sign = if ahead < 0 && tenths > 0 { '-' } else { '+' };
    format!("{sign}{}.{}s", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::table_within;
    use crate::cli::text::width;
    use crate::run::{Digest, EngineId, Timestamp};

    fn engine(id: &str, name: &str, state: EngineState) -> EngineView {
        EngineView {
            id: EngineId(id.to_owned()),
            name: name.to_owned(),
            state,
            runs: 3,
            queued: 0,
            max_runs: 10,
            version: "0.1.0".to_owned(),
            host: "a".to_owned(),
            address: None,
            clock_ahead: -1_449,
            started: Timestamp::default(),
            seen: Timestamp::default(),
            files: [(POLICY_FILE.to_owned(), None)].into(),
            draining_since: None,
            drained_by: None,
            drain_reason: None,
            problem: None,
        }
    }

    #[test]
    fn a_drain_says_when_the_others_have_no_room_for_all_runs() {
        let drained = engine("abcd-1", "one", EngineState::Draining);
        let said = |others: &[(EngineState, u32)]| {
            let other = |(number, (state, runs)): (usize, &(EngineState, u32))| EngineView {
                runs: *runs,
                ..engine(&format!("other-{number}"), "other", *state)
            };
            let mut all: Vec<_> = others.iter().enumerate().map(other).collect();
            all.push(drained.clone());
            left_standing(&all, &drained)
        };
        let none = "no other engine is active";
        assert!(said(&[]).unwrap().starts_with(none));
        let gone = [EngineState::Silent, EngineState::ClockOff, EngineState::Draining];
        assert!(said(&gone.map(|state| (state, 0))).unwrap().starts_with(none));
        assert_eq!(said(&[(EngineState::Active, 7)]), None);
        assert_eq!(said(&[(EngineState::Active, 9), (EngineState::Active, 8)]), None);
        let full = said(&[(EngineState::Active, 12), (EngineState::Active, 8)]).unwrap();
        assert!(full.starts_with("the other engines have room for 2 of its 3 runs: "), "{full}");
    }

    #[test]
    fn one_engine_is_shown_with_its_own_problem_and_with_files_that_are_not_those_of_the_others() {
        let mut all =
            ["one", "two"].map(|name| engine(&format!("id-{name}"), name, EngineState::CantWrite));
        all[1].problem = Some("the disk is full".to_owned());
        assert_eq!(problems(&all[..1], &all), Vec::<String>::new());
        assert_eq!(problems(&all[1..], &all), ["two can't write: the disk is full"]);
        all[0].files.insert(POLICY_FILE.to_owned(), Some(Digest::of(b"rules")));
        let [differs]: [String; 1] = problems(&all[..1], &all).try_into().unwrap();
        assert!(differs.starts_with("engines do not have the same policy: "), "{differs}");
        assert_eq!(problems(&all[1..], &all).len(), 2);
        let shown = [(0, POLICY_FILE), (1, POLICY_FILE), (1, CREDENTIALS_FOLDER)];
        let shown = shown.map(|(at, file)| sum(&all[at], file));
        assert_eq!(shown, [Digest::of(b"rules").short(), "-", "?"]);
    }

    #[test]
    fn an_engine_that_is_being_drained_already_says_by_whom_and_why() {
        let mut engine = engine("abcd-1", "one", EngineState::Draining);
        assert_eq!(drained_already(&engine), None);
        engine.draining_since = Some(Timestamp::default());
        let since = "it is being drained already, since 1970-01-01T00:00:00Z";
        let plain = format!("{since}; that stays as it is");
        assert_eq!(drained_already(&engine), Some(plain));
        engine.drained_by = Some("ann".to_owned());
        engine.drain_reason = Some("new disk".to_owned());
        let told = format!("{since} by ann: \"new disk\"; that stays as it is");
        assert_eq!(drained_already(&engine), Some(told));
    }

    #[test]
    fn an_engine_goes_by_its_name_or_the_beginning_of_its_identifier() {
        let all = [
            engine("abcd-1", "one", EngineState::Silent),
            engine("abce-2", "one", EngineState::Active),
            engine("ffff-3", "two", EngineState::Silent),
        ];
        let id = |name| find_engine(&all, name).map(|engine| engine.id.0.clone());
        assert_eq!(id("one").unwrap(), "abce-2", "the other one is gone");
        assert_eq!(id("abcd").unwrap(), "abcd-1");
        assert_eq!(id("two").unwrap(), "ffff-3");
        assert!(id("abc").unwrap_err().to_string().contains("found no engine"));
        let twice = [all[1].clone(), engine("abce-9", "one", EngineState::Draining)];
        let error = find_engine(&twice, "one").unwrap_err().to_string();
        assert!(error.contains("2 engines go by") && error.contains("abce-9"), "{error}");
    }

    #[test]
    fn an_engine_with_its_clock_off_is_shown_as_such_within_80_columns() {
        let mut off = engine("abcd-1", "db-host-17-0042", EngineState::ClockOff);
        (off.clock_ahead, off.runs, off.max_runs) = (3_600_000, 1_000, 1_000);
        let shown = table_within(&[off.clone()], false, false, Some(80));
        assert!(shown.lines().all(|line| width(line) <= 80), "{shown}");
        let row =
            "db-host-17-0042  clock-off  1000/1000  0       0.1.0    +3600.0s  01-01 00:00:00";
        assert!(shown.contains(row), "{shown}");
        let narrow = table_within(&[off.clone()], false, false, Some(60));
        assert!(narrow.contains("clock-off") && narrow.contains("+3600.0s"), "{narrow}");
        let narrow = table_within(&[off], false, false, Some(40));
        let expected = "NAME             STATE      RUNS\ndb-host-17-0042  clock-off  1000/1000\n";
        assert_eq!(narrow, expected);
    }

    #[test]
    fn a_clock_is_shown_in_tenths_of_a_second() {
        assert_eq!(
            [0, 49, -49, 50, -50, -1_449, 61_000].map(clock),
            ["+0.0s", "+0.0s", "+0.0s", "+0.1s", "-0.1s", "-1.4s", "+61.0s"]
        );
    }
}
