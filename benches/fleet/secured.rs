//! Agents behind TLS, which ask for a certificate and show one, beside the same agents without TLS.
//!
//! At one address all agents share the connections of the window, and a connection is kept from one agent to the next. With
//! an address for each agent there is a connection for each, and at first a handshake in full: that is what a fleet of
//! machines asks for, but here both sides of each handshake take their time from the same processors. The runs after the
//! first one use what is left of it: connections that were kept, and sessions that are resumed.

use std::time::Duration;

use crate::scene::Scene;
use crate::simulator::{CREDENTIALS, Places, address};
use crate::support::{Backend, Sample, Table, heading, mib, note, rate};
use crate::{Cost, WINDOW, each, start_and_wait};

/// Runs of each kind. They take turns, so that whatever else the machine does falls on all of them.
const ROUNDS: usize = 4;

/// The agents of one kind, and what their runs cost.
struct Fleet {
    what: &'static str,
    places: Places,
    scene: Scene,
    first: Option<Duration>,
    later: Sample,
}

pub(super) async fn measure(agents: usize) {
    heading("fleet over TLS");
    let mut table = Table::new([
        "agents are",
        "run",
        "took",
        "agents/s",
        "handshakes in full",
        "resumed",
        "CPU of the server per agent",
        "CPU of the simulated agents",
        "peak memory of the server",
    ]);
    let mut notes = Vec::new();
    for addresses in [0, agents] {
        let mut fleets = Vec::new();
        for secured in [false, true] {
            fleets.push(Fleet::start(Places { addresses, secured }, agents).await);
        }
        for round in 0..ROUNDS {
            for fleet in &mut fleets {
                fleet.run(round, agents, &mut table).await;
            }
        }
        let [plain, secured] = &fleets[..] else { unreachable!() };
        let share =
            |plain: Duration, secured: Duration| plain.as_secs_f64() / secured.as_secs_f64();
        let first = share(plain.first.unwrap(), secured.first.unwrap());
        let later = share(plain.later.median(), secured.later.median());
        notes.push(format!(
            "{agents} agents {}: {first:.2} of the rate of those {} in the first run, {later:.2} in the runs after it; at \
             least 0.70",
            secured.what, plain.what
        ));
        for fleet in fleets {
            fleet.scene.stop().await;
        }
    }
    table.print();
    notes.iter().for_each(|text| note(text));
}

impl Fleet {
    async fn start(places: Places, agents: usize) -> Self {
        let scene = Scene::start_at(Backend::Sqlite, places).await;
        let base = scene.agents.address().to_owned();
        let at = |n: usize| match places.addresses {
            0 => format!("{base}/{n}"),
            _ => format!("{}/{n}", address(&base, n)),
        };
        let credentials = places.secured.then_some(CREDENTIALS);
        scene.put_agents("fleet", agents, at, credentials).await;
        scene.put_playbook("fleet", WINDOW).await;
        let what = match (places.addresses, places.secured) {
            (0, false) => "at one address",
            (0, true) => "at one address with TLS",
            (_, false) => "at an address each",
            (_, true) => "at an address each with TLS",
        };
        Self { what, places, scene, first: None, later: Sample::default() }
    }

    async fn run(&mut self, round: usize, agents: usize, table: &mut Table) {
        let before = self.scene.handshakes().await;
        let (cost, _) = start_and_wait(&self.scene, agents).await;
        let after = self.scene.handshakes().await;
        let Cost { took, cpu: [server, simulated], peak, .. } = cost;
        match self.first {
            None => self.first = Some(took),
            Some(_) => self.later.push(took),
        }
        let [full, resumed] = [0, 1].map(|kind| match self.places.secured {
            true => (after[kind] - before[kind]).to_string(),
            false => "–".to_owned(),
        });
        table.row([
            self.what.to_owned(),
            (round + 1).to_string(),
            format!("{:.2} s", took.as_secs_f64()),
            rate(agents, took),
            full,
            resumed,
            each(server, agents),
            each(simulated, agents),
            mib(peak),
        ]);
    }
}
