//! How the things of the API look in tables. The types are those of the wire; what is here is only about
//! people.

use super::guards;
use super::output::{EMPTY, Row};
use super::table::Narrower;
use super::text::{
    Paint, clean, counts, moment, plural, short_id, short_moment, shorten, with_short_ids,
};
use crate::api::wire::{ClusterView, PlaybookView, PluginView, RunView, TroubleView};

/// The most characters of a result or a message in a table.
pub(super) const MAX_CELL: usize = 60;

/// The most characters of a result or a message in a wide table.
pub(super) const MAX_WIDE_CELL: usize = 300;

/// Heading of the column with the guards of clusters, for those that have any.
const GUARDS: &str = "GUARDS";

/// Digits of a digest where there is hardly any room: they are enough to name a plugin.
const SHORT_DIGEST: usize = 8;

pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

impl Row for PlaybookView {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "VERSION", "APPLIED", "SUMMARY"];
        if wide {
            headings.extend(["STAGES", "PLUGINS", "REPOSITORY", "COMMIT"]);
        }
        headings
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let summary = self.summary.as_deref().map(|text| shorten(text, MAX_CELL));
        let mut cells = vec![
            self.name.clone(),
            self.version.clone(),
            moment(self.applied_at),
            or_dash(summary.as_deref()),
        ];
        if wide {
            let vcs = self.vcs.as_ref();
            let plugins = self.plugins.iter();
            let plugins = plugins.map(|(name, pin)| format!("{name}={}", pin.digest.short()));
            cells.extend([
                self.stages.join(","),
                plugins.collect::<Vec<_>>().join(","),
                or_dash(vcs.map(|vcs| vcs.repository.as_str())),
                or_dash(vcs.and_then(|vcs| vcs.commit.as_deref())),
            ]);
        }
        cells
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Short("APPLIED"), Narrower::Cut, Narrower::Without("SUMMARY"), Narrower::Cut]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "APPLIED").then(|| short_moment(self.applied_at))
    }

    fn name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

impl Row for ClusterView {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["NAME", "AGENTS", "APPLIED", GUARDS]
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let guards = self.guards.as_ref().and_then(guards::names);
        let most = if wide { MAX_WIDE_CELL } else { MAX_CELL };
        let guards = guards.map_or_else(|| EMPTY.to_owned(), |names| shorten(&names, most));
        vec![self.name.clone(), self.agents.to_string(), moment(self.applied_at), guards]
    }

    fn optional() -> &'static [&'static str] {
        &[GUARDS]
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Short("APPLIED"), Narrower::Without("APPLIED"), Narrower::Cut]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "APPLIED").then(|| short_moment(self.applied_at))
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for PluginView {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings =
            vec!["DIGEST", "NAME", "VERSION", "KIND", "SIZE", "ADDED", "UNPINNED", "EXPIRES"];
        if wide {
            headings.extend(["FROM", "SUMMARY"]);
        }
        headings
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let digest = &self.info.digest;
        let mut cells = vec![
            if wide { digest.to_string() } else { digest.short().to_owned() },
            self.info.name.clone(),
            self.info.version.clone(),
            self.info.kind.as_str().to_owned(),
            format!("{} KiB", self.info.size.div_ceil(1024)),
            moment(self.added_at),
            self.unpinned_at.map_or_else(|| or_dash(None), moment),
            self.goes_at.map_or_else(|| or_dash(None), moment),
        ];
        if wide {
            let from = self.provenance.last().map_or("-", |came| came.source.as_str());
            cells.push(shorten(from, MAX_WIDE_CELL));
            cells.push(shorten(&self.info.summary, MAX_WIDE_CELL));
        }
        cells
    }

    fn narrower() -> &'static [Narrower] {
        &[
            Narrower::Short("ADDED"),
            Narrower::Short("UNPINNED"),
            Narrower::Short("EXPIRES"),
            Narrower::Without("ADDED"),
            Narrower::Without("SIZE"),
            Narrower::Without("UNPINNED"),
            Narrower::Short("DIGEST"),
            Narrower::Without("KIND"),
            Narrower::Without("EXPIRES"),
            Narrower::Cut,
            Narrower::Without("VERSION"),
            Narrower::Cut,
        ]
    }

    fn short(&self, heading: &str) -> Option<String> {
        match heading {
            "ADDED" => Some(short_moment(self.added_at)),
            "UNPINNED" => self.unpinned_at.map(short_moment),
            "EXPIRES" => self.goes_at.map(short_moment),
            "DIGEST" => self.info.digest.hex().get(..SHORT_DIGEST).map(str::to_owned),
            _ => None,
        }
    }

    fn name(&self) -> String {
        self.info.digest.to_string()
    }
}

