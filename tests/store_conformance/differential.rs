//! Random operations have to give the same answers on a back end and on the reference model.

use std::fmt::Debug;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use replibook_core::playbook::Concurrency;
use replibook_core::run::{
    AgentId, AgentSeq, AgentState, Command, CommandOutcome, Digest, EngineId, LogLevel, LogLine,
    Millis, OldLines, RunStatus, Timestamp, Writes,
};
use replibook_store::{Claim, LogCursor, Object, Page, Result, RunFilter};

use crate::backends::{Fixture, LEASE, RETENTION, memory, mongodb, sqlite};
use crate::samples::{
    asking_for, cluster, command, event, finished, finishing, journal, key, line, page, playbook,
    plugin, progress, record, run, run_id, signature,
};

/// The variable with the seed of an earlier test run, to repeat it.
const SEED: &str = "REPLIBOOK_SEED";

/// Operations in one comparison: enough that runs are created, lost, finished and swept.
const OPERATIONS: usize = 1_500;

#[tokio::test]
async fn sqlite_answers_as_the_model_does() {
    compare(sqlite().await).await;
}

#[tokio::test]
async fn mongodb_answers_as_the_model_does() {
    compare(mongodb().await).await;
}

async fn compare(other: Fixture) {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    };
    eprintln!("to run this again: {SEED}={seed}");
    let mut pair = Pair { model: memory().await, other, random: StdRng::seed_from_u64(seed) };
    for number in 0..OPERATIONS {
        let (operation, model, other) = pair.operate().await;
        assert_eq!(model, other, "operation {number} with {SEED}={seed}: {operation}");
    }
}

struct Pair {
    model: Fixture,
    other: Fixture,
    random: StdRng,
}

/// Makes the same call on both stores. Returns the call as text, and both answers.
macro_rules! both {
    ($pair:ident, $($call:tt)*) => {{
        let model = $pair.model.store.$($call)*.await;
        let other = $pair.other.store.$($call)*.await;
        (stringify!($($call)*), said(model), said(other))
    }};
}

fn said<T: Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:#?}"),
        Err(error) => format!("error: {error}"),
    }
}

