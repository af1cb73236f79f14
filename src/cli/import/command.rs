//! The commands of `import`.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::ansible::{Imported, Wanted, imported};
use super::hosts::{Read, read};
use super::notes::Notes;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::files::Document;
use crate::cli::output::{Console, Format, Row, to_yaml};
use crate::cli::problems;
use crate::playbook::inventory::{Allowance, parse_inventory};
use crate::playbook::{Problems, parse_cluster};

/// What to make documents of.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Make an Inventory and a Cluster of an inventory of Ansible
    Ansible(ImportAnsible),
}

/// Arguments of `import ansible`.
#[derive(Debug, clap::Args)]
pub struct ImportAnsible {
    /// Inventory of Ansible: a static file in INI or YAML, or what `ansible-inventory --list` printed; `-` is standard
    /// input
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// Run `ansible-inventory -i FILE --list`, which also knows dynamic inventories, group_vars and host_vars
    #[arg(long)]
    pub run: bool,
    /// What both documents are called
    #[arg(long, value_name = "NAME", default_value = "ansible")]
    pub name: String,
    /// Base URL at which the server is to find the gateway
    #[arg(long, value_name = "URL", default_value = DEFAULT_GATEWAY)]
    pub gateway: String,
    /// Variables that become attributes; all of them when absent, except for what may be a secret
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub attributes: Option<Vec<String>>,
    /// Which of a gateway's own actions may be done on all nodes; none when absent
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    pub allow: Vec<Allow>,
    /// Write inventory.yaml and cluster.yaml into this folder, not to standard output
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// Replace the files that are there
    #[arg(long, requires = "to")]
    pub overwrite: bool,
}

/// An action that a gateway has by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allow {
    /// `replicante.io/command`: any program
    Command,
    /// `replicante.io/script`: any script
    Script,
    /// `replicante.io/put-file`: any file
    PutFile,
}

impl From<Allow> for Allowance {
    fn from(allow: Allow) -> Self {
        match allow {
            Allow::Command => Self::Command,
            Allow::Script => Self::Script,
            Allow::PutFile => Self::PutFile,
        }
    }
}

/// Where a gateway listens unless it is told otherwise.
const DEFAULT_GATEWAY: &str = "http://127.0.0.1:8300";

/// A document that was made, for `-o`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Made<'a>(&'a Value);

impl Made<'_> {
    fn text(&self, pointer: &str) -> String {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Row for Made<'_> {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["KIND", "NAME"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![self.text("/kind"), self.text("/metadata/name")]
    }

    fn name(&self) -> String {
        format!("{}/{}", self.text("/kind").to_lowercase(), self.text("/metadata/name"))
    }
}

pub(crate) async fn import_command(
    command: &ImportCommand,
    console: &Console,
) -> Result<Exit, CliError> {
    match command {
        ImportCommand::Ansible(args) => ansible(args, console).await,
    }
}

async fn ansible(args: &ImportAnsible, console: &Console) -> Result<Exit, CliError> {
    let mut notes = Notes::default();
    let Read { file, bytes } = read(&args.from, args.run, &mut notes).await?;
    let attributes =
        args.attributes.as_ref().map(|names| names.iter().cloned().collect::<BTreeSet<_>>());
    let allow: Vec<Allowance> = args.allow.iter().copied().map(Allowance::from).collect();
    let wanted = Wanted {
        name: &args.name,
        gateway: &args.gateway,
        attributes: attributes.as_ref(),
        allow: &allow,
    };
    let invalid = |text: String, file: &str, Problems(problems): Problems| {
        let document = Document { file: file.to_owned(), text, first_line: 0 };
        let shown = problems::show(&document, &problems, console.look());
        CliError::Invalid { file: file.to_owned(), count: problems.len(), shown }
    };
    let made = imported(&bytes, &wanted, &mut notes);
    let made = made.map_err(|problems| {
        invalid(String::from_utf8_lossy(&bytes).into_owned(), &file, problems)
    })?;
    let (inventory, cluster) = (to_yaml(&made.inventory)?, to_yaml(&made.cluster)?);
    if let Err(problems) = parse_inventory(inventory.as_bytes()) {
        return Err(invalid(inventory, "the Inventory that came of it", problems));
    }
    if let Err(problems) = parse_cluster(cluster.as_bytes()) {
        return Err(invalid(cluster, "the Cluster that came of it", problems));
    }
    match &args.to {
        Some(folder) => {
            let files = [("inventory.yaml", &inventory), ("cluster.yaml", &cluster)];
            write(folder, &files, args.overwrite)?;
        }
        None => match console.format {
            Format::Table | Format::Wide | Format::Yaml => {
                console.document(&format!("{inventory}---\n{cluster}"))?;
            }
            Format::Json | Format::Name | Format::Picked => {
                console.list(&[Made(&made.inventory), Made(&made.cluster)])?;
            }
        },
    }
    tell(&made, &notes, args, console);
    Ok(Exit::Ok)
}

/// Writes the files, all or none of them where one is there already.
fn write(folder: &Path, files: &[(&str, &String)], overwrite: bool) -> Result<(), CliError> {
    let there = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists());
    if let Some(path) = there.filter(|_| !overwrite) {
        let message = format!("{} is there already; --overwrite replaces it", path.display());
        return Err(CliError::Unfit(message));
    }
    std::fs::create_dir_all(folder).map_err(CliError::Output)?;
    for (name, text) in files {
        let mut options = OpenOptions::new();
        options.write(true).create(overwrite).create_new(!overwrite).truncate(overwrite);
        let mut file = options.open(folder.join(name)).map_err(CliError::Output)?;
        file.write_all(text.as_bytes()).map_err(CliError::Output)?;
    }
    Ok(())
}

/// Says what was not carried over, and what comes next.
fn tell(made: &Imported, notes: &Notes, args: &ImportAnsible, console: &Console) {
    let lines = notes.lines(made.nodes);
    for line in &lines {
        console.say(&format!("note: {line}"));
    }
    let left = match lines.len() {
        0 => "nothing was left out".to_owned(),
        1 => "1 note above says what was left out".to_owned(),
        count => format!("{count} notes above say what was left out"),
    };
    let plural = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let (nodes, groups) = (plural(made.nodes, "node"), plural(made.groups, "group"));
    console.say(&format!("{nodes} in {groups}; {left}"));
    if args.allow.is_empty() {
        console.say_prose(
            "hint: nothing may be done on these nodes yet: declare `actions` in the Inventory, or import with \
             --allow command,script,put-file",
        );
    }
}
