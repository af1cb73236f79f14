//! What it costs to read answers of a platform, and to find the changes of members in them.

use std::time::Duration;

use replibook::agent::platform::{HttpPlatforms, Platform as _, PlatformHttpConfig};
use replibook::playbook::parse_cluster;
use replibook::run::{ABSENCES, Follower, Heard, PlatformNode, difference};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::AGENTS;
use crate::stage::{NOW, address, id};
use crate::support::{Sample, Table, ms, note, us};

const ROUNDS: u32 = 12;

/// Prints the table.
pub(crate) fn measure() {
    let mut table = Table::new([
        "nodes",
        "reading it over HTTP",
        "following it",
        "with 1 % changed",
        "each node",
        "what changed",
        "what is known",
    ]);
    for nodes in AGENTS {
        let mut follower = follower();
        follower.hear(Heard::Nodes(answer(nodes, 0)), NOW);
        let (mut same, mut changed) = (Sample::default(), Sample::default());
        let (mut told, mut known) = (Sample::default(), Sample::default());
        for round in 1..=ROUNDS {
            let before = follower.membership().members;
            for turn in 0..ABSENCES {
                let heard = Heard::Nodes(answer(nodes, round));
                // An agent leaves at the last of the answers without it.
                let sample = if turn == 1 { &mut same } else { &mut changed };
                sample.time(|| follower.hear(heard, NOW));
            }
            let after = known.time(|| follower.membership()).members;
            let found = told.time(|| difference(&before, &after));
            let gone_or_back = found.left.len() + found.joined.len();
            assert_eq!((gone_or_back, found.moved.len()), (part(nodes, 8), part(nodes, 2)));
        }
        table.row([
            nodes.to_string(),
            ms(read(nodes)),
            ms(same.median()),
            ms(changed.median()),
            us(changed.median() / nodes),
            ms(told.median()),
            us(known.median()),
        ]);
    }
    table.print();
    note(&format!(
        "medians of {ROUNDS} answers; reading is beside the event loop, all else is on it"
    ));
}

/// How long it takes to get one answer over loopback HTTP and to read it.
fn read(nodes: u32) -> Duration {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let fields = |node: PlatformNode| {
        json!({
            "node_id": node.node_id, "agent_address": node.agent_address,
            "node_class": node.node_class, "node_group": node.node_group,
        })
    };
    let all: Vec<Value> = answer(nodes, 0).into_iter().map(fields).collect();
    let body = json!({"clusters": [{"cluster_id": "p", "nodes": all}]}).to_string();
    let mut times = Sample::default();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, body));
        let platforms = HttpPlatforms::new(PlatformHttpConfig::default()).unwrap();
        for _ in 0..ROUNDS {
            let start = std::time::Instant::now();
            let found = platforms.discover(&url, "p").await.unwrap().unwrap();
            times.push(start.elapsed());
            assert_eq!(found.len(), nodes as usize);
        }
        server.abort();
    });
    times.median()
}

/// Answers every request with `body`.
async fn serve(listener: TcpListener, body: String) {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

fn follower() -> Follower {
    let cluster = json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "c"},
        "spec": {"discovery": {"url": "http://platform", "cluster": "p"}},
    });
    let mut follower = Follower::new();
    follower.declare(&parse_cluster(cluster.to_string().as_bytes()).unwrap(), NOW);
    follower
}

/// How many of `nodes` are `of_a_thousand` in each thousand.
fn part(nodes: u32, of_a_thousand: u32) -> usize {
    (nodes / 1_000 * of_a_thousand) as usize
}

/// An answer that differs from the last round's in 1 % of the nodes, spread over all of them: 0.8 % are
/// absent in every other round, and 0.2 % have another address.
fn answer(nodes: u32, round: u32) -> Vec<PlatformNode> {
    let odd = round % 2;
    let present = (0..nodes).filter(|number| odd == 0 || number % 1_000 >= 8);
    let node = |number: u32| PlatformNode {
        node_id: Some(id(number).0),
        agent_address: Some(address(match number % 1_000 {
            8 | 9 => number + (1 + odd) * nodes,
            _ => number,
        })),
        node_class: Some("m5.large".to_owned()),
        node_group: Some("eu-west-1a".to_owned()),
    };
    present.map(node).collect()
}
