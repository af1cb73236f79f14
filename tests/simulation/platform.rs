//! The platform of a history: it tells of the agents, and lies when the plan says so.

use std::sync::Arc;

use async_trait::async_trait;
use replibook::agent::platform::{FakePlatforms, Platform, PlatformError};
use replibook::clock::Clock;
use replibook::run::{Millis, PlatformNode, Timestamp};

use crate::agents::address;
use crate::cluster_plan::{Lied, STRANGERS};
use crate::documents::{CLUSTER, group};
use crate::gate::Gate;
use crate::ledger::SharedLedger;
use crate::plan::{Plan, Point, Side};

/// The address of the platform.
pub(crate) const URL: &str = "http://platform.example.com";

/// Name of an agent of another cluster.
pub(crate) fn stranger(index: usize) -> String {
    format!("stranger-{index}")
}

/// The platform, for all engines of a history.
pub(crate) struct Platforms {
    plan: Arc<Plan>,
    clock: Arc<dyn Clock>,
    start: Timestamp,
    fake: FakePlatforms,
}

impl Platforms {
    pub(crate) fn new(plan: Arc<Plan>, clock: Arc<dyn Clock>, start: Timestamp) -> Arc<Self> {
        let fake = FakePlatforms::new(clock.clone());
        if let Some(platform) = &plan.platform {
            fake.set_latency(URL, Millis(platform.latency));
        }
        Arc::new(Self { plan, clock, start, fake })
    }

    /// Sets what the platform answers at this moment.
    fn set(&self) {
        let at = self.clock.now().since(self.start).0;
        let Some(platform) = &self.plan.platform else { return };
        let lie = platform.lies.iter().find(|lie| lie.window.holds(at)).map(|lie| lie.what);
        self.fake.fail(URL, (lie == Some(Lied::Fails)).then_some("it is being repaired"));
        match lie {
            Some(Lied::OtherCluster) => {
                self.fake.forget(URL, CLUSTER);
                self.fake.set_nodes(URL, "another", self.nodes(at));
            }
            Some(lie) => self.fake.set_nodes(URL, CLUSTER, told(lie, self.nodes(at))),
            None => self.fake.set_nodes(URL, CLUSTER, self.nodes(at)),
        }
    }

    /// The nodes that exist at this moment.
    fn nodes(&self, at: u64) -> Vec<PlatformNode> {
        let tells_all = self.plan.platform.as_ref().is_some_and(|platform| platform.tells_all);
        let agents = self.plan.agents.iter().enumerate();
        let told = agents.filter(|(_, a)| a.is_member(at) && (tells_all || !a.listed));
        told.map(|(index, agent)| PlatformNode {
            node_group: agent.group.map(group),
            ..node(&format!("node-{index}"), &address(index, agent.home(at)))
        })
        .collect()
    }
}

/// The nodes as this lie tells them.
fn told(lie: Lied, mut nodes: Vec<PlatformNode>) -> Vec<PlatformNode> {
    match lie {
        Lied::Fails | Lied::OtherCluster => nodes,
        Lied::Empty => Vec::new(),
        Lied::Hides(percent) => {
            let hidden = nodes.len() * percent as usize / 100;
            nodes.split_off(hidden)
        }
        Lied::Strangers => (0..STRANGERS)
            .map(|index| node(&stranger(index), &format!("http://{}", stranger(index))))
            .collect(),
        Lied::Twice => {
            let mut again = nodes.clone();
            for (index, node) in again.iter_mut().enumerate() {
                match index % 4 {
                    1 => node.agent_address = Some(format!("http://twice.example.com/{index}")),
                    2 => node.node_id = Some(stranger(0)),
                    _ => {}
                }
            }
            nodes.extend(again);
            nodes
        }
        Lied::Unusable => {
            let nameless = nodes.iter().map(|node| PlatformNode { node_id: None, ..node.clone() });
            let mut more: Vec<_> = nameless.collect();
            more.push(node("not a name", "http://nowhere.example.com"));
            more.push(node(&stranger(1), "nowhere"));
            more.extend(nodes);
            more
        }
    }
}

fn node(id: &str, address: &str) -> PlatformNode {
    PlatformNode {
        node_id: Some(id.to_owned()),
        agent_address: Some(address.to_owned()),
        ..PlatformNode::default()
    }
}

/// The platform as one life of an engine reaches it.
pub(crate) struct EnginePlatform {
    pub(crate) platforms: Arc<Platforms>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: SharedLedger,
}

#[async_trait]
impl Platform for EnginePlatform {
    async fn discover(
        &self,
        url: &str,
        cluster: &str,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        self.gate.at(Point::Other, Side::Before).await;
        self.platforms.set();
        let answer = self.platforms.fake.discover(url, cluster).await;
        self.gate.at(Point::Other, Side::After).await;
        self.ledger.heard(&self.gate, &answer);
        answer
    }
}
