//! How an engine stands among those that share its store: how many runs are its share, and whether others have
//! room for more.
//!
//! An engine with more than its share lets others claim first, and hands over its surplus while nothing of those
//! runs is in flight. There is some slack between the two, so that no run goes back and forth.

use std::collections::BTreeSet;

use super::places::QUEUED;
use crate::run::{EngineId, Millis, Timestamp};
use crate::store::{Engine, RENEWAL};
use replibook_core::mutant;

/// How often an engine reports its state, and looks at the others.
pub(super) const BEAT: Millis = RENEWAL;

/// An engine that has missed three beats no longer counts: its runs are taken over soon.
const ALIVE: Millis = Millis(3 * RENEWAL.0 + 1_000);

/// How many runs beyond its share an engine keeps at least, so that none goes back and forth because of one more
/// or less.
const SLACK: usize = 1;

/// The same as a part of the share: within a tenth, the runs count as evenly spread.
const SLACK_PART: usize = 10;

/// How many runs may leave at once: another engine has to load each of them anew.
const LEAVING_AT_ONCE: usize = 50;

/// How long after a run left an engine must have reported for the report to count the run: several of its looks.
const KNOWN_AFTER: Millis = Millis::from_secs(1);

/// How long runs without an engine may remain before an engine stops leaving runs to the others: several of their
/// looks.
pub(super) const LEFT: Millis = Millis::from_secs(3);

/// How long until an engine tries again to leave runs to the others: what kept them from taking any may be over by
/// then. Runs that are left to them in vain have no engine for seconds, so it doesn't try more often.
const AGAIN: Millis = Millis::from_secs(60);

/// Whether the others take the runs that are left to them. They may have no room for the cluster of these runs, or
/// be too old for them; an engine can't see that in their reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Takers {
    left_since: Option<Timestamp>,
    failed: Option<Timestamp>,
}

impl Takers {
    /// Records how many runs have no engine. Returns whether any are to be left to the others.
    pub(super) fn look(&mut self, unclaimed: u32, now: Timestamp) -> bool {
        if unclaimed == 0 {
            self.left_since = None;
        } else if now.since(*self.left_since.get_or_insert(now)) >= LEFT {
            self.failed = Some(now);
        }
        self.failed.is_none_or(|failed| now.since(failed) >= AGAIN)
    }
}

/// How an engine stands among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    share: usize,
    others_have_room: bool,
    /// When the engine that has been silent the longest, among the others, last reported.
    heard: Option<Timestamp>,
}

/// The engines other than `own` that are alive and may take runs, whether they have room or not.
pub(super) fn others(engines: &[Engine], own: &EngineId) -> BTreeSet<EngineId> {
    takers(engines, own).map(|engine| engine.report.id.clone()).collect()
}

/// For how many runs those engines have places, by their reports.
pub(super) fn room_elsewhere(engines: &[Engine], own: &EngineId) -> usize {
    let room = |engine: &Engine| engine.report.max_runs - engine.report.runs;
    let rooms = takers(engines, own).filter(|engine| has_room(engine)).map(room);
    rooms.filter_map(|room| usize::try_from(room).ok()).fold(0, usize::saturating_add)
}

fn takers<'a>(engines: &'a [Engine], own: &'a EngineId) -> impl Iterator<Item = &'a Engine> {
    let newest = newest(engines);
    engines.iter().filter(move |engine| engine.report.id != *own && is_there(engine, newest))
}

impl Standing {
    /// How `own` stands among these engines, when `unclaimed` runs have no engine.
    pub(super) fn of(engines: &[Engine], own: &EngineId, unclaimed: u32) -> Self {
        let newest = newest(engines);
        let is_own = |engine: &Engine| engine.report.id == *own;
        let takes =
            |engine: &&Engine| is_there(engine, newest) && has_room(engine) || is_own(engine);
        let taking: Vec<_> = engines.iter().filter(takes).collect();
        let unclaimed = usize::try_from(unclaimed).unwrap_or(usize::MAX);
        let all = taking.iter().map(|engine| runs(engine)).fold(unclaimed, usize::saturating_add);
        let share = all.div_ceil(taking.len().max(1));
        let others = || taking.iter().filter(|engine| !is_own(engine));
        Self {
            share,
            others_have_room: others().any(|engine| runs(engine) < share),
            heard: others().map(|engine| engine.seen).min(),
        }
    }

