//! The arguments that all commands share which show lists, and what these say about the rest of a list.

use super::output::Console;
use super::text::clean;
use crate::api::wire::{DamagedView, PART_OF_LIST};

/// The most items that one command shows: they are kept in memory to align their columns.
pub(crate) const MAX_LIMIT: u32 = 100_000;

/// How much of a list to show.
#[derive(Clone, Debug, clap::Args)]
pub struct PageArgs {
    /// Show at most this many
    #[arg(long, default_value_t = 1_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    pub limit: u32,
    /// Go on after this place, which the end of the previous part names
    #[arg(long, value_name = "PLACE")]
    pub after: Option<String>,
}

impl PageArgs {
    /// The limit as a number of items.
    pub fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// Says that there is more, and how to get it.
pub(crate) fn say_if_more(console: &Console, next: Option<&str>) {
    if let Some(next) = next {
        console.say(&format!("there is more: add --after {next}"));
    }
}

/// How many documents that can't be read are named: nobody reads a longer list.
const NAMED: usize = 5;

/// Says which items of a list can't be read.
pub(crate) fn say_damaged(console: &Console, damaged: &[DamagedView]) {
    for line in lines_of(damaged) {
        console.say(&clean(&line));
    }
}

fn lines_of(damaged: &[DamagedView]) -> Vec<String> {
    let (parts, documents): (Vec<_>, Vec<_>) =
        damaged.iter().partition(|damaged| damaged.what == PART_OF_LIST);
    let mut lines: Vec<_> = documents
        .iter()
        .take(NAMED)
        .map(|DamagedView { what, why }| format!("left out: {what} is damaged in the store: {why}"))
        .collect();
    if let more @ 1.. = documents.len().saturating_sub(NAMED) {
        lines.push(format!("left out, since they are damaged: {more} more"));
    }
    // Every page of the list says so; once is enough.
    lines.extend(parts.first().map(|part| format!("the list may be incomplete: {}", part.why)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_may_be_incomplete_says_so_once_after_what_was_left_out() {
        let of = |what: &str| DamagedView { what: what.to_owned(), why: "page 7".to_owned() };
        assert_eq!(lines_of(&[]), [""; 0]);
        let mut damaged = vec![of(PART_OF_LIST); 2];
        assert_eq!(lines_of(&damaged), ["the list may be incomplete: page 7"]);
        damaged.extend(vec![of("a run (7)"); NAMED + 2]);
        let lines = lines_of(&damaged);
        assert_eq!(lines.len(), NAMED + 2);
        assert_eq!(lines[0], "left out: a run (7) is damaged in the store: page 7");
        assert_eq!(lines[NAMED], "left out, since they are damaged: 2 more");
        assert!(lines[NAMED + 1].starts_with("the list may be incomplete: "));
    }
}
