//! `validate`: checks documents on this machine, without a server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::error::CliError;
use super::exit::Exit;
use super::output::{Console, Row};
use super::prepare::{PluginFile, Prepared, What, Wrong, plugin_problem, prepare};
use super::text::Paint;
use crate::playbook::{PlaybookDocument, PluginInfo, Problem, Problems, Source, resolve};
use crate::plugin::{Compile, CompileApart, HostConfig, PluginError, PluginHost};

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// File of playbooks and clusters, in YAML or JSON; `-` is standard input
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Valid {
    file: String,
    kind: &'static str,
    name: String,
    version: Option<String>,
    valid: bool,
}

impl Row for Valid {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["FILE", "KIND", "NAME", "VERSION", "CHECKED"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.file.clone(),
            self.kind.to_owned(),
            self.name.clone(),
            self.version.clone().unwrap_or_else(|| "-".to_owned()),
            "valid".to_owned(),
        ]
    }

    fn paint(&self) -> (&str, Paint) {
        ("valid", Paint::Good)
    }

    fn name(&self) -> String {
        let version = self.version.as_ref().map(|version| format!("@{version}"));
        format!("{}/{}{}", self.kind, self.name, version.unwrap_or_default())
    }
}

/// Runs `validate`.
pub(crate) async fn validate(args: &Validate, console: &Console) -> Result<Exit, CliError> {
    let prepared = prepare(&args.files, console.colour_messages)?;
    let mut host = None;
    let mut valid = Vec::new();
    let mut wrong = Wrong::default();
    for document in &prepared {
        match check(document, &mut host).await? {
            Ok(checked) => valid.push(checked),
            Err(problems) => wrong.add(&document.document, &problems, console.colour_messages),
        }
    }
    wrong.none_or_error()?;
    console.list(&valid)?;
    Ok(Exit::Ok)
}

async fn check(
    prepared: &Prepared,
    host: &mut Option<PluginHost>,
) -> Result<Result<Valid, Problems>, CliError> {
    let file = prepared.document.file.clone();
    match &prepared.what {
        What::Cluster(cluster) => {
            let name = cluster.name.clone();
            Ok(Ok(Valid { file, kind: "cluster", name, version: None, valid: true }))
        }
        What::Playbook { playbook, files } => {
            only_files(&file, playbook)?;
            let host = match host {
                Some(host) => host,
                // Starting it compiles the built-in plugins: not done for clusters alone.
                None => host.insert(start_host().map_err(CliError::PluginHost)?),
            };
            let (plugins, mut problems) = import(playbook, files, host).await;
            let builtins: Vec<PluginInfo> =
                host.builtins().iter().map(|builtin| builtin.info.clone()).collect();
            match resolve(playbook, &plugins, &builtins) {
                Ok(resolved) if problems.is_empty() => Ok(Ok(Valid {
                    file,
                    kind: "playbook",
                    name: resolved.name,
                    version: Some(resolved.version.to_string()),
                    valid: true,
                })),
                Ok(_) => Ok(Err(Problems(problems))),
                Err(Problems(more)) => {
                    // That nothing is known of a plugin which was refused goes without saying.
                    let refused: Vec<String> =
                        problems.iter().map(|problem| parent(&problem.path).to_owned()).collect();
                    problems.extend(more.into_iter().filter(|one| !refused.contains(&one.path)));
                    Ok(Err(Problems(problems)))
                }
            }
        }
    }
}

/// A file that somebody was sent may be there to be looked at, so it is compiled apart, as a server
/// does it.
fn start_host() -> Result<PluginHost, PluginError> {
    let compile = match CompileApart::this_program() {
        Ok(apart) => Compile::Apart(apart),
        Err(error) => {
            let message = format!("failed to find this program: {error}");
            return Err(PluginError { code: "unavailable", message });
        }
    };
    let config = HostConfig { compile, cache: cache_folder(), ..HostConfig::default() };
    match PluginHost::start(config.clone()) {
        // The cache only saves time.
        Err(error) if error.code == "unsafe-cache" => {
            PluginHost::start(HostConfig { cache: None, ..config })
        }
        started => started,
    }
}

/// Where this user's programs keep what they can make again.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("replibook").join("plugins"))
}

fn parent(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or(pointer, |(parent, _)| parent)
}

/// Refuses plugins that only a server knows.
fn only_files(file: &str, playbook: &PlaybookDocument) -> Result<(), CliError> {
    for plugin in playbook.plugins() {
        match plugin.source {
            Source::File(_) => {}
            Source::Store { .. } | Source::Oci(_) => {
                return Err(CliError::Usage(format!(
                    "plugin {:?} of {file} is not a file, so it can't be checked without a server; \
                     `replictl apply --dry-run` checks it with one",
                    plugin.name
                )));
            }
        }
    }
    Ok(())
}

async fn import(
    playbook: &PlaybookDocument,
    files: &[PluginFile],
    host: &PluginHost,
) -> (BTreeMap<String, PluginInfo>, Vec<Problem>) {
    let mut plugins = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files {
        match host.import(file.bytes.clone()).await {
            Ok(info) => {
                plugins.insert(file.name.clone(), info);
            }
            Err(error) => {
                problems.push(plugin_problem(playbook, &file.name, error.code, error.message));
            }
        }
    }
    (plugins, problems)
}
