//! `run export`: writes everything that is kept of a finished run into one file, which `run replay` reads.

use std::path::Path;

use serde::Serialize;

use super::fetch::fetch;
use super::find::find_run;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Row};
use crate::cli::table::Narrower;
use crate::cli::text::short_id;
use crate::cli::work::Work;
use crate::replay::{ReplayError, pack, temporary_folder};
use crate::run::RunId;

/// Arguments of `run export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Identifier of a run that has ended, 6 or more consecutive digits of it, or `last`
    pub run: String,
}

#[derive(Debug, Serialize)]
struct Exported {
    run: RunId,
    file: String,
    bytes: u64,
}

impl Row for Exported {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["RUN", "FILE", "BYTES"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![self.run.to_string(), self.file.clone(), self.bytes.to_string()]
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Short("RUN")]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "RUN").then(|| short_id(self.run))
    }

    fn name(&self) -> String {
        self.run.to_string()
    }
}

pub(crate) async fn export(
    client: &Client,
    args: &Export,
    to: Option<&Path>,
    console: &Console,
) -> Result<Exit, CliError> {
    let Some(to) = to else {
        let expected = "name the file to write, for example `-o run.tar.zst`";
        return Err(CliError::Usage(expected.to_owned()));
    };
    let run = find_run(client, &args.run).await?;
    let folder = temporary_folder().map_err(CliError::Setup)?;
    let work = Work::new(console);
    let manifest = fetch(client, run, folder.path(), &work).await?;
    work.at(|| "packing".to_owned());
    pack(folder.path(), &manifest, to)?;
    drop(work);
    let bytes = std::fs::metadata(to).map_err(|source| {
        CliError::Replay(ReplayError::File { what: "read", path: to.to_owned(), source })
    })?;
    let exported = Exported { run, file: to.display().to_string(), bytes: bytes.len() };
    console.one(&exported)?;
    Ok(Exit::Ok)
}
