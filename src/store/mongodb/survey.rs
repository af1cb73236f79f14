//! Reads every document of the database, including those that nobody asks for, to find damage before it matters.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use uuid::Uuid;

use super::base::{Base, call, whole};
use super::bodies::same;
use super::codec::{CodecError, from_document};
use super::rows::{decode, key_of};
use super::{bodies, engines, plugins};
use crate::checked::Checked;
use crate::contract::Result;
use crate::damage::Damage;
use crate::documents::{Cluster, Plugin, StoredPlaybook};
use crate::error::StoreError;
use crate::keys::version_key;
use replibook_core::run::{AgentRecord, Digest, Journal, LogLine, RunEvent, RunId, Trouble};

/// How many documents are fetched at a time: few enough that the largest runs fit into memory together.
const AT_A_TIME: u32 = 100;

/// Whether a document is intact. The error says what is wrong with it.
type Sound = std::result::Result<(), String>;

/// The findings so far.
#[derive(Default)]
struct Survey {
    checked: Checked,
    /// The digests that are pinned, with one thing that pins each.
    pins: BTreeMap<String, String>,
    plugins: BTreeSet<String>,
}

/// Reads every document, and goes on past damage.
///
/// # Errors
/// [`StoreError::Unavailable`] when the server does not answer.
pub(super) async fn survey(base: &Base) -> Result<Checked> {
    let mut survey = Survey::default();
    survey.objects(base).await?;
    survey.runs(base).await?;
    survey.records(base).await?;
    survey.bytes(base).await?;
    let Survey { mut checked, pins, plugins } = survey;
    for (digest, by) in pins.into_iter().filter(|(digest, _)| !plugins.contains(digest)) {
        if !is_missing(base, &digest).await? {
            continue;
        }
        let why = format!("it is not there, and is pinned by {by}");
        checked.flaw("plugins", None, Damage::new("a plugin", digest, &why));
    }
    Ok(checked)
}

/// Checks again whether a plugin that was not seen is pinned and missing at this moment: it may have been added
/// after the plugins were read, or removed together with what pinned it. Finished runs do not count, because they
/// may have expired, and then pin nothing.
async fn is_missing(base: &Base, digest: &str) -> Result<bool> {
    let doing = "look for a plugin again";
    let by_playbook = base.playbooks.find_one(doc! { "pins": digest });
    let by_run = base.runs.find_one(doc! { "pins": digest, "finish_ts": Bson::Null });
    let id = doc! { "_id": 1 };
    let is_pinned = call(doing, by_playbook.projection(id.clone())).await?.is_some()
        || call(doing, by_run.projection(id.clone())).await?.is_some();
    let there = base.plugins.find_one(doc! { "_id": digest }).projection(id);
    Ok(is_pinned && call(doing, there).await?.is_none())
}

impl Survey {
    /// Reads all documents of a collection. `sound` says what is wrong with one of them.
    async fn each(
        &mut self,
        (place, collection, what): (&'static str, &Collection<Document>, &'static str),
        key: &[&str],
        sound: impl Fn(&mut Self, &RawDocument) -> Sound,
    ) -> Result<()> {
        self.checked.looked_at(place);
        let doing = format!("read all of {place}");
        let all = collection.clone_with_type::<RawDocumentBuf>();
        let mut found = call(&doing, all.find(doc! {}).batch_size(AT_A_TIME)).await?;
        while let Some(raw) = call(&doing, found.try_next()).await? {
            self.checked.read(place);
            if let Err(why) = sound(self, &raw) {
                let run = raw.get_binary(if place == "runs" { "_id" } else { "run" });
                let run = run.ok().and_then(|id| Uuid::from_slice(id.bytes).ok()).map(RunId);
                self.checked.flaw(place, run, Damage::new(what, key_of(&raw, key), &why));
            }
        }
        Ok(())
    }

    async fn objects(&mut self, base: &Base) -> Result<()> {
        let playbooks = ("playbooks", &base.playbooks, "a playbook");
        self.each(playbooks, &["_id"], |survey, raw| {
            let StoredPlaybook { playbook, content, .. } = decode(raw, from_document)?;
            let id = format!("{}@{}", playbook.name, playbook.version);
            same(raw, "_id", &id)?;
            same(raw, "version_key", &version_key(&playbook.version))?;
            same(raw, "content", content.as_str())?;
            let pins = playbook.plugins.values().map(|pin| pin.digest.as_str()).collect();
            survey.pin(raw, &pins, &format!("playbook {id}"))
        })
        .await?;
        self.each(("clusters", &base.clusters, "a cluster"), &["_id"], |_, raw| {
            let cluster: Cluster = decode(raw, from_document)?;
            same(raw, "_id", &cluster.spec.name)?;
            counter(raw, "runs")
        })
        .await?;
        self.each(("plugins", &base.plugins, "a plugin"), &["_id"], |survey, raw| {
            survey.plugins.extend(raw.get_str("_id").ok().map(str::to_owned));
            let plugin: Plugin = decode(raw, from_document)?;
            same(raw, "_id", plugin.info.digest.as_str())
        })
        .await?;
        self.each(("engines", &base.engines, "an engine"), &["_id"], |_, raw| {
            let engine = decode(raw, engines::read)?;
            same(raw, "_id", &engine.report.id.0)
        })
        .await?;
        self.each(("locks", &base.locks, "the lock of a cluster"), &["_id"], |_, raw| {
            raw.get_str("_id").map_err(|error| error.to_string())?;
            identifier(raw, "run").map(drop)
        })
        .await
    }

