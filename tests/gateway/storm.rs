//! 500 cuts and kills, at moments of a seed: of connections, of the processes of the server of SSH, of those that watch over
//! jobs, of the gateway and of the engine. Afterwards what the nodes wrote down themselves is compared with what the engines
//! were told.
//!
//! `REPLIBOOK_SEED` repeats the choices of an earlier test run.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use replibook::agent::gateway::nodes::{self, JobState, Jobs, Node, Phase, Programs};
use replibook::clock::SystemClock;
use uuid::Uuid;

use super::line::{Cuts, Line, Noise};
use super::storm_engine::{Entry, Gateway, Place, Storm, engine};
use crate::sshd::Sshd;
use crate::wait;

/// Far longer than it takes, even on a busy machine: it makes hundreds of connections.
const LIMIT: Duration = Duration::from_secs(400);

/// How many nodes there are, each at an address of its own.
const NODES: u8 = 50;

/// How many connections are cut.
const CUTS: usize = 200;

/// How many processes that serve a connection are killed: of the server of SSH, of shells, of jobs.
const SESSIONS: usize = 60;

/// How many jobs kill the process that watches over them.
const WATCHERS: usize = 215;

/// How often the gateway is killed: each time it has to connect to all nodes again.
const GATEWAYS: usize = 3;

/// How often the engine is killed.
const ENGINES: usize = 22;

const _: () = assert!(CUTS + SESSIONS + WATCHERS + GATEWAYS + ENGINES == 500, "it says 500");

/// A login takes about 6,000 bytes, and a job twice as many.
const MOST_BYTES: u64 = 40_000;

/// What is killed beside connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Session,
    Gateway,
    Engine,
}

/// What is still to come.
struct Weather {
    cuts: Cuts,
    watchers: AtomicUsize,
    kills: AtomicUsize,
}

impl Storm for Weather {
    fn is_over(&self) -> bool {
        let none = |left: &AtomicUsize| left.load(Ordering::Relaxed) == 0;
        self.cuts.are_over() && none(&self.watchers) && none(&self.kills)
    }

    fn may_kill(&self) -> bool {
        let one = |left: usize| left.checked_sub(1);
        self.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok()
    }
}

