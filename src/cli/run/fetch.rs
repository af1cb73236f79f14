//! Fetches all that a server keeps of a finished run, page by page, into a folder.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;
use crate::cli::endpoints::Pages;
use crate::cli::error::CliError;
use crate::clock::{Clock as _, SystemClock};
use crate::replay::{FolderWriter, Manifest, MemberName};
use crate::run::{AgentRecord, Journal, LogLine, RunEvent, RunId};

/// Agent records and journals in one page: each may have some MiB, and an answer is in memory whole.
const LARGE_PAGE: usize = 16;

/// Events and log lines in one page: the largest have some 64 KiB.
const SMALL_PAGE: usize = 500;

/// Fetches a run into `folder`, which is there and empty.
///
/// # Errors
/// [`CliError::NotFound`] for a run that has not ended: what is kept of it still changes.
pub(crate) async fn fetch(client: &Client, id: RunId, folder: &Path) -> Result<Manifest, CliError> {
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
    let (large, small) = (LARGE_PAGE, SMALL_PAGE);
    list::<AgentRecord>(&mut writer, MemberName::Records, client.agents(id), large).await?;
    list::<Journal>(&mut writer, MemberName::Journals, client.journals(id), large).await?;
    list::<RunEvent>(&mut writer, MemberName::Events, client.events(id), small).await?;
    list::<LogLine>(&mut writer, MemberName::Logs, client.logs(id), small).await?;
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

/// Writes a list as it comes: one page of it is in memory at a time.
async fn list<T: Serialize + DeserializeOwned>(
    writer: &mut FolderWriter,
    name: MemberName,
    pages: Pages<'_>,
    page: usize,
) -> Result<(), CliError> {
    let mut member = writer.begin(name)?;
    let mut after = None;
    loop {
        let listing: Listing<T> = pages.read(after, page).await?;
        for item in &listing.items {
            member.line(item)?;
        }
        after = listing.next;
        if after.is_none() {
            writer.end(member)?;
            return Ok(());
        }
    }
}
