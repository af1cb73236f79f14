//! What guards of the cluster cost: a decision with three of them, by zone, by rack and over the whole cluster, and a
//! status that changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replibook::playbook::{Amount, ClusterGuards, Guard};
use replibook::plugin::PluginHost;
use replibook::run::{
    About, AskAgain, Effect, Input, LOOK_EVERY, Machine, Refreshed, Roster, Timestamp, Transition,
};
use serde_json::{Value, json};

use crate::stage::{self, NOW, STARTED};
use crate::support::{Sample, Table, note, us};

const AGENTS: u32 = 100_000;
const ROUNDS: usize = 60;

/// How many nodes change their status in one round of questions.
const CHANGED: usize = 250;

/// Prints the tables.
pub(crate) fn measure(host: &PluginHost) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut table = Table::new(["guards", "agents", "decision", "p99"]);
    for (name, guards) in [("none", Vec::new()), ("zone, rack, whole", three(Amount::Share(5_000)))]
    {
        let mut machine = load(host, guards);
        let mut whole = Sample::default();
        for round in 0..ROUNDS {
            let taken;
            (machine, taken) = runtime.block_on(decide(host, machine, NOW));
            // The first decision asks all agents.
            if round > 0 {
                whole.push(taken);
            }
            stage::finish(&mut machine);
        }
        table.row([name.to_owned(), AGENTS.to_string(), us(whole.median()), us(whole.p99())]);
    }
    table.print();
    note(&format!(
        "each decision starts {STARTED} agents; with guards, the answers of those that ended before are part of it"
    ));
    statuses(host, &runtime);
}

/// What a changed status costs: a round of questions in which some nodes changed, without one in which none did.
fn statuses(host: &PluginHost, runtime: &tokio::runtime::Runtime) {
    let mut machine = load(host, three(Amount::Count(0)));
    machine = runtime.block_on(decide(host, machine, NOW)).0;
    let (mut same, mut changed) = (Sample::default(), Sample::default());
    let mut now = NOW;
    for round in 0..ROUNDS {
        now = now.plus(LOOK_EVERY);
        let asked = machine.apply(Input::Woken, now).unwrap();
        // They fall ill in one round, and get well in the next but one.
        let (is_news, ill) = (round % 2 == 1, matches!(round % 4, 1 | 2));
        let answers = answers(asked_by(asked).unwrap(), |n| ill && n < CHANGED);
        let start = Instant::now();
        let mut done = vec![machine.apply(Input::LookedAround(answers), now).unwrap()];
        while goes_on(done.last()) {
            done.push(machine.apply(Input::Continue, now).unwrap());
        }
        let taken = start.elapsed();
        if round > 1 {
            if is_news { changed.push(taken) } else { same.push(taken) }
        }
    }
    let all = changed.median().saturating_sub(same.median());
    let mut table = Table::new(["agents", "a round without news", "a changed status"]);
    let one = all / u32::try_from(CHANGED).unwrap();
    table.row([AGENTS.to_string(), us(same.median()), us(one)]);
    table.print();
    note("three guards; with the record and the event that tell of it");
}

fn three(max_out: Amount) -> Vec<Guard> {
    let guard = |name: &str, by: Option<&str>| Guard {
        name: name.to_owned(),
        by: by.map(str::to_owned),
        max_out,
        groups: None,
    };
    vec![
        guard("zone", Some("attributes.zone")),
        guard("rack", Some("attributes.rack")),
        guard("whole", None),
    ]
}

fn load(host: &PluginHost, guards: Vec<Guard>) -> Machine {
    let mut machine = stage::load_racks(&stage::snapshot(host), AGENTS);
    let guards = ClusterGuards { guards, ..ClusterGuards::default() };
    machine.apply(Input::Guards(Arc::new(guards)), NOW).unwrap();
    machine
}

/// Has the strategy decide, with the questions to agents that the decision needs. What agents answer costs nothing.
async fn decide(host: &PluginHost, mut machine: Machine, now: Timestamp) -> (Machine, Duration) {
    let mut taken = Duration::ZERO;
    loop {
        let start = Instant::now();
        let asked = machine.settle(now).unwrap();
        taken += start.elapsed();
        let (mut question, mut agents) = (None, None);
        for effect in asked.effects {
            if let Effect::Plan { plugin, input } = effect {
                question = Some((plugin, input));
            } else if let Effect::LookAround(all) = effect {
                agents = Some(all);
            }
        }
        let done = match (question, agents) {
            (Some((plugin, input)), _) => {
                let start = Instant::now();
                let lent = Arc::new(machine);
                let outcome = host.plan(&plugin, input, lent.clone() as Arc<dyn Roster>).await;
                machine = stage::alone(lent).await;
                let input =
                    Input::Planned { result: Ok(outcome.result.unwrap()), logs: outcome.logs };
                let done = machine.apply(input, now).unwrap();
                taken += start.elapsed();
                done
            }
            (None, Some(agents)) => look(&mut machine, agents, now, &mut taken),
            (None, None) => return (machine, taken),
        };
        let started = !done.writes.records.is_empty();
        if let Some(agents) = asked_by(done) {
            look(&mut machine, agents, now, &mut taken);
        } else if started {
            return (machine, taken);
        }
    }
}

fn look(
    machine: &mut Machine,
    agents: Vec<AskAgain>,
    now: Timestamp,
    taken: &mut Duration,
) -> Transition {
    let answers = answers(agents, |_| false);
    let start = Instant::now();
    let mut done = machine.apply(Input::LookedAround(answers), now).unwrap();
    while goes_on(Some(&done)) {
        done = machine.apply(Input::Continue, now).unwrap();
    }
    *taken += start.elapsed();
    Transition { writes: Default::default(), effects: done.effects }
}

fn goes_on(done: Option<&Transition>) -> bool {
    done.is_some_and(|done| done.effects.iter().any(|effect| matches!(effect, Effect::Continue)))
}

fn asked_by(done: Transition) -> Option<Vec<AskAgain>> {
    done.effects.into_iter().find_map(|effect| {
        let Effect::LookAround(agents) = effect else { return None };
        Some(agents)
    })
}

fn answers(agents: Vec<AskAgain>, is_ill: impl Fn(usize) -> bool) -> Vec<Refreshed> {
    let well: Arc<Value> = Arc::new(json!({"node_status": "HEALTHY"}));
    let ill: Arc<Value> = Arc::new(json!({"node_status": "UNAVAILABLE"}));
    let answer = |(n, asked): (usize, AskAgain)| {
        let node = Arc::clone(if is_ill(n) { &ill } else { &well });
        let about = About {
            attributes: asked.attributes,
            node,
            datastore: Arc::default(),
            seen_at: Some(NOW),
        };
        Refreshed { agent: asked.seq, about, silence: None }
    };
    agents.into_iter().enumerate().map(answer).collect()
}