/// All kills beside cuts, in an order of the seed.
fn kills(noise: &mut Noise) -> Vec<Kill> {
    let mut kills =
        [vec![Kill::Session; SESSIONS], vec![Kill::Gateway; GATEWAYS], vec![Kill::Engine; ENGINES]]
            .concat();
    for last in (1..kills.len()).rev() {
        kills.swap(last, usize::try_from(noise.below(last as u64 + 1)).unwrap());
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_500_cuts_and_kills_nothing_was_done_twice_and_nothing_is_lost() {
    let seed = std::env::var("REPLIBOOK_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("REPLIBOOK_SEED={seed}");
    let begun = std::time::Instant::now();
    let storm = tokio::time::timeout(LIMIT, storm(Noise(seed))).await;
    storm.unwrap_or_else(|_| panic!("REPLIBOOK_SEED={seed}: it does not end"));
    println!("{:?}", begun.elapsed());
}

async fn storm(mut noise: Noise) {
    let (sshd, folder) = (Sshd::start(""), tempfile::tempdir().unwrap());
    let mut kills = kills(&mut noise).into_iter().enumerate();
    let weather = Arc::new(Weather {
        cuts: Cuts::new(CUTS),
        watchers: AtomicUsize::new(WATCHERS),
        kills: AtomicUsize::new(kills.len()),
    });
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    for number in 1..=NODES {
        let on = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
        let cuts = weather.cuts.clone();
        let line = Line::start(on, sshd.port, noise.fork(), 0..MOST_BYTES, cuts).await;
        places.push(Arc::new(place(folder.path(), number, noise.fork())));
        lines.push((host(number), line));
    }
    let through: Vec<_> = lines.iter().map(|(host, line)| (host.clone(), line.at)).collect();
    let config = sshd.config_of("through", &through);
    let gateway = Arc::new(Gateway::new(move || jobs(&config)));
    let storm: Arc<dyn Storm> = weather.clone();
    let mut present = engine(&places, &gateway, &storm);
    let mut next = kills.next();
    loop {
        let due = next.map_or(usize::MAX, |(at, _)| at * CUTS / (SESSIONS + GATEWAYS + ENGINES));
        tokio::select! {
            ended = present.join_next() => match ended {
                Some(ended) => ended.unwrap(),
                None => break,
            },
            () = weather.cuts.wait_for(due) => {
                match next.map(|(_, kill)| kill) {
                    Some(Kill::Session) => kill_session(&sshd, &mut noise).await,
                    Some(Kill::Gateway) => gateway.kill().await,
                    Some(Kill::Engine) => {
                        present.shutdown().await;
                        present = engine(&places, &gateway, &storm);
                    }
                    None => {}
                }
                weather.kills.fetch_sub(1, Ordering::Relaxed);
                next = kills.next();
            }
        }
    }
    assert!(storm.is_over());
    println!("{} cuts; the gateway was asked {} times", weather.cuts.done(), gateway.asked());
    let direct: Vec<_> = lines.iter().map(|(host, _)| (host.clone(), sshd.address())).collect();
    let jobs = jobs(&sshd.config_of("direct", &direct));
    let mut troubled = 0;
    for place in &places {
        troubled += check(place, &jobs).await;
    }
    // Whoever was not killed is not said to be lost, and does not fail.
    assert!(troubled <= SESSIONS, "{troubled} jobs did not end well");
    gateway.kill().await;
}

fn host(number: u8) -> String {
    format!("node-{number}")
}

fn place(folder: &Path, number: u8, noise: Noise) -> Place {
    let home = folder.join(number.to_string());
    std::fs::create_dir(&home).unwrap();
    let place = nodes::Place::Ssh { host: host(number), user: None, port: None };
    let node = Node { place, folder: home.join("work").display().to_string() };
    Place::new(node, home.join("done"), noise)
}

fn jobs(config: &Path) -> Jobs {
    let programs = Programs { ssh_config: Some(config.to_owned()), ..Programs::default() };
    Jobs::new(programs, Arc::new(SystemClock)).unwrap()
}

/// Kills one of the processes that serve connections.
async fn kill_session(sshd: &Sshd, noise: &mut Noise) {
    wait::until("a session", LIMIT, async || {
        let all = sshd.processes();
        let one = noise.below(all.len().max(1) as u64);
        let one = all.get(usize::try_from(one).unwrap())?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(*one).unwrap())?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok()
    })
    .await;
}

/// Compares what a node did with what the engines were told. Returns how many jobs came to no good end that did not kill what
/// watches over them.
async fn check(place: &Place, jobs: &Jobs) -> usize {
    let entries: Vec<Entry> = place.entries.lock().unwrap().clone();
    let told: BTreeMap<Uuid, Phase> =
        entries.iter().map(|entry| (entry.id, phase(entry))).collect();
    assert_eq!(told.len(), entries.len());
    let listed = jobs.list(&place.node).await.unwrap();
    let listed: BTreeMap<Uuid, Phase> = listed.into_iter().map(|one| (one.id, one.phase)).collect();
    assert_eq!(listed, told, "{}", place.node.folder);
    let mut troubled = 0;
    for entry in &entries {
        let is_good = phase(entry) == Phase::Ended(0);
        if entry.sort.kills() {
            assert!(!is_good, "{entry:?}");
        } else if !is_good {
            troubled += 1;
        } else if let Some(JobState::Ended(end)) = &entry.state {
            assert_eq!(end.stdout, format!("{}\n", entry.id), "{entry:?}");
        }
    }
    let done = done(place);
    for (id, times) in &done {
        assert!(*times == 1 && told.contains_key(id), "{}: {id} {times} times", place.node.folder);
    }
    for entry in &entries {
        assert!(phase(entry) != Phase::Ended(0) || done.contains_key(&entry.id), "{entry:?}");
    }
    troubled
}

fn phase(entry: &Entry) -> Phase {
    match entry.state.as_ref().unwrap() {
        JobState::Ended(end) => Phase::Ended(end.code),
        JobState::Lost { .. } => Phase::Lost,
        state @ (JobState::Running { .. } | JobState::NotStarted) => panic!("{state:?}"),
    }
}

/// How often each job wrote its line.
fn done(place: &Place) -> BTreeMap<Uuid, usize> {
    let text = std::fs::read_to_string(&place.done).unwrap_or_default();
    text.lines().fold(BTreeMap::new(), |mut done, line| {
        *done.entry(line.parse().unwrap()).or_default() += 1;
        done
    })
}
