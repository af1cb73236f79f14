//! Nodes behind a real server of OpenSSH, over lines that are cut; and containers and pods, by programs of the same
//! arguments, since there are neither where these tests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use replibook::agent::gateway::nodes::{Engine, JobState, Place, Programs, Started, Trouble};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::scene::{LIMIT, Scene, command, program};
use crate::sshd::Sshd;
use crate::wait;

fn ssh(host: &str) -> Place {
    Place::Ssh { host: host.to_owned(), user: None, port: None }
}

fn scene(sshd: &Sshd, port: u16, host: &str) -> Scene {
    let config = Some(sshd.config(port, "user"));
    let programs = Programs { ssh_config: config, ..Programs::default() };
    Scene::with(tempfile::tempdir().unwrap(), programs, ssh(host))
}

#[tokio::test]
async fn many_jobs_at_once_go_over_one_connection() {
    let sshd = Sshd::start("");
    let scene = scene(&sshd, sshd.port, "node");
    let ids: Vec<_> = (0..40).map(|_| Uuid::new_v4()).collect();
    let mut all = tokio::task::JoinSet::new();
    for id in ids.clone() {
        let (jobs, node, job) = (scene.jobs.clone(), scene.node.clone(), scene.note(id));
        all.spawn(async move { jobs.start(&node, &job).await });
    }
    for started in all.join_all().await {
        assert!(matches!(started, Ok(Started::Begun(_))), "{started:?}");
    }
    for id in &ids {
        assert_eq!(scene.end(*id).await.code, 0);
    }
    let mut done = scene.done();
    done.sort();
    let mut expected: Vec<_> = ids.iter().map(Uuid::to_string).collect();
    expected.sort();
    assert_eq!(done, expected);
    // A job that goes on holds no session, and is found again by another gateway.
    for _ in 0..12 {
        let sleep = command(Uuid::new_v4(), &["sleep", "15"]);
        assert!(matches!(scene.start(&sleep).await, JobState::Running { .. }));
        let seen = scene.look(sleep.id).await.unwrap();
        assert!(matches!(seen.state, JobState::Running { .. }));
    }
    scene.jobs.stop().await;
}

#[tokio::test]
async fn what_ssh_refuses_is_said_with_what_to_do() {
    let sshd = Sshd::start("");
    let scene = scene(&sshd, sshd.port, "node");
    let error = |host: &'static str| {
        let (jobs, mut node) = (scene.jobs.clone(), scene.node.clone());
        node.place = ssh(host);
        let job = scene.note(Uuid::new_v4());
        async move {
            let error = jobs.start(&node, &job).await.unwrap_err();
            assert!(!error.may_have_begun(), "{error}");
            error
        }
    };
    let behind = error("behind").await;
    assert!(matches!(behind.trouble, Trouble::JumpHost { .. }), "{behind}");
    let no_name = error("no-such-host.invalid").await;
    assert!(matches!(no_name.trouble, Trouble::Unreachable { .. }), "{no_name}");
    sshd.trust(sshd.port, "other");
    let changed = error("node-2").await;
    assert!(matches!(changed.trouble, Trouble::HostKeyChanged { .. }), "{changed}");
    std::fs::write(sshd.path("known_hosts"), "").unwrap();
    let unknown = error("node-3").await;
    assert!(matches!(unknown.trouble, Trouble::HostKeyUnknown { .. }), "{unknown}");
    sshd.trust(sshd.port, "host");
    let programs =
        Programs { ssh_config: Some(sshd.config(sshd.port, "other")), ..Programs::default() };
    let stranger = Scene::with(tempfile::tempdir().unwrap(), programs, ssh("node"));
    let job = stranger.note(Uuid::new_v4());
    let denied = stranger.jobs.start(&stranger.node, &job).await.unwrap_err();
    assert!(matches!(denied.trouble, Trouble::Denied { .. }), "{denied}");
    let programs = Programs { ssh: "/no/ssh".into(), ..Programs::default() };
    let none = Scene::with(tempfile::tempdir().unwrap(), programs, ssh("node"));
    let missing = none.jobs.start(&none.node, &job).await.unwrap_err();
    assert!(matches!(missing.trouble, Trouble::Program { .. }), "{missing}");
    assert!(scene.done().is_empty());
}

#[tokio::test]
async fn a_server_that_runs_something_else_is_found_out() {
    let sshd = Sshd::start("ForceCommand echo only backups here");
    let scene = scene(&sshd, sshd.port, "node");
    let error = scene.jobs.start(&scene.node, &scene.note(Uuid::new_v4())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("forced command") && text.contains("only backups here"), "{text}");
}

