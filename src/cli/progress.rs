//! Shows how far a run is while it goes: a bar on a terminal, plain lines otherwise, so that a log of the
//! output has no control characters.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::drawing::Drawing;
use super::held;
use super::output::{Console, Room};
use super::rows::stage_of;
use super::run::{Detail, TIME_COLUMNS, line_of};
use super::text::{clean, plural, shorten, time_of_day};
use crate::api::wire::RunView;
use crate::run::{AgentState, Happened, RunEvent, RunStatus, Silent, Timestamp};

/// How often the bar is redrawn while nothing happens, so that its clock keeps moving.
const TICK: Duration = Duration::from_millis(250);

/// The most characters of the text beside the bar.
const MAX_TEXT: usize = 60;

/// Templates without and with colours. The first of each pair is for when the number of agents is not known
/// yet.
const TEMPLATES: [[&str; 2]; 2] = [
    ["{spinner} {msg} {elapsed_precise}", "{spinner} {bar:24} {pos}/{len} {msg} {elapsed_precise}"],
    [
        "{spinner:.yellow} {msg} {elapsed_precise:.dim}",
        "{spinner:.yellow} {bar:24.green/dim} {pos}/{len} {msg} {elapsed_precise:.dim}",
    ],
];

/// A line on standard error with a clock and, at first, no bar; `None` if messages do not go to a terminal.
pub(super) fn live_line(console: &Console, length: Option<u64>) -> Option<ProgressBar> {
    console.live.then(|| {
        let line = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        line.set_style(style(console.colour_messages, false));
        line.enable_steady_tick(TICK);
        line
    })
}

/// Shows the progress of a run on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    console: Console,
    batch: Option<String>,
    drawing: Drawing,
    after: Option<Timestamp>,
    waits_for: Option<String>,
    silent: Silent,
    held: Option<String>,
    trouble: Option<String>,
}

impl Progress {
    /// A progress that has shown nothing yet.
    pub(crate) fn new(console: &Console) -> Self {
        let bar = live_line(console, Some(0));
        let drawing = Drawing::default();
        Self {
            bar,
            console: console.clone(),
            batch: None,
            drawing,
            after: None,
            waits_for: None,
            silent: Silent::default(),
            held: None,
            trouble: None,
        }
    }

    /// The same progress, but silent about events up to `after`.
    pub(crate) fn after(self, after: Option<Timestamp>) -> Self {
        Self { after, ..self }
    }

