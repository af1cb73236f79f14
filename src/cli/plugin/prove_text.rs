//! A proof, as people read it.

use crate::cli::output::Console;
use crate::cli::text::{Paint, length, plural, wrap_line};
use crate::prove::{Counterexample, Moment, Outcome, Report};
use crate::run::Millis;

/// Columns of the text, which fits the narrowest terminal that most people use.
const WIDTH: usize = 80;

/// How many agents of a fleet are shown.
const AGENTS: usize = 12;

/// The whole text.
pub(super) fn text(report: &Report, console: &Console) -> String {
    let mut lines = head(report);
    for finding in &report.properties {
        let paint = match finding.result {
            Outcome::Held => Paint::Good,
            Outcome::Broken => Paint::Bad,
            Outcome::Open => Paint::Plain,
        };
        let word = format!("{:<7}", finding.result.as_str());
        lines.push(format!("  {} {}", paint.on(&word, console.colour), finding.sentence));
    }
    for finding in &report.properties {
        if let Some(example) = &finding.counterexample {
            lines.push(String::new());
            lines.extend(example_lines(&finding.sentence, example));
        }
    }
    lines.push(String::new());
    lines.extend(covered(report));
    section(&mut lines, "Taken for one:", &report.merged);
    section(&mut lines, "Not looked at:", &report.not_covered);
    lines.join("\n") + "\n"
}

fn head(report: &Report) -> Vec<String> {
    let named = &report.strategy;
    let mut lines = vec![format!("Strategy {} {}, {}", named.name, named.version, named.digest)];
    let arguments = report.arguments.to_string();
    if arguments != "{}" {
        lines.push(wrap_line(&format!("with {arguments}"), WIDTH, 5));
    }
    lines.push(String::new());
    lines
}

fn covered(report: &Report) -> Vec<String> {
    let (covered, bounds) = (&report.covered, &report.bounds);
    let whole = format!(
        "{} of up to {} whole ({} states)",
        plural(covered.fleets, "fleet"),
        plural(u64::from(covered.agents), "agent"),
        covered.states
    );
    let random = match covered.histories {
        0 => String::new(),
        1 => format!(", one random history of up to {} agents", bounds.largest),
        many => format!(", {many} random histories of up to {} agents", bounds.largest),
    };
    let asked = plural(covered.questions, "question");
    let looked = format!("Looked at {whole}{random}; {asked} to the strategy.");
    let happens = format!(
        "In the whole ones up to {}, and {} of: {} joining, {} leaving, {}; in up to {}.",
        plural(u64::from(bounds.failures), "failure"),
        bounds.changes,
        bounds.joins,
        bounds.leaves,
        plural(u64::from(bounds.pauses), "pause"),
        plural(u64::from(bounds.groups), "group"),
    );
    vec![wrap_line(&looked, WIDTH, 2), wrap_line(&happens, WIDTH, 2)]
}

fn section(lines: &mut Vec<String>, title: &str, items: &[String]) {
    lines.push(title.to_owned());
    lines.extend(items.iter().map(|item| wrap_line(&format!("  - {item}"), WIDTH, 4)));
}

fn example_lines(sentence: &str, example: &Counterexample) -> Vec<String> {
    let mut lines = vec![wrap_line(&format!("Broken: {sentence}"), WIDTH, 2)];
    lines.push(wrap_line(&format!("  {}", example.why), WIDTH, 2));
    let agents = example.fleet.iter().take(AGENTS);
    let agents: Vec<_> = agents.map(|(agent, group)| format!("{agent} ({group})")).collect();
    let more = example.fleet.len().saturating_sub(AGENTS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    lines.push(wrap_line(&format!("  Agents: {}{more}", agents.join(", ")), WIDTH, 10));
    if let Some(seed) = example.seed {
        lines.push(format!("  Found by seed {seed}, and made as short as it gets."));
    }
    for (number, moment) in example.timeline.iter().enumerate() {
        lines.extend(moment_lines(number, moment));
    }
    lines
}

fn moment_lines(number: usize, moment: &Moment) -> Vec<String> {
    let Moment { event, at, times, answers } = moment;
    let often = if *times > 1 { format!(", {times} times") } else { String::new() };
    let at = u64::try_from(*at).unwrap_or_default();
    let at = if at > 0 { format!(" (+{})", length(Millis(at))) } else { String::new() };
    let mut lines = vec![wrap_line(&format!("  {number:>3}  {event}{often}{at}"), WIDTH, 7)];
    for answer in answers {
        lines.push(wrap_line(&format!("         → {answer}"), WIDTH, 11));
    }
    lines
}
