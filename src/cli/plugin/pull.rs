//! `plugin pull`: from a registry to a file.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::command::parse_reference;
use super::inspect::{Fetched, fetch};
use super::signatures::{Signed, text_of};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::files::signatures_file;
use crate::cli::output::{Console, Row};
use crate::cli::registry_args::RegistryArgs;
use crate::cli::table::Narrower;
use crate::playbook::OciReference;
use crate::playbook::policy::Signature;
use crate::run::Digest;

/// Arguments of `plugin pull`.
#[derive(Debug, clap::Args)]
pub struct Pull {
    /// What is pulled: `oci://HOST/REPOSITORY:TAG` or `oci://HOST/REPOSITORY@sha256:DIGEST`
    #[arg(value_name = "REFERENCE", value_parser = parse_reference)]
    pub reference: OciReference,
    /// How registries are reached
    #[command(flatten)]
    pub registries: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Pulled {
    file: String,
    bytes: u64,
    digest: Digest,
    manifest: Digest,
    /// Those in the file beside it.
    signatures: Vec<Signed>,
}

impl Row for Pulled {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["FILE", "BYTES", "KEYS", "DIGEST"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let (bytes, signed_by) = (self.bytes.to_string(), Signed::keys(&self.signatures));
        vec![self.file.clone(), bytes, signed_by, self.digest.to_string()]
    }

    fn optional() -> &'static [&'static str] {
        &["KEYS"]
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Without("BYTES"), Narrower::Cut]
    }

    fn name(&self) -> String {
        self.file.clone()
    }
}

pub(super) async fn pull(
    args: &Pull,
    to: Option<&Path>,
    console: &Console,
) -> Result<Exit, CliError> {
    let Some(to) = to else {
        let expected = "name the file to write, for example `-o plugin.wasm`";
        return Err(CliError::Usage(expected.to_owned()));
    };
    let Fetched { found, bytes, signatures } =
        fetch(&args.registries, &args.reference, console).await?;
    write(to, &bytes).map_err(CliError::Output)?;
    if let Some(signatures) = &signatures {
        write_signatures(&signatures_file(to), signatures).map_err(CliError::Output)?;
    }
    let signatures = signatures.unwrap_or_default();
    console.one(&Pulled {
        file: to.display().to_string(),
        bytes: found.size,
        digest: found.digest,
        manifest: found.manifest,
        signatures: Signed::all(&signatures),
    })?;
    Ok(Exit::Ok)
}

/// Without signatures, those of the plugin that was there before go: they are over other bytes.
fn write_signatures(to: &Path, signatures: &[Signature]) -> std::io::Result<()> {
    if !signatures.is_empty() {
        return write(to, text_of(signatures).as_bytes());
    }
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Nobody finds a part of a plugin under its name: it is renamed when it is whole.
fn write(to: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = to.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(to).map_err(|error| error.error)?;
    Ok(())
}
