//! `plugin inspect`: what a plugin is, from its bytes alone.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;

use super::command::parse_reference;
use super::signatures::{Signed, beside};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::files::read_plugin;
use crate::cli::imports::size;
use crate::cli::output::{Console, Format, Row, to_yaml};
use crate::cli::registry_args::RegistryArgs;
use crate::cli::validate::start_host;
use crate::cli::work::Work;
use crate::playbook::policy::Signature;
use crate::playbook::{OciReference, PluginInfo};
use crate::plugin::Interfaces;
use crate::registry::{Progress, Resolved};
use crate::run::Digest;

/// Arguments of `plugin inspect`.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// File of the plugin, or `oci://HOST/REPOSITORY:TAG`
    #[arg(value_name = "FILE|REFERENCE")]
    pub plugin: String,
    /// How registries are reached
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// What is known about a plugin without a server.
#[derive(Debug, Serialize)]
pub(super) struct Plugin {
    /// Where its bytes are.
    pub(super) source: String,
    /// Digest of its manifest, if it is in a registry.
    pub(super) manifest: Option<Digest>,
    #[serde(flatten)]
    pub(super) info: PluginInfo,
    /// What it imports, in the order of its bytes.
    pub(super) imports: Vec<String>,
    /// Its signatures, which nobody has checked.
    pub(super) signatures: Vec<Signed>,
}

impl Plugin {
    /// Has a plugin checked and asks it to describe itself, in a process of its own, as a server does.
    pub(super) async fn of(bytes: Vec<u8>, source: &str) -> Result<Self, CliError> {
        let imports = Interfaces::of(&bytes).imports;
        let host = start_host().map_err(CliError::PluginHost)?;
        let info = host.import(Bytes::from(bytes)).await;
        let info =
            info.map_err(|error| CliError::Plugin { source: error, of: source.to_owned() })?;
        let (source, signatures) = (source.to_owned(), Vec::new());
        Ok(Self { source, manifest: None, info, imports, signatures })
    }
}

impl Row for Plugin {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["NAME", "VERSION", "KIND", "SIZE", "DIGEST"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let PluginInfo { name, version, kind, size: bytes, digest, .. } = &self.info;
        let (kind, digest) = (kind.as_str().to_owned(), digest.to_string());
        vec![name.clone(), version.clone(), kind, size(*bytes), digest]
    }

    fn name(&self) -> String {
        format!("plugin/{}", self.info.digest)
    }
}

pub(super) async fn inspect(args: &Inspect, console: &Console) -> Result<Exit, CliError> {
    let plugin = if args.plugin.starts_with("oci://") {
        let reference = parse_reference(&args.plugin).map_err(CliError::Usage)?;
        let Fetched { found, bytes, signatures } =
            fetch(&args.registries, &reference, console).await?;
        let plugin = Plugin::of(bytes.to_vec(), &args.plugin).await?;
        let signatures = Signed::all(&signatures.unwrap_or_default());
        Plugin { manifest: Some(found.manifest), signatures, ..plugin }
    } else {
        let path = PathBuf::from(&args.plugin);
        let signatures = Signed::all(&beside(&path)?);
        let plugin = Plugin::of(read_file(&path)?, &path.display().to_string()).await?;
        Plugin { signatures, ..plugin }
    };
    match console.format {
        Format::Table | Format::Wide => console.data(&text(&plugin)?)?,
        Format::Json | Format::Yaml | Format::Name | Format::Picked => console.one(&plugin)?,
    }
    Ok(Exit::Ok)
}

fn text(plugin: &Plugin) -> Result<String, CliError> {
    let info = &plugin.info;
    let mut lines = vec![
        format!("Plugin:   {}@{}", info.name, info.version),
        format!("Kind:     {}", info.kind.as_str()),
        format!("Summary:  {}", info.summary),
        format!("Digest:   {}", info.digest),
        format!("Size:     {}", size(info.size)),
        format!("Source:   {}", plugin.source),
    ];
    lines.extend(plugin.manifest.as_ref().map(|digest| format!("Manifest: {digest}")));
    lines.extend(plugin.signatures.iter().map(|one| format!("Signed:   {}", one.line())));
    lines.extend(plugin.imports.iter().map(|name| format!("Imports:  {name}")));
    lines.push(String::new());
    lines.push("Arguments, as a JSON Schema:".to_owned());
    lines.extend(to_yaml(&info.arguments)?.lines().map(|line| format!("  {line}")));
    Ok(lines.join("\n") + "\n")
}

/// A plugin of a registry.
pub(super) struct Fetched {
    pub(super) found: Resolved,
    pub(super) bytes: Bytes,
    /// Its signatures, which nobody has checked; none if the registry did not give them.
    pub(super) signatures: Option<Vec<Signature>>,
}

/// Reads a plugin of a registry with its signatures, and shows how far that is.
pub(super) async fn fetch(
    registries: &RegistryArgs,
    reference: &OciReference,
    console: &Console,
) -> Result<Fetched, CliError> {
    let work = Work::new(console);
    work.at(|| format!("pulling {reference}"));
    let mut artefact = registries.of_person()?.open(reference).await?;
    let found = artefact.found().clone();
    let signatures = match artefact.signatures().await {
        Ok(signatures) => Some(signatures),
        Err(error) => {
            console.say_prose(&format!("warning: its signatures are not known: {error}"));
            None
        }
    };
    work.at(|| format!("pulling {reference}: {}", size(found.size)));
    let bytes = artefact.bytes(&Progress::default()).await?;
    Ok(Fetched { found, bytes, signatures })
}

/// The bytes of a file that is a component.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    read_plugin(path).map_err(|source| CliError::Read { path: path.display().to_string(), source })
}
