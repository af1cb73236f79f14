//! Tests the promises of the follower against random lies of platforms.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;

use super::follower_tests::{cluster, node};
use super::*;
use crate::run::{AgentId, Timestamp};

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[derive(Clone, Debug)]
enum Happens {
    /// The nodes of an answer: name and place, or a node that can't be used.
    Answer(Vec<(usize, usize, bool)>),
    Failed,
    WithoutCluster,
    Accept,
    /// The agents of the Cluster object: name and place.
    Declare(Vec<(usize, usize)>),
    Know(usize, usize),
}

fn answers() -> impl Strategy<Value = Happens> {
    let place = |name: usize| prop_oneof![8 => Just(name), 1 => 0..NAMES.len()];
    let bad = || prop::bool::weighted(0.05);
    let present = (0..NAMES.len()).prop_flat_map(move |n| (Just(n), place(n), bad()));
    let few = prop::collection::vec(present, 0..14);
    // Mostly all agents except one or two, as an honest platform answers.
    let most = prop::collection::btree_set(0..NAMES.len(), 0..3).prop_map(|missing| {
        let names = (0..NAMES.len()).filter(|name| !missing.contains(name));
        names.map(|name| (name, name, false)).collect::<Vec<_>>()
    });
    prop_oneof![1 => few, 4 => most].prop_map(Happens::Answer)
}

fn histories() -> impl Strategy<Value = Vec<Happens>> {
    let agent = || (0..NAMES.len(), 0..NAMES.len());
    let happens = prop_oneof![
        20 => answers(),
        2 => Just(Happens::Failed),
        2 => Just(Happens::WithoutCluster),
        1 => Just(Happens::Accept),
        1 => prop::collection::btree_map(0..NAMES.len(), 0..NAMES.len(), 0..3)
            .prop_map(|agents| Happens::Declare(agents.into_iter().collect())),
        1 => agent().prop_map(|(name, place)| Happens::Know(name, place)),
    ];
    prop::collection::vec(happens, 1..60)
}

/// What must be true, worked out independently of the follower.
#[derive(Default)]
struct Witness {
    /// How many answers did not name the agent at all since one named it as it is now.
    unnamed: BTreeMap<AgentId, u32>,
    declared: BTreeSet<AgentId>,
    declared_places: HashSet<String>,
    accepted_ever: bool,
}

fn address(place: usize) -> String {
    format!("http://{}", NAMES[place])
}

fn check(follower: &mut Follower, happens: &Happens, witness: &mut Witness, at: Timestamp) {
    let before = follower.membership();
    match happens {
        Happens::Answer(nodes) => {
            let nodes: Vec<PlatformNode> = nodes
                .iter()
                .map(|(name, place, bad)| {
                    let place = if *bad { "nowhere".to_owned() } else { address(*place) };
                    node(NAMES[*name], &place)
                })
                .collect();
            let named: BTreeSet<AgentId> =
                nodes.iter().map(|node| AgentId(node.node_id.clone().unwrap())).collect();
            for name in NAMES.map(AgentId::from).iter().filter(|name| !named.contains(*name)) {
                *witness.unnamed.entry(name.clone()).or_default() += 1;
            }
            let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for node in nodes.clone() {
                let places = told.entry(node.node_id.unwrap()).or_default();
                places.push(node.agent_address.unwrap());
            }
            follower.hear(Heard::Nodes(nodes), at);
            let after = follower.membership();
            check_answer(&before, &after, &named, witness);
            // A node that was left out does not end a row of absences.
            for (id, agent) in after.members.iter() {
                if told.get(id.as_str()) == Some(&vec![agent.address.clone()]) {
                    witness.unnamed.remove(id);
                }
            }
        }
        Happens::Failed | Happens::WithoutCluster => {
            let failed = matches!(happens, Happens::Failed);
            let heard = if failed { Heard::Failed("no".to_owned()) } else { Heard::WithoutCluster };
            follower.hear(heard, at);
            let after = follower.membership();
            assert_eq!(before.members, after.members);
            assert_eq!(before.mass_absence, after.mass_absence);
        }
        Happens::Accept => {
            follower.accept();
            witness.accepted_ever = true;
            assert_eq!(follower.membership().mass_absence, None);
        }
        Happens::Declare(agents) => {
            let mut places = HashSet::new();
            let own = agents.iter().filter(|(_, place)| places.insert(*place));
            let words: Vec<_> =
                own.map(|(name, place)| format!("{}@{}", NAMES[*name], NAMES[*place])).collect();
            let object = cluster(&words.join(" "), true);
            witness.declared = object.agents.iter().map(|agent| agent.id.clone()).collect();
            witness.declared_places =
                object.agents.iter().map(|agent| agent.address.clone()).collect();
            follower.declare(&object, at);
        }
        Happens::Know(name, place) => {
            follower.know(vec![(AgentId::from(NAMES[*name]), address(*place))], at);
        }
    }
    check_always(&before, &follower.membership(), witness);
}

