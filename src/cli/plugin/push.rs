//! `plugin push`: from a file to a registry.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;

use super::command::parse_reference;
use super::inspect::{Plugin, read_file};
use super::signatures::{Signed, beside};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Row};
use crate::cli::registry_args::RegistryArgs;
use crate::cli::table::Narrower;
use crate::cli::work::Work;
use crate::playbook::OciReference;
use crate::plugin::Interfaces;
use crate::run::Digest;

/// Arguments of `plugin push`.
#[derive(Debug, clap::Args)]
pub struct Push {
    /// File of the plugin. FILE.minisig beside it has its signatures
    pub file: PathBuf,
    /// Where it is put: `oci://HOST/REPOSITORY:TAG`
    #[arg(value_name = "REFERENCE", value_parser = parse_reference)]
    pub reference: OciReference,
    /// How registries are reached
    #[command(flatten)]
    pub registries: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Pushed {
    /// The reference that always stands for this artefact.
    reference: String,
    tag: String,
    name: String,
    version: String,
    manifest: Digest,
    digest: Digest,
    /// Those that were pushed with it.
    signatures: Vec<Signed>,
}

impl Row for Pushed {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["NAME", "VERSION", "KEYS", "REFERENCE"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let signed_by = Signed::keys(&self.signatures);
        vec![self.name.clone(), self.version.clone(), signed_by, self.reference.clone()]
    }

    fn optional() -> &'static [&'static str] {
        &["KEYS"]
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Cut, Narrower::Without("VERSION"), Narrower::Cut]
    }

    fn name(&self) -> String {
        self.reference.clone()
    }
}

pub(super) async fn push(args: &Push, console: &Console) -> Result<Exit, CliError> {
    let bytes = read_file(&args.file)?;
    let signatures = beside(&args.file)?;
    // What no server would take is not pushed.
    let Plugin { info, .. } = Plugin::of(bytes.clone(), &args.file.display().to_string()).await?;
    let Interfaces { imports, exports } = Interfaces::of(&bytes);
    let registries = args.registries.of_person()?;
    let work = Work::new(console);
    work.at(|| format!("pushing {}", args.reference));
    let pushed = registries.push(&args.reference, Bytes::from(bytes), exports, imports).await?;
    work.at(|| format!("pushing the signatures of {}", args.reference));
    registries.sign(&args.reference, &pushed, &signatures).await?;
    drop(work);
    let OciReference { registry, repository, .. } = &args.reference;
    console.one(&Pushed {
        reference: format!("oci://{registry}/{repository}@{}", pushed.manifest),
        tag: format!("oci://{}", args.reference),
        name: info.name,
        version: info.version,
        manifest: pushed.manifest,
        digest: pushed.digest,
        signatures: Signed::all(&signatures),
    })?;
    Ok(Exit::Ok)
}
