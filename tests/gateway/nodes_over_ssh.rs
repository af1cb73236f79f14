//! Nodes behind a real server of OpenSSH; and containers and pods, by programs of the same arguments, since there are neither
//! where these tests run.

use replibook::agent::gateway::nodes::{Engine, JobState, Place, Programs, Started, Trouble};
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
    assert_eq!(sshd.connections().len(), 1);
    // The server ends the connection.
    for session in sshd.connections() {
        let killed = std::process::Command::new("kill").args(["-9", &session.to_string()]).status();
        assert!(killed.unwrap().success());
    }
    let id = Uuid::new_v4();
    assert!(matches!(scene.see_through(&scene.note(id)).await, JobState::Ended(_)));
    assert_eq!(scene.done().len(), 2);
    drop(scene);
    wait::until("the end of the connections", LIMIT, async || {
        sshd.connections().is_empty().then_some(())
    })
    .await;
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
