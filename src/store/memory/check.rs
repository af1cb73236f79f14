//! A look at every document. Here documents are only damaged on request.

use super::damaged::Damaged;
use super::state::{Paged, State, WHY};
use crate::checked::Checked;
use crate::damage::{Damage, PLUGIN_BYTES};
use replibook_core::run::{AgentRecord, Journal, LogLine, RunEvent, RunId};

impl State {
    pub(super) fn check(&self) -> Checked {
        let mut checked = Checked::default();
        for (place, documents) in [
            ("playbooks", self.playbooks.len()),
            ("clusters", self.clusters.len()),
            ("plugins", self.plugins.len()),
            ("plugin_bytes", self.plugins.len()),
            ("runs", self.runs.len()),
            ("agent_records", self.records.values().map(|records| records.len()).sum()),
            ("journals", self.journals.values().map(|journals| journals.len()).sum()),
            ("logs", self.logs.values().map(|lines| lines.len()).sum()),
            ("events", self.events.values().map(|events| events.len()).sum()),
            ("commands", self.commands.len()),
            ("locks", self.locks.len()),
            ("troubles", self.troubles.len()),
        ] {
            checked.read.insert(place, documents as u64);
        }
        for damaged in &self.damaged {
            let (place, run, what, key) = self.named(damaged);
            checked.flaw(place, run, Damage::new(what, key, &WHY));
        }
        checked
    }

    fn named(&self, damaged: &Damaged) -> (&'static str, Option<RunId>, &'static str, String) {
        match damaged {
            Damaged::Snapshot(run)
            | Damaged::Progress(run)
            | Damaged::Status(run)
            | Damaged::ClusterOf(run) => ("runs", Some(*run), "a run", String::new()),
            Damaged::Record(run, key) => {
                ("agent_records", Some(*run), AgentRecord::WHAT, AgentRecord::words(key))
            }
            Damaged::Journal(run, key) => {
                ("journals", Some(*run), Journal::WHAT, Journal::words(key))
            }
            Damaged::Event(run, key) => {
                ("events", Some(*run), RunEvent::WHAT, RunEvent::words(key))
            }
            Damaged::Line(run, key) => ("logs", Some(*run), LogLine::WHAT, LogLine::words(key)),
            Damaged::Command(id) => {
                let run = self.commands.get(id).map(|command| command.run);
                ("commands", run, "a command", id.0.to_string())
            }
            Damaged::Playbook(name, version) => {
                ("playbooks", None, "a playbook", format!("{name}@{version}"))
            }
            Damaged::Cluster(name) => ("clusters", None, "a cluster", name.clone()),
            Damaged::Plugin(digest) => ("plugins", None, "a plugin", digest.to_string()),
            Damaged::PluginBytes(digest) => {
                ("plugin_bytes", None, PLUGIN_BYTES, digest.to_string())
            }
            Damaged::Lock(cluster) => ("locks", None, "the lock of a cluster", cluster.clone()),
            Damaged::Trouble(run) => {
                ("troubles", Some(*run), "the trouble of a run", String::new())
            }
        }
    }
}
