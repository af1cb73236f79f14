//! Fetches everything that a server keeps of a finished run, page by page, into a folder. `run export` and `run
//! replay` share this, so a replay from the server sees what an export has.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;
use crate::cli::endpoints::Pages;
use crate::cli::error::{CliError, ClientError};
use crate::cli::work::Work;
use crate::clock::{Clock as _, SystemClock};
use crate::replay::{FolderWriter, Manifest, MemberName};
use crate::run::{AgentRecord, Journal, LogLine, RunEvent, RunId};

/// Items of the first page of a list: agent records and journals may have some MiB each, and a whole answer is
/// in memory, here and on the server.
const FIRST_PAGE: usize = 16;

/// Items of the largest page: larger pages save no time.
const LARGEST_PAGE: usize = 500;

/// Bytes that a page should have: pages grow, at most to twice their size, as long as that many of the largest
/// item so far fit.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Fetches a run into `folder`, which exists and is empty.
///
/// # Errors
/// [`CliError::NotFound`] for a run that has not ended, since what is kept of it still changes.
pub(crate) async fn fetch(
    client: &Client,
    id: RunId,
    folder: &Path,
    work: &Work,
) -> Result<Manifest, CliError> {
    let run: RunView = client.run(id).await?;
    if run.finish_ts.is_none() {
        let status = run.status;
        return Err(CliError::NotFound(format!(
            "run {id} is {status}: only a run that has ended can be exported and replayed"
        )));
    }
    let mut writer = FolderWriter::new(folder)?;
    object(&mut writer, MemberName::Run, &run)?;
    object(&mut writer, MemberName::Snapshot, &client.snapshot(id).await?)?;
    list::<AgentRecord>(&mut writer, MemberName::Records, client.agents(id), work).await?;
    list::<Journal>(&mut writer, MemberName::Journals, client.journals(id), work).await?;
    list::<RunEvent>(&mut writer, MemberName::Events, client.events(id), work).await?;
    list::<LogLine>(&mut writer, MemberName::Logs, client.logs(id), work).await?;
    work.at(|| "fetching plugins".to_owned());
    let mut digests: Vec<_> = run.plugins.values().map(|pin| &pin.digest).collect();
    digests.sort_by_key(|digest| digest.as_str());
    digests.dedup();
    for digest in digests {
        let bytes = client.plugin_bytes(digest).await?;
        writer.whole(MemberName::Plugin(digest.clone()), &bytes)?;
    }
    Ok(writer.finish(id, SystemClock.now())?)
}

fn object(
    writer: &mut FolderWriter,
    name: MemberName,
    object: &impl Serialize,
) -> Result<(), CliError> {
    let encode =
        |error: serde_json::Error| CliError::Encode { format: "JSON", message: error.to_string() };
    writer.whole(name, &serde_json::to_vec_pretty(object).map_err(encode)?)?;
    Ok(())
}

/// Writes a list as it is fetched: only one page of it is in memory at a time.
async fn list<T: Serialize + DeserializeOwned>(
    writer: &mut FolderWriter,
    name: MemberName,
    pages: Pages<'_>,
    work: &Work,
) -> Result<(), CliError> {
    let mut member = writer.begin(name.clone())?;
    let (mut after, mut page, mut fetched) = (None, Page::default(), 0);
    loop {
        work.at(|| format!("fetching {name} · {fetched}"));
        let listing: Listing<T> = match pages.read(after.clone(), page.items).await {
            Ok(listing) => listing,
            Err(ClientError::TooLarge { .. }) if page.shrink() => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(damaged) = listing.damaged.first() {
            return Err(CliError::NotFound(format!(
                "found no whole run to export: {} is damaged in the store: {}",
                damaged.what, damaged.why
            )));
        }
        for item in &listing.items {
            page.largest = page.largest.max(member.line(item)?);
        }
        page.grow();
        fetched += listing.items.len();
        after = listing.next;
        if after.is_none() {
            writer.end(member)?;
            return Ok(());
        }
    }
}

/// How many items to ask for at a time.
#[derive(Debug)]
struct Page {
    items: usize,
    /// The most items that may be asked for from now on.
    most: usize,
    /// Bytes of the largest item so far.
    largest: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { items: FIRST_PAGE, most: LARGEST_PAGE, largest: 1 }
    }
}

impl Page {
    fn grow(&mut self) {
        let fit = PAGE_BYTES / self.largest;
        self.items = fit.clamp(1, (2 * self.items).min(self.most));
    }

    /// Asks for at most half as many from now on, since items may be larger than those before. False when that
    /// is not possible.
    fn shrink(&mut self) -> bool {
        let may = self.items > 1;
        self.items = (self.items / 2).max(1);
        self.most = self.items;
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_grows_while_its_items_are_small_and_shrinks_with_large_ones() {
        let mut page = Page { largest: 1_000, ..Page::default() };
        let mut sizes = Vec::new();
        for _ in 0..7 {
            sizes.push(page.items);
            page.grow();
        }
        assert_eq!(sizes, [16, 32, 64, 128, 256, 500, 500]);
        // An answer was too large, and then the large items were seen.
        assert!(page.shrink());
        assert_eq!(page.items, 250);
        page.grow();
        assert_eq!(page.items, 250, "not again what was too large");
        page.largest = 3 * 1024 * 1024;
        page.grow();
        assert_eq!(page.items, 1);
        assert!(!page.shrink(), "one item is the least");
        page.largest = 64 * 1024 * 1024;
        page.grow();
        assert_eq!(page.items, 1);
    }
}