fn check_answer(
    before: &Membership,
    after: &Membership,
    named: &BTreeSet<AgentId>,
    witness: &Witness,
) {
    let left = difference(&before.members, &after.members).left;
    for id in &left {
        let absences = witness.unnamed.get(id).copied().unwrap_or(0);
        // An agent that moves to the address of a declared agent is that agent now.
        let is_declared = named.contains(id);
        assert!(absences >= u32::from(ABSENCES) || is_declared, "{id} left after {absences}");
    }
    let discovered: Vec<_> =
        before.members.iter().filter(|(_, agent)| agent.source == Source::Discovered).collect();
    let absent: Vec<_> = discovered.iter().filter(|(id, _)| !named.contains(*id)).collect();
    let many = absent.len() * 100 > discovered.len() * MASS_PERCENT;
    if many && !witness.accepted_ever {
        assert!(left.iter().all(|id| named.contains(id)), "{left:?} left in a mass absence");
        let mass = after.mass_absence.expect("a mass absence");
        assert!(mass.absent as usize >= absent.len(), "{mass:?} {absent:?}");
    }
}

fn check_always(before: &Membership, after: &Membership, witness: &Witness) {
    let mut places = HashSet::new();
    for (id, agent) in after.members.iter() {
        assert!(places.insert(&agent.address), "two at {}", agent.address);
        let declared = witness.declared.contains(id);
        assert_eq!(declared, agent.source == Source::Declared);
        assert!(declared || !witness.declared_places.contains(&agent.address));
    }
    assert!(witness.declared.iter().all(|id| after.members.contains_key(id)));
    if let Some(mass) = after.mass_absence {
        assert!(mass.absent > 0 && mass.absent <= mass.known, "{mass:?}");
    }
    // Applied to what was, the difference gives what is.
    let change = difference(&before.members, &after.members);
    let mut applied: BTreeMap<AgentId, String> =
        before.members.iter().map(|(id, agent)| (id.clone(), agent.address.clone())).collect();
    for id in &change.left {
        assert!(applied.remove(id).is_some());
    }
    for (id, place) in change.moved {
        assert_ne!(applied.insert(id, place.clone()), Some(place));
    }
    for (id, agent) in change.joined {
        assert_eq!(applied.insert(id, agent.address.clone()), None);
    }
    let is: BTreeMap<AgentId, String> =
        after.members.iter().map(|(id, agent)| (id.clone(), agent.address.clone())).collect();
    assert_eq!(applied, is);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_lie_breaks_a_promise(history in histories()) {
        let mut follower = Follower::new();
        let mut witness = Witness::default();
        follower.declare(&cluster("", true), Timestamp::from_millis(0));
        for (index, happens) in (1..).zip(&history) {
            check(&mut follower, happens, &mut witness, Timestamp::from_millis(index * 1_000));
        }
    }

    /// The order of nodes in an answer plays no part.
    #[test]
    fn the_order_of_nodes_plays_no_part(history in histories()) {
        let run = |turn: bool| {
            let mut follower = Follower::new();
            let mut witness = Witness::default();
            let at = Timestamp::from_millis(0);
            follower.declare(&cluster("", true), at);
            for happens in &history {
                let mut happens = happens.clone();
                if let (true, Happens::Answer(nodes)) = (turn, &mut happens) {
                    nodes.reverse();
                }
                check(&mut follower, &happens, &mut witness, at);
            }
            let membership = follower.membership();
            (membership.members, membership.mass_absence)
        };
        prop_assert_eq!(run(false), run(true));
    }
}
