//! Asks agents of a run again: for its strategy, and for the guards of its cluster.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::World;
use super::asking::{ASKED_AT_ONCE, Heard, hear};
use crate::run::{About, AskAgain, Input, Looked, NodeInfo, Refreshed, Refusal, declared_over};

/// How soon an agent that is asked for guards must have answered in full: nobody starts before all of them were asked,
/// and a single slow connection must not keep a run waiting for minutes.
const AROUND_PATIENCE: Duration = Duration::from_secs(5);

/// Asks agents again, for a strategy.
pub(super) async fn refresh(world: &World, agents: Vec<AskAgain>) -> Input {
    Input::Refreshed(all_again(agents, |agent| ask_again(world, agent)).await)
}

/// Asks agents again, for the guards of the cluster.
pub(super) async fn look_around(world: &World, agents: Vec<AskAgain>) -> Input {
    Input::LookedAround(all_again(agents, |agent| ask_shortly(world, agent)).await)
}

async fn all_again<F>(agents: Vec<AskAgain>, ask: impl Fn(AskAgain) -> F) -> Vec<Refreshed>
where
    F: Future<Output = Refreshed>,
{
    let asked = futures::stream::iter(agents).map(ask);
    let mut answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
    // The same answers must give the same history, whichever came first.
    answers.sort_by_key(|answer| answer.agent);
    answers
}

/// Asks an agent again. One whose answer does not end soon counts as silent.
async fn ask_shortly(world: &World, asked: AskAgain) -> Refreshed {
    let (agent, attributes) = (asked.seq, Arc::clone(&asked.attributes));
    let (asked_at, address) = (world.clock.now(), asked.address.clone());
    tokio::select! {
        biased;
        answer = ask_again(world, asked) => answer,
        () = world.clock.sleep(AROUND_PATIENCE) => {
            let (node, datastore) = (Arc::default(), Arc::default());
            let about = About { attributes, node, datastore, seen_at: Some(world.clock.now()) };
            let seconds = AROUND_PATIENCE.as_secs();
            let message = format!("{address} did not finish its answer within {seconds} s");
            Refreshed { agent, about, silence: Some((asked_at, message)) }
        }
    }
}

async fn ask_again(world: &World, asked: AskAgain) -> Refreshed {
    let AskAgain { seq: agent, agent: id, address, attributes: known, declared, wanted } = asked;
    let asked_at = world.clock.now();
    let Heard { looked, refusal } = hear(world, &id, &address, wanted, &declared).await;
    let seen_at = Some(world.clock.now());
    let info = match looked {
        Looked::Says(info) => info,
        Looked::Refused(Refusal { message, .. }) | Looked::Silent(message) => {
            let (node, datastore) = (Arc::default(), Arc::default());
            let about = About { attributes: known, node, datastore, seen_at };
            return Refreshed { agent, about, silence: Some((asked_at, message)) };
        }
    };
    let NodeInfo { attributes, raw, datastore, .. } = *info;
    let attributes = match attributes.is_empty() && refusal.is_some() {
        true => known,
        false => declared_over(attributes, &declared).into(),
    };
    let about = About { attributes, node: raw.into(), datastore: datastore.into(), seen_at };
    Refreshed { agent, about, silence: None }
}
