//! `describe`: everything about one thing. The text is only for people; JSON and YAML give the thing itself, as
//! `get` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Subcommand;

use super::agent_rows::Plan;
use super::client::Client;
use super::describe_more::{
    describe_agent, describe_cluster, describe_plugin, origin as provenance,
};
use super::error::{CliError, ClientError};
use super::exit::Exit;
use super::get::split_version;
use super::held;
use super::output::{Console, Format, Room};
use super::page::say_damaged;
use super::rows::{agents_of, stage_of};
use super::run::{explain, find_run, paragraph};
use super::text::{clean, moment, wrap_line};
use crate::api::wire::{
    ApprovalView, EngineRef, Listing, PlaybookView, RunView, SignatureView, TroubleView,
};
use crate::playbook::policy::{PublicKey, asks};
use crate::playbook::{PluginPin, SignedBy, Vcs};
use crate::run::{AgentRecord, AgentState, Digest, dropped_in_words};
use crate::shown::clean_lines;

/// Failed agents that are shown with a run: the first ones tell what is wrong.
const SHOWN_FAILED: usize = 20;

/// What to describe.
#[derive(Debug, Subcommand)]
pub enum Describe {
    /// A run: how far it is and why, and what it was started with
    Run {
        /// Identifier of the run, 6 or more consecutive digits of it, or `last`
        id: String,
    },
    /// A playbook, with its document
    Playbook {
        /// The playbook; without a version, the highest one
        #[arg(value_name = "NAME[@VERSION]")]
        name: String,
    },
    /// A cluster: its agents, how its platform answered, its active runs, and its document
    Cluster {
        /// Name of the cluster
        name: String,
    },
    /// A plugin: what it says about itself, its arguments, and the playbooks that use it
    Plugin {
        /// Digest of the plugin, at least 6 digits of it, or NAME@VERSION
        name: String,
    },
    /// An agent of a cluster, asked just now, and how it fared in the latest runs
    Agent {
        /// Identifier of the agent
        id: String,
        /// Name of the cluster
        #[arg(long, value_name = "CLUSTER")]
        cluster: String,
    },
}

pub(crate) async fn describe(
    client: &Client,
    what: &Describe,
    console: &Console,
) -> Result<Exit, CliError> {
    match what {
        Describe::Run { id } => {
            let run = client.run(find_run(client, id).await?).await?;
            if !for_people(console) {
                console.one(&run)?;
                return Ok(Exit::Ok);
            }
            let failed = client.agents(run.id).only("state", Some(AgentState::Failed));
            let failed: Listing<AgentRecord> = failed.read(None, SHOWN_FAILED).await?;
            say_damaged(console, &failed.damaged);
            let failed = match failed.items.is_empty() {
                true => String::new(),
                false => Plan::of_run(client, run.id).await.table(failed.items, console),
            };
            let why = explain(client, run.id).await?;
            let room = console.data_room();
            let why = why.map(|why| paragraph(client, &why, room)).unwrap_or_default();
            console.data(&describe_run(&run, &why, &failed, room))?;
        }
        Describe::Playbook { name } => {
            let (name, version) = split_version(name);
            let playbook = client.playbook(name, version).await?;
            if for_people(console) {
                let signed = signatures_of(client, &playbook.plugins).await?;
                console.data(&describe_playbook(&playbook, &signed, console.data_room()))?;
            } else {
                console.one(&playbook)?;
            }
        }
        Describe::Cluster { name } => describe_cluster(client, name, console).await?,
        Describe::Plugin { name } => describe_plugin(client, name, console).await?,
        Describe::Agent { id, cluster } => describe_agent(client, cluster, id, console).await?,
    }
    Ok(Exit::Ok)
}

pub(super) fn for_people(console: &Console) -> bool {
    match console.format {
        Format::Table | Format::Wide => true,
        Format::Json | Format::Yaml | Format::Name | Format::Picked => false,
    }
}

/// Columns that a label and the space after it take.
const LABELS: usize = 12;

/// Lines with a label and a text each, and a document below them.
pub(super) struct Lines {
    pub(super) text: String,
    /// Columns of the terminal; `None` if lines are not wrapped.
    room: Option<usize>,
}

impl Lines {
    /// No lines yet, with the given room.
    pub(super) fn within(room: Room) -> Self {
        Self { text: String::new(), room: room.line }
    }

