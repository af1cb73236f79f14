//! Makes valid guards of what a Cluster document says.

use std::collections::BTreeSet;

use super::calendar::{self, EVERY_EXPECTED, ZONE_EXPECTED};
use super::document::{FreezeFile, GuardFile, WindowFile};
use super::model::{
    ATTRIBUTES, CLOSED, ClusterGuards, FREEZE, Freeze, Guard, HEALTHY, MAX_WINDOW, WINDOWS, Window,
};
use crate::playbook::document_cluster::ClusterSpec;
use crate::playbook::model::Amount;
use crate::playbook::names;
use crate::playbook::problem::{Problem, code};
use crate::playbook::units;
use crate::time::{Millis, Timestamp};

/// What a guard may be `by`, as human-readable text.
const BY_EXPECTED: &str = "\"attributes.\" and the name of an attribute: attributes.zone";

/// What a moment may be, as human-readable text.
const MOMENT_EXPECTED: &str = "RFC 3339 with an offset, for example 2026-12-23T18:00:00+01:00";

/// Takes the guards out of the document of a cluster.
pub(in crate::playbook) fn guards(
    spec: &mut ClusterSpec,
    problems: &mut Vec<Problem>,
) -> ClusterGuards {
    let mut reader = Reader { problems };
    let (guards, windows) = (std::mem::take(&mut spec.guards), std::mem::take(&mut spec.windows));
    let freezes = std::mem::take(&mut spec.freeze);
    reader.unique(guards.iter().map(|guard| guard.name.as_str()));
    ClusterGuards {
        guards: guards.into_iter().enumerate().map(|(at, file)| reader.guard(at, file)).collect(),
        healthy: spec.healthy.take().unwrap_or_else(|| vec![HEALTHY.to_owned()]),
        windows: windows
            .into_iter()
            .enumerate()
            .filter_map(|(at, file)| reader.window(at, file))
            .collect(),
        freezes: freezes
            .into_iter()
            .enumerate()
            .filter_map(|(at, file)| reader.freeze(at, file))
            .collect(),
        closed: None,
    }
}

struct Reader<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn bad(&mut self, path: &str, message: &str, found: &str, expected: &str) {
        let problem = Problem::new(code::BAD_VALUE, path, message);
        self.problems.push(problem.found(found).expected(expected));
    }

    fn unique<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut known = BTreeSet::new();
        for (at, name) in names.enumerate() {
            let path = format!("/spec/guards/{at}/name");
            if [WINDOWS, FREEZE, CLOSED].contains(&name) {
                let message = "this name is taken";
                self.bad(
                    &path,
                    message,
                    &format!("{name:?}"),
                    "another name: this one stands for all windows or freezes, or for a closed cluster",
                );
            } else if !known.insert(name) {
                let message = "another guard of the cluster has the same name";
                self.problems.push(Problem::new(code::DUPLICATE, path, message).found(name));
            }
        }
    }

    fn guard(&mut self, at: usize, file: GuardFile) -> Guard {
        let GuardFile { name, by, max_out, groups } = file;
        let path = |key: &str| format!("/spec/guards/{at}/{key}");
        if let Some(by) = &by {
            let attribute = by.strip_prefix(ATTRIBUTES);
            if !attribute.is_some_and(names::is_identifier) {
                self.bad(
                    &path("by"),
                    "not an attribute of agents",
                    &format!("{by:?}"),
                    BY_EXPECTED,
                );
            }
        } else if groups.is_some() {
            let message = "\"groups\" needs \"by\": without it all agents are one group";
            self.problems.push(Problem::new(code::BAD_VALUE, path("groups"), message));
        }
        let amount = units::parse_amount(&max_out).unwrap_or_else(|| {
            let found = max_out.to_string();
            self.bad(&path("max_out"), "not a number of agents", &found, units::AMOUNT_EXPECTED);
            Amount::Count(0)
        });
        Guard { name, by, max_out: amount, groups }
    }

    fn window(&mut self, at: usize, file: WindowFile) -> Option<Window> {
        let path = |key: &str| format!("/spec/windows/{at}/{key}");
        let WindowFile { every, length, zone } = file;
        let zone = zone.unwrap_or_else(|| "UTC".to_owned());
        if let Err(message) = calendar::check_every(&every) {
            self.bad(&path("every"), &message, &format!("{every:?}"), EVERY_EXPECTED);
        }
        if !calendar::is_zone(&zone) {
            self.bad(&path("zone"), "no such time zone", &format!("{zone:?}"), ZONE_EXPECTED);
        }
        let read = units::parse_duration(&length);
        let found = format!("{length:?}");
        match read {
            Some(length) if length <= MAX_WINDOW => return Some(Window { every, length, zone }),
            Some(_) => self.bad(&path("for"), "this is too long", &found, "at most 31 days"),
            None => self.bad(
                &path("for"),
                "not a valid length of time",
                &found,
                units::DURATION_EXPECTED,
            ),
        }
        None
    }

    fn freeze(&mut self, at: usize, file: FreezeFile) -> Option<Freeze> {
        let path = |key: &str| format!("/spec/freeze/{at}/{key}");
        let FreezeFile { from, to, reason } = file;
        let mut moment = |key: &str, text: &str| match text.parse::<Timestamp>() {
            Ok(moment) => Some(moment),
            Err(_) => {
                self.bad(&path(key), "not a moment", &format!("{text:?}"), MOMENT_EXPECTED);
                None
            }
        };
        let (begins, ends) = (moment("from", &from), moment("to", &to));
        let (begins, ends) = (begins?, ends?);
        if ends.since(begins) == Millis(0) {
            let expected = format!("a moment after {from}");
            self.bad(&path("to"), "it ends before it begins", &format!("{to:?}"), &expected);
        }
        Some(Freeze { from: begins, to: ends, reason })
    }
}