impl Row for RunView {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["RUN", "PLAYBOOK", "CLUSTER", "STATUS", "AGENTS", "CREATED"];
        if wide {
            headings.extend(["FINISHED", "STAGE", "BY", "WHY"]);
        }
        headings
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.id.to_string(),
            format!("{}@{}", self.playbook, self.version),
            self.cluster.clone(),
            self.status.as_str().to_owned(),
            match trouble_of(self) {
                // No engine has failed at it yet: an engine that had read the run before goes on with it.
                Some(trouble) if trouble.since.is_none() => {
                    format!("can't be read: {}", trouble.code.as_str())
                }
                Some(trouble) => format!("can't go on: {}", trouble.code.as_str()),
                None if wide => agents_of(self),
                None => agents_or_why(self),
            },
            moment(self.created_at),
        ];
        if wide {
            let trouble = trouble_of(self).map(|trouble| &trouble.message);
            let why = trouble.map(String::as_str).or(why_of(self));
            let why = why.map(|message| shorten(message, MAX_WIDE_CELL));
            cells.extend([
                or_dash(self.finish_ts.map(moment).as_deref()),
                stage_of(self),
                or_dash(self.started_by.as_deref()),
                or_dash(why.as_deref()),
            ]);
        }
        cells
    }

    fn narrower() -> &'static [Narrower] {
        &[
            Narrower::Short("RUN"),
            Narrower::Short("CREATED"),
            Narrower::Short("AGENTS"),
            Narrower::Without("CREATED"),
            Narrower::Cut,
            Narrower::Without("CLUSTER"),
            Narrower::Cut,
            Narrower::Without("PLAYBOOK"),
            Narrower::Cut,
        ]
    }

    fn short(&self, heading: &str) -> Option<String> {
        match heading {
            "RUN" => Some(short_id(self.id)),
            "CREATED" => Some(short_moment(self.created_at)),
            "AGENTS" if trouble_of(self).is_none() => Some(with_short_ids(&agents_or_why(self))),
            _ => None,
        }
    }

    fn paint(&self) -> (&str, Paint) {
        (self.status.as_str(), Paint::of_run(self.status))
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

/// The trouble of a run, unless the run has ended.
fn trouble_of(run: &RunView) -> Option<&TroubleView> {
    run.trouble.as_ref().filter(|_| run.finish_ts.is_none())
}

/// The stage of a run: `upgrade (2 of 3)`, or only the name if there is one stage.
pub(crate) fn stage_of(run: &RunView) -> String {
    let once = if run.once { ", on the run" } else { "" };
    match run.stages.len() {
        0 | 1 => format!("{}{once}", run.stage),
        all => format!("{} ({} of {all}){once}", run.stage, run.stage_index.saturating_add(1)),
    }
}

/// How many agents a run has in each state. While it has none, why that is: mostly what it waits for.
fn agents_or_why(run: &RunView) -> String {
    match why_of(run) {
        Some(why) if run.counts.values().all(|count| *count == 0) => shorten(&clean(why), MAX_CELL),
        Some(_) | None => agents_of(run),
    }
}

/// What a run waits for, or else why it has its status.
pub(crate) fn why_of(run: &RunView) -> Option<&str> {
    run.waits.as_deref().or(run.reason.as_ref().map(|reason| reason.message.as_str()))
}

/// How many agents of a run are in each state. In a run that has ended, each agent counts by its worst result
/// in any stage. Failures that were passed over are shown beside that.
pub(crate) fn agents_of(run: &RunView) -> String {
    let counted = if run.outcomes.is_empty() { &run.counts } else { &run.outcomes };
    let mut text = counts(counted);
    if run.nobody {
        text = format!("nobody selected ({text})");
    }
    if !run.passed_over.is_none() {
        text.push_str(&format!(", {}", run.passed_over));
    }
    text
}

/// The label of a batch, if it says more than the batch's number.
pub(crate) fn telling_label(batch: u32, label: Option<&str>) -> Option<&str> {
    let number = batch.to_string();
    label.filter(|label| label.strip_prefix("batch ").unwrap_or(label) != number)
}

/// `2 (zone a)`, or `2, 3/4 (25%)` for a label that contains parentheses.
pub(crate) fn labelled(batch: String, label: Option<&str>) -> String {
    match label {
        None => batch,
        Some(label) if label.contains('(') => format!("{batch}, {label}"),
        Some(label) => format!("{batch} ({label})"),
    }
}

/// How many agents a run has, as human-readable text.
pub(crate) fn size_of(run: &RunView) -> String {
    let all: u64 = run.counts.values().map(|count| u64::from(*count)).sum();
    plural(all, "agent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::run_view;
    use crate::cli::table::{table, table_within};
    use crate::cli::text::width;
    use crate::run::{AgentState, PassedOver, RunStatus, StatusReason};

    #[test]
    fn runs_show_how_far_they_are() {
        let mut run = run_view(RunStatus::Running);
        run.counts = [(AgentState::Done, 3), (AgentState::Running, 2)].into();
        let shown = table(&[run.clone()], false, false);
        assert!(shown.contains("rolling-restart@1.4.0  mongo-eu  RUNNING"), "{shown}");
        assert!(shown.contains("3 done, 2 running"), "{shown}");
        assert_eq!(size_of(&run), "5 agents");
        assert_eq!(stage_of(&run), "restart");
        run.stages = vec!["drain".to_owned(), "restart".to_owned()];
        run.stage_index = 1;
        assert_eq!(stage_of(&run), "restart (2 of 2)");
        assert_eq!(telling_label(3, Some("batch 3")), None);
        assert_eq!(telling_label(3, Some("batch 4")), Some("batch 4"));
        assert_eq!(labelled("3".to_owned(), Some("zone a")), "3 (zone a)");
        assert_eq!(labelled("3".to_owned(), Some("3/4 (25%)")), "3, 3/4 (25%)");
        assert_eq!(run.cells(true).len(), RunView::headings(true).len());
    }

    #[test]
    fn a_run_that_has_ended_shows_the_worst_of_all_stages_and_what_was_passed_over() {
        let mut run = run_view(RunStatus::Done);
        run.counts = [(AgentState::Done, 2), (AgentState::Skipped, 1)].into();
        assert_eq!(agents_of(&run), "2 done, 1 skipped", "of a server before this one");
        run.outcomes = [(AgentState::Done, 2), (AgentState::Failed, 1)].into();
        run.passed_over = PassedOver { failures: 5, agents: 1 };
        let shown = table(&[run], false, false);
        let agents = "2 done, 1 failed, 5 failures of steps passed over on 1 agent";
        assert!(shown.contains(agents), "{shown}");

        let mut nobody = run_view(RunStatus::Done);
        (nobody.nobody, nobody.outcomes) = (true, [(AgentState::Skipped, 3)].into());
        assert_eq!(agents_of(&nobody), "nobody selected (3 skipped)");
    }

    #[test]
    fn a_queued_run_shows_what_it_waits_for() {
        let holder = run_view(RunStatus::Running).id;
        let mut run = run_view(RunStatus::Pending);
        run.counts.clear();
        run.reason = Some(StatusReason::cluster_busy(holder, 3));
        let shown = table(&[run.clone()], false, false);
        assert!(shown.contains(&format!("PENDING  waits for run {holder} to end")), "{shown}");
        let shown = table_within(&[run.clone()], false, false, Some(80));
        assert!(shown.contains("PENDING  waits for run 00000001 to"), "{shown}");
        let shown = table(&[run], true, false);
        assert!(
            shown.contains(&format!("{holder} to end; 3 more are queued before it")),
            "{shown}"
        );
    }

    #[test]
    fn plugins_fit_a_terminal() {
        let plugin = |name: &str| -> PluginView {
            let digest = crate::run::Digest::of(name.as_bytes());
            serde_json::from_value(serde_json::json!({
                "digest": digest, "kind": "strategy", "name": name, "version": "1.10.0",
                "summary": "Goes by zone.", "arguments": {}, "size": 2_048,
                "added_at": "2025-11-22T09:00:00Z", "change": null,
                "unpinned_at": "2025-11-23T09:00:00Z", "goes_at": "2025-12-23T09:00:00Z",
            }))
            .unwrap()
        };
        let plugins = ["wait-healthy", "a-strategy-of-the-team-for-databases"].map(plugin);
        for room in [40, 60, 80] {
            let shown = table_within(&plugins, false, false, Some(room));
            assert!(shown.lines().all(|line| width(line) <= room), "{room}:\n{shown}");
            assert!(shown.contains("wait-healthy"), "{shown}");
        }
        let narrow = table_within(&plugins[..1], false, false, Some(40));
        let digits = &plugins[0].info.digest.hex()[..8];
        let expected = format!("DIGEST    NAME          VERSION\n{digits}  wait-healthy  1.10.0\n");
        assert_eq!(narrow, expected);
        let wide = table_within(&plugins, true, false, None);
        assert!(wide.contains(plugins[0].info.digest.as_str()), "{wide}");
    }

    #[test]
    fn a_run_without_a_place_shows_that_it_waits_for_one() {
        let mut run = run_view(RunStatus::Pending);
        run.counts.clear();
        run.waits = Some("waits for a place on its engine".to_owned());
        for wide in [false, true] {
            let shown = table_within(&[run.clone()], wide, false, None);
            assert!(shown.contains("waits for a place on its engine"), "{shown}");
        }
        // Names of this length leave enough room for the rest.
        let shown = table_within(&[run], false, false, Some(80));
        assert!(shown.contains("waits for a place on"), "{shown}");
    }

    #[test]
    fn runs_fit_a_terminal_and_say_all_that_matters() {
        let mut runs: Vec<_> = RunStatus::ALL.map(run_view).into();
        for run in &mut runs {
            run.counts = [(AgentState::Done, 10), (AgentState::Failed, 2)].into();
        }
        let shown = table_within(&runs, false, false, Some(80));
        assert!(shown.lines().all(|line| width(line) <= 80), "{shown}");
        assert!(!shown.contains('…'), "{shown}");
        let row = "00000001  rolling-restart@1.4.0  mongo-eu  PENDING_APPROVE  10 done, 2 failed\n";
        assert!(shown.contains(row), "{shown}");
        let narrow = table_within(&runs, false, false, Some(40));
        assert!(narrow.lines().all(|line| width(line) <= 40), "{narrow}");
        assert!(narrow.contains("00000001  CANCELLED        10 done, 2 f…\n"), "{narrow}");
        let shown = table_within(&runs[..1], false, false, Some(95));
        assert!(shown.contains("10 done, 2 failed  11-22 09:00:00\n"), "{shown}");
        // Without a limit on the width everything is shown.
        assert!(table(&runs, false, false).contains(&runs[0].id.to_string()));
    }
}
