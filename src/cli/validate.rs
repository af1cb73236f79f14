//! `validate`: checks documents on this machine, without a server, by the same code as the server does. What
//! only a server knows is reported as not checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::error::CliError;
use super::exit::Exit;
use super::files::Document;
use super::output::{Console, Row};
use super::prepare::{PluginFile, Prepared, What, Wrong, plugin_problem, prepare};
use super::problems;
use super::table::Narrower;
use super::text::Paint;
use crate::playbook::{
    PlaybookDocument, PluginInfo, Problem, Problems, Source, code, resolve, warnings,
};
use crate::plugin::{Compile, CompileApart, HostConfig, PluginError, PluginHost};

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// File of playbooks, clusters and policies, in YAML or JSON; `-` is standard input
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
pub(super) struct Valid {
    file: String,
    kind: &'static str,
    name: String,
    version: Option<String>,
    valid: bool,
    /// Names of plugins that only a server has: their use was not checked.
    unchecked: Vec<String>,
    /// Warnings: valid, but probably not intended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Problem>,
    #[serde(skip)]
    document: Document,
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
            if self.unchecked.is_empty() { "valid" } else { "in part" }.to_owned(),
        ]
    }

    fn narrower() -> &'static [Narrower] {
        &[
            Narrower::Cut,
            Narrower::Without("VERSION"),
            Narrower::Cut,
            Narrower::Without("KIND"),
            Narrower::Cut,
        ]
    }

    fn paint(&self) -> (&str, Paint) {
        match self.unchecked.is_empty() {
            true => ("valid", Paint::Good),
            false => ("in part", Paint::Busy),
        }
    }

    fn name(&self) -> String {
        let version = self.version.as_ref().map(|version| format!("@{version}"));
        format!("{}/{}{}", self.kind, self.name, version.unwrap_or_default())
    }
}

pub(crate) async fn validate(args: &Validate, console: &Console) -> Result<Exit, CliError> {
    let mut wrong = Wrong::new(console.look());
    let prepared = prepare(&args.files, &mut wrong);
    let valid = check_all(&prepared, &mut wrong).await?;
    for one in &valid {
        if !one.warnings.is_empty() {
            let shown = problems::show_warnings(&one.document, &one.warnings, console.look());
            console.say_lines(shown.trim_end());
        }
        for plugin in &one.unchecked {
            console.say_prose(&format!(
                "warning: {}: plugin {plugin:?} is known only to a server, so its kind and its \
                 arguments were not checked; `replictl apply --dry-run` checks them",
                one.file
            ));
        }
    }
    wrong.none_or_error()?;
    console.list(&valid)?;
    Ok(Exit::Ok)
}

/// Checks documents as far as that is possible without a server, and adds what is wrong with them.
pub(super) async fn check_all(
    prepared: &[Prepared],
    wrong: &mut Wrong,
) -> Result<Vec<Valid>, CliError> {
    let mut host = None;
    let mut valid = Vec::new();
    for document in prepared {
        match check(document, &mut host).await? {
            Ok(checked) => valid.push(checked),
            Err(problems) => wrong.add(&document.document, &problems),
        }
    }
    Ok(valid)
}

async fn check(
    prepared: &Prepared,
    host: &mut Option<PluginHost>,
) -> Result<Result<Valid, Problems>, CliError> {
    let file = prepared.document.file.clone();
    let (playbook, files, unreadable) = match &prepared.what {
        What::Playbook { playbook, files, problems } => (playbook, files, problems),
        What::Cluster(cluster) => return Ok(Ok(whole(prepared, "cluster", &cluster.name))),
        What::Policy(policy) => return Ok(Ok(whole(prepared, "policy", &policy.name))),
        What::Access(access) => return Ok(Ok(whole(prepared, "access", &access.name))),
        What::Inventory(inventory) => {
            return Ok(Ok(whole(prepared, "inventory", &inventory.name)));
        }
    };
    let host = match host {
        Some(host) => host,
        // Starting the host compiles the built-in plugins, so this is not done if there are only clusters.
        None => host.insert(start_host().map_err(CliError::PluginHost)?),
    };
    let (plugins, mut problems) = import(playbook, files, host).await;
    problems.extend(unreadable.iter().cloned());
    let builtins: Vec<PluginInfo> =
        host.builtins().iter().map(|builtin| builtin.info.clone()).collect();
    if let Err(Problems(found)) = resolve(playbook, &plugins, &builtins) {
        // Nothing is known about a plugin that was refused, or that only a server has, so that needs no further
        // problem.
        problems.extend(found.into_iter().filter(|problem| {
            problem.code != code::UNKNOWN_PLUGIN || !is_declaration(&problem.path)
        }));
    }
    if !problems.is_empty() {
        return Ok(Err(Problems(problems)));
    }
    let unchecked = playbook.plugins().into_iter().filter(|plugin| match plugin.source {
        Source::File(_) => false,
        Source::Store { .. } | Source::Oci(_) => true,
    });
    Ok(Ok(Valid {
        file,
        kind: "playbook",
        name: playbook.name().to_owned(),
        version: Some(playbook.version().to_string()),
        valid: true,
        unchecked: unchecked.map(|plugin| plugin.name).collect(),
        warnings: warnings(playbook, &plugins),
        document: prepared.document.clone(),
    }))
}

/// A valid document of a kind that needs nothing beside it.
fn whole(prepared: &Prepared, kind: &'static str, name: &str) -> Valid {
    Valid {
        file: prepared.document.file.clone(),
        kind,
        name: name.to_owned(),
        version: None,
        valid: true,
        unchecked: Vec::new(),
        warnings: Vec::new(),
        document: prepared.document.clone(),
    }
}

/// A plugin in a file that somebody was sent may be hostile, so it is compiled in a process of its own, as a
/// server does.
pub(super) fn start_host() -> Result<PluginHost, PluginError> {
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

/// The folder in which this user's programs keep what they can make again.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("replibook").join("plugins"))
}

/// Whether a pointer is that of an entry in `plugins`. For every plugin about which nothing is known, this
/// place has its problem already, or needs none.
fn is_declaration(pointer: &str) -> bool {
    pointer.strip_prefix("/spec/plugins/").is_some_and(|name| !name.contains('/'))
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
