//! Arguments that commands share which show lists.

use super::output::Console;
use super::text::clean;
use crate::api::wire::DamagedView;

/// The most items that one command shows: they are held in memory to align their columns.
pub(crate) const MAX_LIMIT: u32 = 100_000;

/// How much of a list to show.
#[derive(Clone, Debug, clap::Args)]
pub struct PageArgs {
    /// Show at most so many
    #[arg(long, default_value_t = 1_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    pub limit: u32,
    /// Go on after this place, as the end of the part before it said
    #[arg(long, value_name = "PLACE")]
    pub after: Option<String>,
}

impl PageArgs {
    /// The limit as a number of items.
    pub fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// Says that there is more, and how to get at it.
pub(crate) fn say_if_more(console: &Console, next: Option<&str>) {
    if let Some(next) = next {
        console.say(&format!("there is more: add --after {next}"));
    }
}

/// How many documents that can't be read are named: nobody reads a longer list.
const NAMED: usize = 5;

/// Says what belongs in a list but can't be read.
pub(crate) fn say_damaged(console: &Console, damaged: &[DamagedView]) {
    for DamagedView { what, why } in damaged.iter().take(NAMED) {
        console.say(&clean(&format!("left out: {what} is damaged in the store: {why}")));
    }
    if damaged.len() > NAMED {
        console.say(&format!("left out, since they are damaged: {} more", damaged.len() - NAMED));
    }
}