impl Pair {
    async fn operate(&mut self) -> (&'static str, String, String) {
        match self.random.random_range(0..100) {
            0..12 => self.objects().await,
            12..22 => self.runs().await,
            22..38 => self.leases().await,
            38..62 => self.commit().await,
            62..72 => self.commands().await,
            72..94 => self.history().await,
            // Removes all at once: it is not promised which documents go first.
            94..96 => {
                let (operation, model, other) = both!(self, sweep(1_000));
                // If its server removes expired documents by itself, a back end has nothing to do here.
                let other = if other == "0" { model.clone() } else { other };
                (operation, model, other)
            }
            _ => {
                let length = *[Millis(1), Millis(LEASE.0 / 2), Millis(RETENTION.0 / 3)]
                    .choose(&mut self.random)
                    .unwrap();
                self.model.clock.advance(length);
                self.other.clock.advance(length);
                ("time passes", String::new(), String::new())
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.model.now()
    }

    fn pick(&mut self, below: u32) -> u32 {
        self.random.random_range(0..below)
    }

    fn chance(&mut self) -> bool {
        self.random.random()
    }

    fn run(&mut self) -> replibook_core::run::RunId {
        run_id(self.pick(12).into())
    }

    fn engine(&mut self) -> EngineId {
        EngineId(["a", "b"].choose(&mut self.random).unwrap().to_string())
    }

    fn epoch(&mut self) -> u64 {
        self.pick(5).into()
    }

    fn page(&mut self, after: &[&str]) -> Page {
        let after = if self.chance() { None } else { after.choose(&mut self.random).copied() };
        page(after, self.pick(4))
    }

    async fn objects(&mut self) -> (&'static str, String, String) {
        let (plugin, bytes) = plugin(u8::try_from(self.pick(3)).unwrap());
        let digest = plugin.info.digest.clone();
        let name = *["a", "a/b", "b"].choose(&mut self.random).unwrap();
        let version = *["1.0.0", "1.0.0-rc.1", "10.0.0", "9.0.0"].choose(&mut self.random).unwrap();
        let pins = if self.chance() { vec![&plugin] } else { vec![] };
        let sample = playbook(name, version, &pins);
        let version = sample.playbook.version.clone();
        match self.pick(15) {
            0 | 1 => both!(self, put_plugin(&plugin, bytes.clone())),
            2 => both!(self, delete_plugin(&digest)),
            3 => both!(self, plugin_bytes(&digest)),
            4 => both!(self, plugin_by_name(&plugin.info.name, "1.0.0")),
            5 => {
                let page = self.page(&[digest.as_str(), "?"]);
                both!(self, plugins(&page))
            }
            6 | 7 => both!(self, put_playbook(&sample)),
            8 => both!(self, delete_playbook(name, &version)),
            9 => {
                let version = if self.chance() { Some(&version) } else { None };
                both!(self, playbook(name, version))
            }
            10 => {
                let page = self.page(&["a@1.0.0", "a/b@9.0.0-x", "b@8.0.0", "?"]);
                both!(self, playbooks(&page))
            }
            11 => {
                let checked = self.chance().then_some("RWQ");
                let new = [signature(["a", "b", "c"][self.pick(3) as usize], checked)];
                both!(self, sign_plugin(&digest, &new))
            }
            12 => both!(self, sweep_plugins(2)),
            13 => both!(self, renew_plugins(std::slice::from_ref(&digest))),
            _ => {
                let name = *["a", "b", "mongo-eu"].choose(&mut self.random).unwrap();
                let place = cluster(name, if self.chance() { "one" } else { "two" });
                let page = self.page(&["a", "b", ""]);
                match self.pick(5) {
                    0 | 1 => both!(self, put_cluster(&place)),
                    2 => both!(self, delete_cluster(name)),
                    3 => {
                        let all = [Object::Cluster(place), Object::Playbook(sample)];
                        both!(self, put_all(&all))
                    }
                    _ => both!(self, clusters(&page)),
                }
            }
        }
    }

    async fn runs(&mut self) -> (&'static str, String, String) {
        let id = self.run();
        match self.pick(6) {
            0 | 1 => {
                let (plugin, _) = plugin(u8::try_from(self.pick(3)).unwrap());
                let pins = if self.chance() { vec![&plugin] } else { vec![] };
                let mut playbook = playbook("restart", "1.0.0", &pins);
                let concurrency = [Concurrency::Queue, Concurrency::Reject, Concurrency::Allow];
                playbook.playbook.concurrency = *concurrency.choose(&mut self.random).unwrap();
                let mut new = asking_for(run(id.0.as_u128(), &playbook));
                if self.pick(4) == 0 {
                    new.run.progress.status = RunStatus::PendingApprove;
                }
                if self.chance() {
                    new.idempotency_key = Some(self.pick(4).to_string());
                }
                both!(self, create_run(&new))
            }
            2 if self.chance() => {
                let (key, of) = (self.pick(4).to_string(), self.run());
                let request = Digest::of(of.to_string().as_bytes());
                both!(self, run_of_request(&key, &request))
            }
            2 => both!(self, run(id)),
            3 if self.chance() => {
                let limit = self.pick(4);
                both!(self, newest_runs(None, limit))
            }
            3 => both!(self, heads(&[id, run_id(1), run_id(2)])),
            4 => both!(self, queues(&["other", "mongo-eu"].map(str::to_owned))),
            _ => {
                let statuses = [RunStatus::Pending, RunStatus::Running, RunStatus::Done];
                let statuses = &statuses[..self.pick(4) as usize];
                let cluster = if self.chance() { Some("mongo-eu".to_owned()) } else { None };
                let playbook = if self.chance() { Some("restart".to_owned()) } else { None };
                let version = if self.chance() { Some("1.0.0".parse().unwrap()) } else { None };
                let from = if self.chance() { Some(self.run()) } else { None };
                let statuses = statuses.to_vec();
                let filter = RunFilter { cluster, statuses, playbook, version, from, seen: None };
                let after = id.to_string();
                let page = self.page(&[&after, "?"]);
                both!(self, runs(&filter, &page))
            }
        }
    }

    async fn leases(&mut self) -> (&'static str, String, String) {
        let (engine, run, epoch) = (self.engine(), self.run(), self.epoch());
        let limit = self.pick(4);
        match self.pick(12) {
            0..=1 => both!(self, claim(&engine, limit)),
            2 => {
                let full = ["mongo-eu".to_owned(), "other".to_owned()];
                let full = full[..1 + (limit % 2) as usize].to_vec();
                let passed = if self.pick(2) == 0 { vec![run] } else { Vec::new() };
                let claim = Claim { limit, full, only_woken: self.pick(3) == 0, passed };
                both!(self, claim_some(&engine, &claim))
            }
            8 => {
                let until = self.now().plus(Millis(LEASE.0 * u64::from(limit)));
                both!(self, park(run, epoch, until))
            }
            9 => both!(self, unclaimed()),
            10 => both!(self, holders(&[run, run_id(1), run_id(2)])),
            6 | 7 => both!(self, lock_cluster(run, epoch)),
            3 => both!(self, release(run, epoch)),
            _ => both!(self, renew(&engine)),
        }
    }

    async fn commit(&mut self) -> (&'static str, String, String) {
        let (run, epoch, now) = (self.run(), self.epoch(), self.now());
        if self.pick(5) == 0 {
            return both!(self, stamp(run, epoch, now));
        }
        let progress = match self.pick(8) {
            0 => finished(now),
            1 => finishing(now),
            2 => progress(RunStatus::Pending, now),
            _ => progress(RunStatus::Running, now),
        };
        let stamp = progress.finish_ts;
        let state = *AgentState::ALL.choose(&mut self.random).unwrap();
        let agent = self.pick(4);
        let (step, attempt) = (u16::try_from(self.pick(2)).unwrap(), self.pick(2) + 1);
        let agent_or_none = if self.chance() { Some(agent) } else { None };
        let mut writes = Writes {
            progress: Some(progress),
            records: vec![record(run, agent, state)],
            journals: vec![journal(run, key(agent, step, attempt))],
            logs: vec![LogLine {
                number: self.pick(9).into(),
                ..line(run, self.pick(4).into(), agent_or_none, self.pick(3))
            }],
            events: vec![event(run, self.pick(9).into())],
            commands: vec![Command {
                outcome: Some(CommandOutcome::Applied),
                ..command(self.pick(20).into(), run, now)
            }],
        };
        if self.chance() {
            writes.commands.clear();
        }
        writes.records[0].finish_ts = stamp;
        writes.events[0].finish_ts = stamp;
        both!(self, commit(run, epoch, &writes))
    }

    async fn commands(&mut self) -> (&'static str, String, String) {
        let (engine, run, now, limit) = (self.engine(), self.run(), self.now(), self.pick(5));
        let command = command(self.pick(20).into(), run, now);
        match self.pick(6) {
            0 | 1 => both!(self, submit(&command)),
            2 => both!(self, command(command.id)),
            3 => both!(self, unanswered(run)),
            4 => both!(self, wake()),
            _ => both!(self, waiting_commands(&engine, limit)),
        }
    }

    async fn history(&mut self) -> (&'static str, String, String) {
        let (run, agent, limit) = (self.run(), self.pick(4), self.pick(6));
        let name = AgentId(format!("node-{agent}"));
        let one = self.chance();
        let from_start = self.chance();
        match self.pick(6) {
            0 => {
                let state = if one { None } else { Some(AgentState::Running) };
                let after = if from_start { None } else { Some(AgentSeq(agent)) };
                both!(self, records(run, state, after, limit))
            }
            1 => both!(self, record(run, &name)),
            2 => {
                let of = if one { Some(AgentSeq(self.pick(4))) } else { None };
                let after = if from_start { None } else { Some(key(agent, 0, 1)) };
                both!(self, journals(run, of, after, limit))
            }
            3 => {
                let of = if one { Some(&name) } else { None };
                let at = line(run, self.pick(4).into(), Some(self.pick(4)), 1);
                let after = if from_start { None } else { Some(LogCursor::of(&at)) };
                both!(self, logs(run, of, after.as_ref(), limit))
            }
            4 => {
                let (level, from, to) = (LogLevel::Info, self.pick(3).into(), self.pick(4).into());
                let (epoch, last) = (self.epoch(), self.pick(9).into());
                let old = OldLines { level, from, to, last };
                both!(self, forget_lines(run, epoch, &old))
            }
            _ => {
                let after = self.pick(9).into();
                both!(self, events(run, after, limit))
            }
        }
    }
}