    async fn runs(&mut self, base: &Base) -> Result<()> {
        self.each(("runs", &base.runs, "a run"), &[], |survey, raw| {
            let id = identifier(raw, "_id")?;
            let run = bodies::read_run(raw).map_err(|damaged| damaged.damage.why)?;
            if run.id().0 != id {
                return Err(format!("its snapshot is that of run {}", run.id()));
            }
            lease(raw)?;
            counter(raw, "commits")?;
            counter(raw, "commands")?;
            let pins = run.snapshot.pins().into_iter().map(Digest::as_str).collect();
            survey.pin(raw, &pins, &format!("run {id}"))
        })
        .await?;
        self.each(("troubles", &base.troubles, "the trouble of a run"), &["_id"], |_, raw| {
            let trouble: Trouble = decode(raw, from_document)?;
            match trouble.run.0 == identifier(raw, "_id")? {
                true => Ok(()),
                false => Err(format!("it is that of run {}", trouble.run)),
            }
        })
        .await
    }

    async fn records(&mut self, base: &Base) -> Result<()> {
        fn read<T>(
            read: impl Fn(Document) -> std::result::Result<T, CodecError>,
        ) -> impl Fn(&mut Survey, &RawDocument) -> Sound {
            move |_, raw| decode(raw, &read).map(drop)
        }
        let records = ("agent_records", &base.agent_records, "an agent record");
        self.each(records, &["seq"], read(from_document::<AgentRecord>)).await?;
        let key = ["key.agent", "key.stage", "key.step", "key.attempt"];
        let journals = ("journals", &base.journals, "a journal");
        self.each(journals, &key, read(from_document::<Journal>)).await?;
        let lines = ("logs", &base.logs, "a log line");
        let key = ["event", "line", "agent"];
        self.each(lines, &key, read(from_document::<LogLine>)).await?;
        let events = ("events", &base.events, "an event");
        self.each(events, &["seq"], read(from_document::<RunEvent>)).await?;
        let commands = ("commands", &base.commands, "a command");
        self.each(commands, &["_id"], read(bodies::read_command)).await
    }

    /// Reads the bytes of all plugins.
    async fn bytes(&mut self, base: &Base) -> Result<()> {
        const PLACE: &str = "plugin_bytes";
        self.checked.looked_at(PLACE);
        for text in self.plugins.clone() {
            let Ok(digest) = text.parse::<Digest>() else { continue };
            let damage = match plugins::plugin_bytes(base, &digest).await {
                Ok(_) => None,
                Err(StoreError::Damaged(damage)) => Some(damage),
                Err(error) => return Err(error),
            };
            self.checked.read(PLACE);
            if let Some(damage) = damage {
                self.checked.flaw(PLACE, None, damage);
            }
        }
        Ok(())
    }

    /// Notes what a document pins, and compares that with the plugins that it uses.
    fn pin(&mut self, raw: &RawDocument, uses: &BTreeSet<&str>, by: &str) -> Sound {
        let pins = raw.get_array("pins").map_err(|error| error.to_string())?;
        let mut found = BTreeSet::new();
        for pin in pins {
            let pin = pin.map_err(|error| error.to_string())?;
            let RawBsonRef::String(digest) = pin else {
                return Err(format!("a pin is no text: {:?}", pin.element_type()));
            };
            self.pins.entry(digest.to_owned()).or_insert_with(|| by.to_owned());
            found.insert(digest);
        }
        match uses.symmetric_difference(&found).next() {
            Some(digest) if uses.contains(digest) => {
                Err(format!("it does not pin the plugin {digest}, which it uses"))
            }
            Some(digest) => Err(format!("it pins the plugin {digest}, which it does not use")),
            None => Ok(()),
        }
    }
}

fn identifier(raw: &RawDocument, field: &str) -> std::result::Result<Uuid, String> {
    let found = raw.get_binary(field).map_err(|error| error.to_string())?;
    Uuid::from_slice(found.bytes).map_err(|error| format!("{field}: {error}"))
}

/// Checks a count that updates add to. It may be missing.
fn counter(raw: &RawDocument, field: &str) -> Sound {
    let value = raw.get(field).map_err(|error| error.to_string())?;
    let value = value.map(Bson::try_from).transpose().map_err(|error| error.to_string())?;
    match value {
        Some(value) if whole(&value).is_none() => Err(format!("{field} is no whole number")),
        Some(_) | None => Ok(()),
    }
}

fn lease(raw: &RawDocument) -> Sound {
    let lease = raw.get_document("lease").map_err(|error| error.to_string())?;
    lease.get_datetime("until").map_err(|error| format!("its lease: {error}"))?;
    let epoch = lease.get("epoch").map_err(|error| error.to_string())?;
    match epoch.map(|epoch| epoch.element_type()) {
        Some(kind) if bodies::EPOCH_TYPES.contains(&kind) => Ok(()),
        found => Err(format!("its lease: the epoch is no whole number, but {found:?}")),
    }
}
