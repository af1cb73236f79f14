//! Which items of a list are shown, and in which order: `--selector` and `--sort-by`.
//!
//! The server selects, page by page. Only this program sorts, so it needs the whole list. It refuses a list that is too long
//! for that, since the first items of a sorted part would look like the first ones of all.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::endpoints::Pages;
use super::error::CliError;
use super::output::Console;
use super::page::PageArgs;
use super::pick::{SortBy, sorted};
use super::text::{plural, width};
use crate::api::SELECTOR;
use crate::api::wire::Listing;
use crate::playbook::{Query, QueryError, Root};

/// The most items that are sorted: ten full pages of the server, all of which are in memory.
pub(super) const MAX_SORTED: usize = 10_000;

/// The options of lists that can be selected from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ChooseArgs {
    /// Only those for which this CEL expression is true: for runs such as
    /// `run.status == "PAUSED" && run.failures > 0`, for agents such as `agent.attributes.zone == "a"`
    #[arg(short = 'l', long, value_name = "CEL")]
    pub selector: Option<String>,
    /// Sort by the value at this path, for example .since; those without one come first
    #[arg(long, value_name = "PATH", conflicts_with = "after")]
    pub(crate) sort_by: Option<SortBy>,
}

impl ChooseArgs {
    /// Checks the selector before the server is asked, and shows where it is wrong.
    ///
    /// # Errors
    /// [`CliError::Usage`] with what is wrong.
    pub(crate) fn check(&self, roots: &[Root], console: &Console) -> Result<(), CliError> {
        let Some(source) = &self.selector else { return Ok(()) };
        let Err(error) = Query::parse(source, roots) else { return Ok(()) };
        if let Some(marked) = marked(source, &error, console.message_width) {
            console.say_lines(&marked);
        }
        Err(CliError::Usage(format!("--selector: {error}")))
    }

    /// Whether none of these options is given.
    pub(crate) const fn is_plain(&self) -> bool {
        self.selector.is_none() && self.sort_by.is_none()
    }

    /// Reads the wanted part of a list.
    ///
    /// # Errors
    /// Those of every request; [`CliError::Usage`] when there is too much to sort, or nothing to sort by.
    pub(crate) async fn read<T: DeserializeOwned + Serialize>(
        &self,
        pages: Pages<'_>,
        page: &PageArgs,
        console: &Console,
    ) -> Result<Listing<T>, CliError> {
        let pages = pages.only(SELECTOR, self.selector.as_ref());
        if self.sort_by.is_none() {
            return Ok(pages.read_to_show(page.after.clone(), page.limit()).await?);
        }
        let all: Listing<T> = pages.read_to_show(None, MAX_SORTED).await?;
        self.first_sorted(all, page, console)
    }

    /// A whole list in the order that was asked for, cut to the limit.
    ///
    /// # Errors
    /// [`CliError::Usage`] when it is not the whole list, or when there is nothing to sort by.
    pub(crate) fn first_sorted<T: Serialize>(
        &self,
        mut all: Listing<T>,
        page: &PageArgs,
        console: &Console,
    ) -> Result<Listing<T>, CliError> {
        let Some(by) = &self.sort_by else { return Ok(all) };
        if all.next.is_some() {
            return Err(CliError::Usage(format!(
                "--sort-by: there are more than {MAX_SORTED} items, which is too many to sort; select fewer with \
                 --selector, or omit --sort-by"
            )));
        }
        all.items = sorted(all.items, by)?;
        let left_out = all.items.len().saturating_sub(page.limit());
        if left_out > 0 {
            all.items.truncate(page.limit());
            let more = plural(left_out as u64, "more item");
            console.say(&format!("{more} of the sorted list not shown: raise --limit"));
        }
        Ok(all)
    }
}

/// The expression with a mark below the place where it is wrong; `None` if no place is known, or there is no room.
fn marked(source: &str, error: &QueryError, room: Option<usize>) -> Option<String> {
    let before: String = source.chars().take(error.at?).collect();
    let fits = room.is_none_or(|room| width(source) + 2 <= room);
    let blanks = " ".repeat(width(&before));
    (fits && !source.contains(char::is_control)).then(|| format!("  {source}\n  {blanks}^"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AGENT_ROOTS, RUN_ROOTS};
    use crate::cli::output::Format;

    fn at(source: &str, room: Option<usize>) -> Option<String> {
        marked(source, &Query::parse(source, &AGENT_ROOTS).unwrap_err(), room)
    }

    #[test]
    fn a_wrong_selector_is_shown_with_its_place() {
        let shown = at("agent.id == '日' && agnt.id == 'x'", Some(80)).unwrap();
        let expected = format!("  agent.id == '日' && agnt.id == 'x'\n{}^", " ".repeat(22));
        assert_eq!(shown, expected);
        assert_eq!(at("agnt.id == 'x'", Some(10)), None);
        assert_eq!(at("agnt.id ==\n'x'", None), None);
        let console = Console::of_process(Format::Table);
        let choose = |selector: &str| ChooseArgs {
            selector: Some(selector.to_owned()),
            ..ChooseArgs::default()
        };
        let error = choose("run.sttus == 'DONE'").check(&RUN_ROOTS, &console).unwrap_err();
        let expected = r#"--selector: "run" has no "sttus": did you mean "status"?"#;
        assert_eq!((error.to_string().as_str(), error.exit().code()), (expected, 2));
        assert!(choose("run.status == 'DONE'").check(&RUN_ROOTS, &console).is_ok());
    }

    #[test]
    fn only_a_whole_list_is_sorted() {
        let console = Console::of_process(Format::Table);
        let sort_by = Some(".n".parse().unwrap());
        let choose = ChooseArgs { sort_by, ..ChooseArgs::default() };
        let page = PageArgs { limit: 2, after: None };
        let list = |next: Option<&str>| Listing {
            items: [3, 1, 2].map(|n| serde_json::json!({ "n": n })).to_vec(),
            next: next.map(str::to_owned),
            damaged: Vec::new(),
        };
        let sorted = choose.first_sorted(list(None), &page, &console).unwrap();
        assert_eq!(serde_json::json!(sorted.items), serde_json::json!([{"n": 1}, {"n": 2}]));
        let error = choose.first_sorted(list(Some("x")), &page, &console).unwrap_err();
        assert!(error.to_string().contains("there are more than 10000"), "{error}");
    }
}