    /// Prints a message; the bar, if any, stays below it.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.console.say(text)),
            None => self.console.say(text),
        }
    }

    /// Prints a message of several lines.
    pub(crate) fn say_lines(&self, lines: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.console.say_lines(lines)),
            None => self.console.say_lines(lines),
        }
    }

    /// The room for messages.
    pub(crate) fn message_room(&self) -> Room {
        self.console.message_room()
    }

    fn say_event(&self, line: &str) {
        let say = || self.console.say_indented(line, TIME_COLUMNS);
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Shows an event, if it matters at this level of detail.
    pub(crate) fn event(&mut self, event: &RunEvent) {
        if let Happened::Decision { batch: Some(batch), label, .. } = &event.what {
            self.batch = Some(super::run::batch_name(*batch, label.as_deref()));
        }
        if let Happened::Stage { .. } = &event.what {
            self.batch = None;
        }
        let drawn = self.drawing.event(&event.what);
        if self.after.is_some_and(|after| event.at <= after) {
            return;
        }
        let detail = if self.bar.is_some() { Detail::Main } else { Detail::Agents };
        match (line_of(event, detail), drawn) {
            (Some(line), Some(drawn)) => self.say_event(&format!("{line}  {drawn}")),
            (Some(line), None) => self.say_event(&line),
            (None, Some(said)) => self.say_event(&format!("{}  {said}", time_of_day(event.at))),
            (None, None) => {}
        }
    }

    /// Shows the present state of the run.
    pub(crate) fn show(&mut self, run: &RunView) {
        self.say_if_waits(run);
        self.say_if_silent(run);
        self.say_if_held(run);
        self.say_if_troubled(run);
        let Some(bar) = &self.bar else { return };
        let (settled, all) = settled(run);
        bar.set_style(style(self.console.colour_messages, all > 0));
        bar.set_length(all);
        bar.set_position(settled);
        bar.set_message(beside_bar(run, self.batch.as_deref()));
    }

    /// Says once what keeps a run waiting, if it could go on otherwise or is queued: there is no event for
    /// that.
    fn say_if_waits(&mut self, run: &RunView) {
        let waits_for = waiting_in_words(run);
        if let Some(what) = waits_for.as_ref().filter(|_| waits_for != self.waits_for) {
            self.say(&clean(what));
        }
        self.waits_for = waits_for;
    }

    /// Says which agents do not answer whenever that changes: there is no event for that either.
    fn say_if_silent(&mut self, run: &RunView) {
        if self.silent == run.silent {
            return;
        }
        self.silent.clone_from(&run.silent);
        // `None` means that they answer again or are no longer waited for, which the events tell.
        if let Some(text) = silent_in_words(&run.silent) {
            self.say(&clean(&text));
        }
    }

    /// Says what holds a run in which nobody is at work, whenever that changes. While somebody is at work, the bar only counts
    /// who is held: in a run under guards there is nearly always somebody.
    fn say_if_held(&mut self, run: &RunView) {
        let held = held::stands_still(run);
        if let Some(text) = held.as_ref().filter(|_| held != self.held) {
            self.say(&clean(text));
        }
        self.held = held;
    }

    /// Says that the run can't go on, and when it can again: there is no event for either.
    fn say_if_troubled(&mut self, run: &RunView) {
        let trouble = run
            .set_aside()
            .map(|trouble| format!("{} ({})", clean(&trouble.message), trouble.code.as_str()));
        if trouble == self.trouble {
            return;
        }
        match &trouble {
            Some(what) => self.say(&format!("the run can't go on and is set aside: {what}")),
            None if run.is_given_up() => self.say("the run is given up, and is about to end"),
            None => self.say("the run goes on again"),
        }
        self.trouble = trouble;
    }

    /// Removes the bar.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What a run waits for without a person having to act; `None` if it does not wait for anything like that.
fn waiting_in_words(run: &RunView) -> Option<String> {
    match (&run.waits, run.status, &run.reason) {
        (Some(waits), _, _) => Some(format!("the run {waits}")),
        (None, RunStatus::Pending, Some(reason)) => {
            Some(format!("the run is queued: {}", reason.message))
        }
        (None, _, Some(_) | None) => None,
    }
}

/// `3 agents do not answer: node-1, node-2, and 1 more`; `None` if all answer.
fn silent_in_words(silent: &Silent) -> Option<String> {
    let Silent { agents, some } = silent;
    let verb = if *agents == 1 { "does" } else { "do" };
    let head = format!("{} {verb} not answer", plural((*agents).into(), "agent"));
    let mut named: Vec<String> = some.iter().map(ToString::to_string).collect();
    let more = (*agents as usize).saturating_sub(named.len());
    named.extend((more > 0).then(|| format!("and {more} more")));
    (*agents > 0).then(|| format!("{head}: {}", named.join(", ")))
}

fn style(colour: bool, with_bar: bool) -> ProgressStyle {
    let [without, with] = TEMPLATES[usize::from(colour)];
    ProgressStyle::with_template(if with_bar { with } else { without })
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// How many of the selected agents have ended, and how many were selected.
fn settled(run: &RunView) -> (u64, u64) {
    let count = |state| u64::from(run.counts.get(&state).copied().unwrap_or(0));
    let ended = count(AgentState::Done) + count(AgentState::Failed);
    (ended, u64::from(run.selected).max(ended))
}

fn beside_bar(run: &RunView, batch: Option<&str>) -> String {
    let count = |state: AgentState| match run.counts.get(&state) {
        None | Some(0) => None,
        Some(count) => Some(format!("{count} {}", state.as_str().to_lowercase())),
    };
    let mut parts = vec![run.status.as_str().to_lowercase()];
    parts.extend(run.hold.then(|| "on hold".to_owned()));
    parts.extend((run.stages.len() > 1).then(|| stage_of(run)));
    parts.extend(count(AgentState::Failed));
    parts.extend(count(AgentState::Running).filter(|_| run.status.holds_cluster()));
    parts.extend((!run.held.is_nobody()).then(|| format!("{} held", run.held.agents)));
    let passed_over = run.passed_over.failures;
    parts.extend((passed_over > 0).then(|| format!("{passed_over} passed over")));
    parts.extend(batch.map(str::to_owned));
    shorten(&clean(&parts.join(" · ")), MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::run_view;
    use crate::run::{AgentId, StatusReason};

    #[test]
    fn the_bar_counts_what_has_ended_of_what_was_selected() {
        let mut run = run_view(RunStatus::Running);
        run.counts = [
            (AgentState::Done, 3),
            (AgentState::Failed, 1),
            (AgentState::Running, 2),
            (AgentState::Pending, 6),
            (AgentState::Skipped, 5),
        ]
        .into();
        assert_eq!(settled(&run), (4, 12));
        let text = beside_bar(&run, Some("batch 2 (zone\u{1b} a)"));
        assert_eq!(text, "running · 1 failed · 2 running · batch 2 (zone  a)");
        (run.status, run.hold) = (RunStatus::Paused, true);
        (run.stages, run.stage_index) = (vec!["drain".to_owned(), "restart".to_owned()], 1);
        let text = beside_bar(&run, None);
        assert_eq!(text, "paused · on hold · restart (2 of 2) · 1 failed · 2 running");
    }

    #[test]
    fn a_run_that_waits_for_a_place_is_said_to_and_is_not_queued() {
        let mut run = run_view(RunStatus::Pending);
        run.reason = Some(StatusReason::cluster_busy(run.id, 0));
        let queued = format!("the run is queued: waits for run {} to end", run.id);
        assert_eq!(waiting_in_words(&run), Some(queued));
        run.waits = Some("waits for a place on its engine".to_owned());
        let waits = Some("the run waits for a place on its engine".to_owned());
        assert_eq!(waiting_in_words(&run), waits);
        assert_eq!(waiting_in_words(&run_view(RunStatus::Running)), None);
    }

    #[test]
    fn the_bar_counts_those_who_are_held() {
        let mut run = run_view(RunStatus::Running);
        run.counts = [(AgentState::Running, 1)].into();
        run.held = crate::cli::sample::held();
        assert_eq!(beside_bar(&run, None), "running · 1 running · 5 held");
    }

    #[test]
    fn those_that_do_not_answer_are_named_as_far_as_that_helps() {
        let some = |names: &[&str]| names.iter().map(|name| AgentId::from(*name)).collect();
        assert_eq!(silent_in_words(&Silent::default()), None);
        let one = Silent { agents: 1, some: some(&["node-1"]) };
        assert_eq!(silent_in_words(&one).unwrap(), "1 agent does not answer: node-1");
        let many = Silent { agents: 12, some: some(&["node-1", "node-7"]) };
        let expected = "12 agents do not answer: node-1, node-7, and 10 more";
        assert_eq!(silent_in_words(&many).unwrap(), expected);
    }

    #[test]
    fn the_templates_are_valid() {
        for template in TEMPLATES.as_flattened() {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