    /// How many runs are the engine's share. None if the others have no room for more.
    pub(super) fn share(&self) -> Option<usize> {
        self.others_have_room.then_some(self.share)
    }

    /// Whether the reports of the others include the runs that left here until `last`.
    pub(super) fn knows_of(&self, last: Timestamp) -> bool {
        self.heard.is_none_or(|heard| heard >= last.plus(KNOWN_AFTER))
    }

    /// The most runs that the engine claims of its own accord; None, and so no limit, if the others have no room.
    pub(super) fn most(&self) -> Option<usize> {
        self.others_have_room.then(|| self.share + self.slack())
    }

    /// How many runs of an engine that has `mine` may go, in addition to the `leaving` ones that are on their way
    /// out.
    pub(super) fn surplus(&self, mine: usize, leaving: usize) -> usize {
        if !self.others_have_room || mine <= self.share + self.slack() {
            return 0;
        }
        (mine - self.share).min(LEAVING_AT_ONCE).saturating_sub(leaving)
    }

    fn slack(&self) -> usize {
        SLACK.max(self.share / SLACK_PART)
    }
}

fn newest(engines: &[Engine]) -> Timestamp {
    engines.iter().map(|engine| engine.seen).max().unwrap_or_default()
}

/// Whether an engine takes up runs while it has room for them. It does not if it is drained or gone, or if its
/// clock is far off.
fn is_there(engine: &Engine, newest: Timestamp) -> bool {
    let is_alive = newest.since(engine.seen) <= ALIVE;
    let is_off = engine.report.skew().is_too_large() && !mutant!(ClockOffTakesRuns);
    is_alive && engine.draining.is_none() && !is_off
}

/// Whether the engine has room, by its report.
fn has_room(engine: &Engine) -> bool {
    let report = &engine.report;
    report.runs < report.max_runs && (report.queued as usize) < QUEUED
}