#[tokio::test]
async fn connections_end_with_the_gateway_and_are_made_again_when_they_are_gone() {
    let sshd = Sshd::start("");
    let scene = scene(&sshd, sshd.port, "node");
    scene.run(&scene.note(Uuid::new_v4())).await;
    let sessions = || {
        let path = format!("/proc/{0}/task/{0}/children", sshd.pid());
        std::fs::read_to_string(path)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(sessions().len(), 1);
    // The server ends the connection.
    for session in sessions() {
        let killed = std::process::Command::new("kill").args(["-9", &session]).status();
        assert!(killed.unwrap().success());
    }
    let id = Uuid::new_v4();
    assert!(matches!(scene.see_through(&scene.note(id)).await, JobState::Ended(_)));
    assert_eq!(scene.done().len(), 2);
    drop(scene);
    wait::until("the end of the connections", LIMIT, async || sessions().is_empty().then_some(()))
        .await;
}

/// A line that ends after so many bytes, in both directions together.
struct Line {
    port: u16,
    _carrying: AbortOnDropHandle<()>,
}

impl Line {
    /// Each connection ends after another number of bytes, until `cuts` have been.
    async fn start(to: u16, mut noise: u64, cuts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let carrying = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0_u64.. {
                let (client, _) = listener.accept().await.unwrap();
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // A login takes about 6,000 bytes, and a job twice as many.
                let bytes =
                    if connection < cuts { 4_000 + (noise >> 33) % 40_000 } else { u64::MAX };
                connections.spawn(carry(client, to, bytes));
            }
        });
        Self { port, _carrying: AbortOnDropHandle::new(carrying) }
    }
}

async fn carry(client: TcpStream, to: u16, bytes: u64) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let left = Arc::new(AtomicU64::new(bytes));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let copy = |mut from: tokio::net::tcp::OwnedReadHalf,
                mut to: tokio::net::tcp::OwnedWriteHalf| {
        let left = Arc::clone(&left);
        async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let before = left.fetch_sub(length as u64, Ordering::Relaxed);
                let part = length.min(usize::try_from(before).unwrap_or(usize::MAX));
                if to.write_all(&buffer[..part]).await.is_err() || part < length {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = copy(from_client, to_server) => {}
        () = copy(from_server, to_client) => {}
    }
}

#[tokio::test]
async fn lines_that_are_cut_at_any_byte_do_nothing_twice_and_lose_nothing() {
    let sshd = Sshd::start("");
    let line = Line::start(sshd.port, 11, 24).await;
    sshd.trust(line.port, "host");
    let scene = Arc::new(scene(&sshd, line.port, "node"));
    let ids: Vec<_> = (0..30).map(|_| Uuid::new_v4()).collect();
    let mut all = tokio::task::JoinSet::new();
    for worker in ids.chunks(10) {
        let (scene, worker) = (Arc::clone(&scene), worker.to_vec());
        all.spawn(async move {
            for id in worker {
                let state = scene.see_through(&scene.note(id)).await;
                let JobState::Ended(end) = &state else { panic!("{state:?}") };
                assert_eq!((end.code, &*end.stdout), (0, format!("{id}\n").as_bytes()));
            }
        });
    }
    all.join_all().await;
    let mut done = scene.done();
    done.sort();
    let mut expected: Vec<_> = ids.iter().map(Uuid::to_string).collect();
    expected.sort();
    assert_eq!(done, expected);
}

#[tokio::test]
async fn containers_and_pods_are_reached_by_programs_of_these_arguments() {
    for (place, takes) in [
        (
            Place::Container { engine: Engine::Docker, name: "db".to_owned(), user: None },
            "exec -i db",
        ),
        (
            Place::Container {
                engine: Engine::Podman,
                name: "db".to_owned(),
                user: Some("0".to_owned()),
            },
            "exec -i --user 0 db",
        ),
        (
            Place::Pod {
                context: None,
                namespace: Some("data".to_owned()),
                pod: "db-0".to_owned(),
                container: Some("main".to_owned()),
            },
            "--namespace=data exec -i db-0 -c main --",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine");
        let words = takes.split(' ').count();
        // What it takes for itself has to be these words; the rest is what it runs.
        let text = format!(
            "#!/bin/sh\nfound=\"\"\ni=0\nwhile [ $i -lt {words} ]; do found=\"$found $1\"; shift; i=$((i+1)); done\n\
             [ \"$found\" = \" {takes}\" ] || {{ echo \"found$found\" >&2; exit 1; }}\nexec \"$@\"\n"
        );
        program(&path, &text);
        let programs = Programs {
            docker: path.clone(),
            podman: path.clone(),
            kubectl: path.clone(),
            ..Programs::default()
        };
        let scene = Scene::with(folder, programs, place);
        let id = Uuid::new_v4();
        assert_eq!(scene.run(&scene.note(id)).await.code, 0);
        assert_eq!(scene.done(), [id.to_string()]);
        program(
            &path,
            "#!/bin/sh\necho 'Error response from daemon: No such container: db' >&2\nexit 1\n",
        );
        let error = scene.jobs.start(&scene.node, &scene.note(Uuid::new_v4())).await.unwrap_err();
        assert!(
            matches!(error.trouble, Trouble::Unreachable { .. }) && !error.may_have_begun(),
            "{error}"
        );
    }
}