    pub(super) fn line(&mut self, label: &str, text: &str) {
        let line = format!("{:<width$} {}", format!("{label}:"), clean(text), width = LABELS - 1);
        let line = self.room.map(|room| wrap_line(&line, room, LABELS)).unwrap_or(line);
        let _ = writeln!(self.text, "{line}");
    }

    pub(super) fn line_if(&mut self, label: &str, text: Option<String>) {
        if let Some(text) = text {
            self.line(label, &text);
        }
    }

    /// A digest, shortened if no line can hold the whole one.
    pub(super) fn digest(&self, digest: &Digest) -> String {
        match self.room {
            Some(room) if room < digest.as_str().len() => format!("sha256:{}", digest.short()),
            Some(_) | None => digest.to_string(),
        }
    }

    /// Adds the text of a document below the lines.
    pub(super) fn document(&mut self, document: Option<&str>) {
        if let Some(document) = document {
            let _ = write!(self.text, "\n{}\n", clean_lines(document));
        }
    }

    /// Adds the plugins, each with what is granted to it, and with its signatures where they are known.
    pub(super) fn plugins(&mut self, plugins: &BTreeMap<String, PluginPin>, signed: &Signed) {
        for (name, pin) in plugins {
            let digest = self.digest(&pin.digest);
            self.line("Plugin", &format!("{name} {} {} {digest}", pin.version, pin.source));
            if let Some(came) = &pin.provenance {
                self.line("  From", &provenance(came));
            }
            self.line_if("  Signers", signers(&pin.signers));
            for ask in asks(&pin.grants) {
                self.line("  Granted", &ask.to_string());
            }
            for signature in signed.get(&pin.digest).into_iter().flatten() {
                self.line("  Signed", &signed_by(signature));
            }
        }
    }
}

/// Signatures of plugins, by digest.
pub(super) type Signed = BTreeMap<Digest, Vec<SignatureView>>;