fn runs(engine: &Engine) -> usize {
    let runs = engine.report.runs.saturating_add(engine.report.queued);
    usize::try_from(runs).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::samples::report;
    use super::*;
    use crate::store::Draining;

    fn engine(id: &str, runs: u32, seen: i64) -> Engine {
        let report = report(id, runs, 1_000);
        Engine { report, seen: Timestamp::from_millis(seen), draining: None }
    }

    fn stands(engines: &[Engine], own: &str) -> (usize, Option<usize>) {
        let standing = Standing::of(engines, &EngineId(own.to_owned()), 0);
        (standing.share, standing.most())
    }

    #[test]
    fn an_engine_alone_claims_what_it_can() {
        assert_eq!(stands(&[], "a"), (0, None));
        assert_eq!(stands(&[engine("a", 500, 0)], "a"), (500, None));
        let silent = [engine("a", 500, 20_000), engine("b", 0, 0)];
        assert_eq!(stands(&silent, "a"), (500, None));
        let mut draining = [engine("a", 500, 0), engine("b", 0, 0)];
        draining[1].draining =
            Some(Draining { since: Timestamp::default(), actor: None, reason: None });
        assert_eq!(stands(&draining, "a"), (500, None));
        let mut full = [engine("a", 500, 0), engine("b", 3, 0)];
        full[1].report.max_runs = 3;
        assert_eq!(stands(&full, "a"), (500, None));
        let mut off = [engine("a", 500, 0), engine("b", 0, 0)];
        off[1].report.clock_ahead = -60_001;
        assert_eq!(stands(&off, "a"), (500, None));
        off[1].report.clock_ahead = -60_000;
        assert_eq!(stands(&off, "a"), (250, Some(275)));
    }

    #[test]
    fn only_other_engines_that_take_runs_have_room() {
        let own = EngineId("a".to_owned());
        let mut engines = [engine("a", 0, 20_000), engine("b", 998, 20_000), engine("c", 0, 0)];
        assert_eq!(room_elsewhere(&engines, &own), 2);
        engines[1].report.clock_ahead = 60_001;
        assert_eq!(room_elsewhere(&engines, &own), 0);
        engines[1].report.clock_ahead = 0;
        engines[1].draining =
            Some(Draining { since: Timestamp::default(), actor: None, reason: None });
        assert_eq!(room_elsewhere(&engines, &own), 0);
    }

    #[test]
    fn who_has_more_than_its_share_hands_some_over_a_few_at_a_time() {
        let engines = [engine("a", 500, 0), engine("b", 0, 4_000), engine("c", 0, 8_000)];
        assert_eq!(stands(&engines, "a"), (167, Some(183)));
        let standing = Standing::of(&engines, &EngineId("a".to_owned()), 0);
        assert_eq!(standing.surplus(500, 0), LEAVING_AT_ONCE);
        assert_eq!(standing.surplus(500, 20), LEAVING_AT_ONCE - 20);
        assert_eq!(standing.surplus(184, 0), 17);
        assert_eq!(standing.surplus(184, 17), 0);
        assert_eq!(standing.surplus(183, 0), 0);
        assert_eq!(standing.share(), Some(167));
    }

    #[test]
    fn what_others_said_too_early_does_not_include_what_went() {
        let engines = [engine("a", 5, 9_000), engine("b", 0, 4_000), engine("c", 0, 8_000)];
        let standing = Standing::of(&engines, &EngineId("a".to_owned()), 0);
        assert!(standing.knows_of(Timestamp::from_millis(3_000)));
        assert!(!standing.knows_of(Timestamp::from_millis(3_001)));
        assert!(Standing::default().knows_of(Timestamp::from_millis(3_001)));
    }

    #[test]
    fn the_others_are_those_that_may_take_runs_whether_full_or_not() {
        let mut engines =
            ["own", "full", "draining", "off", "gone"].map(|id| engine(id, 0, 20_000));
        engines[1].report.max_runs = 0;
        engines[2].draining =
            Some(Draining { since: Timestamp::default(), actor: None, reason: None });
        engines[3].report.clock_ahead = 60_001;
        engines[4].seen = Timestamp::default();
        let others = others(&engines, &EngineId("own".to_owned()));
        assert_eq!(others, BTreeSet::from([EngineId("full".to_owned())]));
    }

    #[test]
    fn nothing_goes_back_and_forth_for_a_run_or_two() {
        for (a, b) in [(1, 0), (2, 0), (3, 1), (3, 2), (100, 96)] {
            let engines = [engine("a", a, 0), engine("b", b, 0)];
            let standing = Standing::of(&engines, &EngineId("a".to_owned()), 0);
            assert_eq!(standing.surplus(a as usize, 0), 0, "{a} {b}");
        }
        let engines = [engine("a", 6, 0), engine("b", 0, 0)];
        let standing = Standing::of(&engines, &EngineId("a".to_owned()), 0);
        assert_eq!(standing.surplus(6, 0), 3);
    }

    #[test]
    fn runs_that_no_engine_has_count_for_the_share() {
        let engines = [engine("a", 50, 0), engine("b", 0, 0)];
        let standing = Standing::of(&engines, &EngineId("a".to_owned()), 50);
        assert_eq!((standing.share, standing.surplus(50, 0)), (50, 0));
    }

    #[test]
    fn what_others_do_not_take_is_left_to_them_no_more_for_a_while() {
        let mut takers = Takers::default();
        let mut look = |unclaimed, at| takers.look(unclaimed, Timestamp::from_millis(at));
        assert!(look(50, 0));
        assert!(look(0, 5_000), "they took them");
        assert!(look(50, 10_000));
        assert!(look(50, 12_999));
        assert!(!look(50, 13_000));
        assert!(!look(0, 72_999));
        assert!(look(0, 73_000));
        assert!(look(50, 74_000));
    }
}