/// The signatures of plugins. A plugin that the server can't show has none here: the playbook is shown nevertheless.
async fn signatures_of(
    client: &Client,
    plugins: &BTreeMap<String, PluginPin>,
) -> Result<Signed, ClientError> {
    let mut signed = Signed::new();
    for pin in plugins.values().filter(|pin| !pin.source.starts_with("builtin:")) {
        match client.plugin(&pin.digest).await {
            Ok(plugin) => drop(signed.insert(pin.digest.clone(), plugin.signatures)),
            Err(ClientError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signed)
}

/// Who had signed a plugin when its playbook was applied, as human-readable text.
fn signers(signers: &[SignedBy]) -> Option<String> {
    let named = signers.iter().map(|SignedBy { name, key }| match PublicKey::parse(key) {
        Some(key) => format!("{name} (key {})", key.id()),
        None => name.clone(),
    });
    let named: Vec<_> = named.collect();
    (!named.is_empty()).then(|| format!("when applied: {}", named.join(", ")))
}

/// Who made a signature, as human-readable text.
pub(super) fn signed_by(signature: &SignatureView) -> String {
    let SignatureView { key_id, signer, trusted_comment } = signature;
    match signer {
        Some(name) => format!("by {name} (key {key_id}): {trusted_comment}"),
        None => format!("not checked, says it is by key {key_id}: {trusted_comment}"),
    }
}

/// Everything about a run. `why` is its explanation, and `failed` a table of agents; each may be empty.
fn describe_run(run: &RunView, why: &str, failed: &str, room: Room) -> String {
    let mut lines = Lines::within(room);
    lines.line("Run", &run.id.to_string());
    lines.line("Playbook", &format!("{}@{}", run.playbook, run.version));
    lines.line_if("From", run.vcs.as_ref().map(origin));
    lines.line("Cluster", &run.cluster);
    lines.line("Status", &format!("{} since {}", run.status, moment(run.since)));
    lines.line_if("Why", run.reason.as_ref().map(|reason| reason.message.clone()));
    if let Some(asks) = &run.asks {
        lines.line_if("Approvals", asks.has_rules().then(|| asks.so_far()));
        lines.line("Approve sum", &asks.seen.to_string());
    }
    lines.line_if("Waits", run.waits.as_deref().map(waits));
    lines.line_if("Engine", run.engine.as_ref().map(engine));
    lines.line_if("Trouble", run.trouble.as_ref().map(trouble));
    lines.line("Stage", &stage_of(run));
    // When a run has ended, the agents of all its stages are counted, and each stage may have selected
    // different ones.
    let of_stage = run.outcomes.is_empty() || run.stages.len() <= 1;
    let selected =
        if of_stage && !run.once { format!(" ({} selected)", run.selected) } else { String::new() };
    lines.line("Agents", &format!("{}{selected}", agents_of(run)));
    lines.line_if("Held", held::in_short(&run.held));
    let overridden: Vec<_> = run.overridden.iter().map(String::as_str).collect();
    lines.line_if("Overridden", (!overridden.is_empty()).then(|| overridden.join(", ")));
    lines.line_if("Retries", run.retry_of.map(|of| format!("the {of} agents of run {}", of.run)));
    let narrowed = (!run.narrowed.is_none()).then(|| run.narrowed.to_string());
    lines.line_if("Narrowed", narrowed);
    let closing = run.closing.as_ref().filter(|_| run.finish_ts.is_none());
    let ends = closing.map(|closing| format!("as {}: {}", closing.outcome, closing.reason.message));
    lines.line_if("Ends", ends);
    lines.line_if("Gone", run.gone.as_ref().map(ToString::to_string));
    lines.line_if("Log", dropped_in_words(&run.dropped_lines));
    lines.line_if("Started by", run.started_by.clone());
    lines.line("Created", &moment(run.created_at));
    lines.line_if("Started", run.started_at.map(moment));
    lines.line_if("Finished", run.finish_ts.map(moment));
    for (name, value) in &run.params {
        lines.line("Parameter", &format!("{name} = {value}"));
    }
    lines.plugins(&run.plugins, &Signed::new());
    let mut text = lines.text;
    for part in [why, failed].into_iter().filter(|part| !part.is_empty()) {
        let _ = write!(text, "\n{part}");
    }
    text
}

/// What a run waits for, without the word that the label already says.
fn waits(waits: &str) -> String {
    waits.strip_prefix("waits ").unwrap_or(waits).to_owned()
}

fn engine(engine: &EngineRef) -> String {
    let name = engine.name.as_deref().unwrap_or(&engine.id.0);
    format!("{name} since {}", moment(engine.since))
}

fn trouble(trouble: &TroubleView) -> String {
    let since = trouble.since.map(|at| format!(" since {}", moment(at))).unwrap_or_default();
    format!("{}{since}: {}", trouble.code.as_str(), trouble.message)
}

fn describe_playbook(playbook: &PlaybookView, signed: &Signed, room: Room) -> String {
    let mut lines = Lines::within(room);
    lines.line("Playbook", &format!("{}@{}", playbook.name, playbook.version));
    lines.line_if("Summary", playbook.summary.clone());
    lines.line_if("From", playbook.vcs.as_ref().map(origin));
    lines.line("Applied", &moment(playbook.applied_at));
    lines.line("Stages", &playbook.stages.join(", "));
    lines.line_if("Approval", playbook.approval.as_ref().map(ApprovalView::in_words));
    lines.plugins(&playbook.plugins, signed);
    lines.document(playbook.document.as_deref());
    lines.text
}

fn origin(vcs: &Vcs) -> String {
    let parts = [Some(&vcs.repository), vcs.commit.as_ref(), vcs.path.as_ref()];
    parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::run_view;
    use crate::cli::text::width;
    use crate::run::{LogLevel, RunStatus, StatusReason};

    const ANY: Room = Room { prose: None, line: None };

    #[test]
    fn a_run_is_described_with_where_it_came_from_and_who_failed() {
        let mut run = run_view(RunStatus::Paused);
        run.vcs = Some(Vcs {
            repository: "https://git.example.com/ops".to_owned(),
            commit: Some("3f2c9ad".to_owned()),
            path: None,
        });
        run.params.insert("grace".to_owned(), serde_json::json!(30));
        run.dropped_lines = [(LogLevel::Debug, 6_250)].into();
        let shown = describe_run(&run, "It waits.\n", "AGENT\nnode-4\n", ANY);
        for part in [
            "From:       https://git.example.com/ops 3f2c9ad\n",
            "Status:     PAUSED since 2025-11-22T09:00:00Z\n",
            "Agents:     no agents (12 selected)\n",
            "Log:        older lines are gone (6250 debug): a run keeps 100000 lines or 32 MiB",
            "Parameter:  grace = 30\n\nIt waits.\n\n",
            "node-4",
        ] {
            assert!(shown.contains(part), "{part:?} in\n{shown}");
        }
    }

    #[test]
    fn a_playbook_is_described_with_what_its_plugins_may_and_who_signed_them() {
        let digest = Digest::of(b"drain");
        let playbook: PlaybookView = serde_json::from_value(serde_json::json!({
            "name": "ops/drain", "version": "1.0.0", "summary": null, "vcs": null, "stages": ["all"],
            "plugins": { "drain": { "source": "file:drain.wasm", "digest": digest, "kind": "step",
                "name": "drain", "version": "1.4.0",
                "grants": { "actions": ["a.example/*"], "http": [] } } },
            "approval": { "before_start": true, "by": ["group:id/dba"], "count": 2, "not_by_starter": true,
                "deadline": { "after": 3_600_000, "then": "pause" } },
            "applied_at": "2025-11-22T09:00:00Z", "change": null, "document": null,
        }))
        .unwrap();
        let signature = |signer: Option<&str>| SignatureView {
            key_id: "E7620F1842B4E81F".to_owned(),
            signer: signer.map(str::to_owned),
            trusted_comment: "file:drain.wasm".to_owned(),
        };
        let signed = [(digest, vec![signature(Some("ops")), signature(None)])].into();
        let shown = describe_playbook(&playbook, &signed, ANY);
        for part in [
            "Approval:   2 approvals before the start and where a strategy asks; wants group:id/dba; not by who started the \
             run; within 1h, then it has to be asked again\n",
            "  Granted:  actions a.example/*\n",
            "  Signed:   by ops (key E7620F1842B4E81F): file:drain.wasm\n",
            "  Signed:   not checked, says it is by key E7620F1842B4E81F: file:drain.wasm\n",
        ] {
            assert!(shown.contains(part), "{part:?} in\n{shown}");
        }
    }

    #[test]
    fn a_queued_run_is_described_with_what_it_waits_for() {
        let mut run = run_view(RunStatus::Pending);
        run.reason = Some(StatusReason::cluster_busy(run.id, 1));
        let shown = describe_run(&run, "", "", ANY);
        let why =
            format!("Why:        waits for run {} to end; 1 more is queued before it\n", run.id);
        assert!(shown.contains(&why), "{why} in\n{shown}");
    }

    #[test]
    fn a_run_whose_agents_are_held_is_described_with_that() {
        let mut run = run_view(RunStatus::Running);
        (run.held, run.overridden) = (crate::cli::sample::held(), ["rack".to_owned()].into());
        let shown = describe_run(&run, "", "", ANY);
        let held = "Held:       5 agents by one-zone, quorum, since 2025-11-22T09:00:00Z\n";
        assert!(shown.contains(held), "{shown}");
        assert!(shown.contains("Overridden: rack\n"), "{shown}");
    }

    #[test]
    fn a_run_without_a_place_is_described_with_that() {
        let mut run = run_view(RunStatus::Pending);
        run.waits = Some("waits for a place on its engine".to_owned());
        let shown = describe_run(&run, "", "", ANY);
        assert!(shown.contains("Waits:      for a place on its engine\n"), "{shown}");
    }

    #[test]
    fn lines_fit_a_terminal() {
        let mut lines = Lines::within(Room { prose: Some(80), line: Some(80) });
        let digest = format!("sha256:{}", "0".repeat(64));
        lines.line("Plugin", &format!("zone-by-zone 1.0.0 store:zone-by-zone@1.0.0 {digest}"));
        lines.line("Agent version", "0.1.0");
        let expected = format!(
            "Plugin:     zone-by-zone 1.0.0 store:zone-by-zone@1.0.0\n         {digest}\nAgent version: 0.1.0\n"
        );
        assert_eq!(lines.text, expected);
        let digest = Digest::of(b"x");
        assert_eq!(lines.digest(&digest), digest.to_string());
        let narrow = Lines::within(Room { prose: Some(40), line: Some(40) });
        assert_eq!(narrow.digest(&digest), format!("sha256:{}", digest.short()));
        let mut run = run_view(RunStatus::Pending);
        run.reason = Some(StatusReason::cluster_busy(run.id, 3));
        let shown = describe_run(&run, "", "", Room { prose: Some(45), line: Some(45) });
        assert!(shown.lines().all(|line| width(line) <= 48), "{shown}");
    }
}
