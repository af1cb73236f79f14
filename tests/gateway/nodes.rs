//! The script that runs on nodes, in each of the shells that they have, on this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use replibook::agent::gateway::nodes::{
    Job, JobState, Killed, Lost, MAX_STATUS_SECONDS, MAX_STDERR, MAX_STDOUT, Phase, Started,
    Stream, Trouble, Work, put_result,
};
use replibook::run::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::scene::{LIMIT, SHELLS, Scene, command, files, of, program};
use crate::wait;

#[tokio::test]
async fn a_job_is_done_once_and_remembered_by_its_node() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let id = Uuid::new_v4();
        let job = scene.note(id);
        let end = scene.run(&job).await;
        assert_eq!(
            (end.code, &*end.stdout, &*end.stderr),
            (0, format!("{id}\n").as_bytes(), &b""[..])
        );
        assert_eq!(scene.jobs.start(&scene.node, &job).await.unwrap(), Started::Known, "{shell}");
        assert_eq!(scene.done(), [id.to_string()], "{shell}");
        // A gateway that knows nothing of it asks the node.
        let other = Scene::local(shell);
        let seen = other.jobs.look(&scene.node, id).await.unwrap().unwrap();
        assert_eq!((&seen.kind, &seen.args, seen.created), (&job.kind, &job.args, job.created));
        assert!(
            matches!(&seen.state, JobState::Ended(found) if found.stdout == end.stdout),
            "{shell}"
        );
        let listed = other.jobs.list(&scene.node).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].id, &listed[0].kind, listed[0].phase),
            (id, &job.kind, Phase::Ended(0))
        );
        assert_eq!(scene.look(Uuid::new_v4()).await, None);
    }
}

#[tokio::test]
async fn what_is_handed_over_comes_unharmed_and_how_it_ended_is_told() {
    let all: Vec<u8> = (0..=255).collect();
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let env = BTreeMap::from([("A_B".to_owned(), "it's $HOME\n\\ ä".to_owned())]);
        let argv =
            ["sh", "-c", "cat; printf %s \"$A_B|$1|$PWD\"; echo no >&2; exit 7", "x", "*'\"\\"];
        for (stdin, secret) in [(all.clone(), true), (all.repeat(64), false), (Vec::new(), false)] {
            let work = Work::Command {
                argv: argv.map(str::to_owned).to_vec(),
                stdin: Bytes::from(stdin.clone()),
                env: env.clone(),
                folder: Some("/".to_owned()),
            };
            let job = Job { secret, ..of(Uuid::new_v4(), work) };
            let end = scene.run(&job).await;
            let expected = [&stdin[..], "it's $HOME\n\\ ä|*'\"\\|/".as_bytes()].concat();
            assert!(end.stdout == expected, "{shell}: {:?}", end.stdout);
            assert_eq!((end.code, &*end.stderr), (7, &b"no\n"[..]), "{shell}");
        }
        let end = scene.run(&command(Uuid::new_v4(), &["no-such-program"])).await;
        assert_eq!(end.code, 127, "{shell}");
        let kill = command(Uuid::new_v4(), &["sh", "-c", "kill -9 $$"]);
        assert_eq!(scene.run(&kill).await.code, 128 + 9, "{shell}");
    }
}

#[tokio::test]
async fn secrets_are_in_no_file_no_environment_and_no_process_list() {
    let secret = "correct horse battery staple";
    for shell in SHELLS {
        let scene = Scene::local(shell);
        // What the job can see of all processes while it runs; the brackets keep it from finding itself.
        let text = "cat > /dev/null; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | grep -c -a 'correct hors[e]'";
        let work = Work::Command {
            argv: ["sh", "-c", text].map(str::to_owned).to_vec(),
            stdin: Bytes::from_static(secret.as_bytes()),
            env: [].into(),
            folder: None,
        };
        let command = Job { secret: true, ..of(Uuid::new_v4(), work) };
        let end = scene.run(&command).await;
        assert_eq!(String::from_utf8_lossy(&end.stdout), "0\n", "{shell}");
        let work = Work::Script {
            interpreter: Vec::new(),
            text: format!("#!/bin/sh -e\n: {secret}\necho \"done $-\"\n"),
            stdin: Bytes::new(),
            env: [].into(),
            folder: None,
        };
        let script = Job { secret: true, ..of(Uuid::new_v4(), work) };
        let end = scene.run(&script).await;
        assert!(end.stdout.starts_with(b"done ") && end.stdout.contains(&b'e'), "{shell}: {end:?}");
        let kept = files(&scene.path("work"));
        assert!(kept.len() >= 12, "{kept:?}");
        for file in kept {
            let bytes = std::fs::read(&file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("battery"), "{shell}: {}", file.display());
        }
    }
}

#[tokio::test]
async fn a_claim_of_which_nothing_came_is_taken_up_by_one_alone() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        for secret in [false, true] {
            let id = Uuid::new_v4();
            let job = Job { secret, ..scene.note(id) };
            scene.run(&job).await;
            // As it was when whoever claimed it died: what was done is undone here.
            std::fs::remove_file(scene.path("done")).unwrap();
            for file in files(&scene.job(id)) {
                if !["do", "what"].contains(&file.file_name().unwrap().to_str().unwrap()) {
                    std::fs::remove_file(file).unwrap();
                }
            }
            let others: Vec<_> = (0..6).map(|_| Scene::local(shell)).collect();
            let looks = others.iter().map(|other| other.jobs.look(&scene.node, id));
            let seen: Vec<_> = futures(looks).await.into_iter().map(Result::unwrap).collect();
            if secret {
                assert!(seen.iter().all(Option::is_none), "{shell}: {seen:?}");
                let starts = others.iter().map(|other| other.jobs.start(&scene.node, &job));
                for started in futures(starts).await {
                    started.unwrap();
                }
            } else {
                assert!(seen.iter().all(Option::is_some), "{shell}: {seen:?}");
            }
            let end = wait::until("the end", LIMIT, async || {
                match other_look(&others[1], &scene, id).await {
                    JobState::Ended(end) => Some(end),
                    JobState::Running { .. } | JobState::Lost { .. } | JobState::NotStarted => None,
                }
            });
            let end = end.await;
            assert_eq!(end.code, 0, "{shell}");
            assert_eq!(scene.done(), [id.to_string()], "{shell}");
        }
        // Not even what to do was written.
        let id = Uuid::new_v4();
        std::fs::create_dir(scene.job(id)).unwrap();
        assert_eq!(scene.look(id).await, None);
        scene.run(&scene.note(id)).await;
        assert_eq!(scene.done().last(), Some(&id.to_string()), "{shell}");
    }
}

async fn other_look(other: &Scene, scene: &Scene, id: Uuid) -> JobState {
    other.jobs.look(&scene.node, id).await.unwrap().unwrap().state
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (one, found) in &mut all {
            if found.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *found = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, found)| found).collect()
}

#[tokio::test]
async fn lost_is_told_apart_from_failed() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let id = Uuid::new_v4();
        let job = command(id, &["sh", "-c", "echo $$; exec sleep 1000"]);
        assert!(matches!(scene.start(&job).await, JobState::Running { .. }), "{shell}");
        assert!(matches!(scene.look(id).await.unwrap().state, JobState::Running { .. }), "{shell}");
        let piece = scene.jobs.output(&scene.node, id, Stream::Out, 0).await.unwrap().unwrap();
        assert!(!piece.ended && piece.next == piece.bytes.len() as u64);
        kill_group(&scene, id);
        let state = wait::until("the loss", LIMIT, async || match scene.look(id).await?.state {
            JobState::Running { .. } => None,
            state => Some(state),
        });
        let state = state.await;
        assert!(matches!(state, JobState::Lost { why: Lost::Killed, .. }), "{shell}: {state:?}");
        assert_eq!(scene.jobs.start(&scene.node, &job).await.unwrap(), Started::Known);
        if shell == "no-proc" {
            continue;
        }
        // The same, as it is found after a reboot.
        for file in files(&scene.job(id)) {
            if file.file_name().unwrap().to_str().unwrap().starts_with("try.") {
                let text = std::fs::read_to_string(&file).unwrap();
                let (_, rest) = text.split_once(' ').unwrap();
                std::fs::write(&file, format!("another-boot {rest}")).unwrap();
            }
        }
        let state = scene.look(id).await.unwrap().state;
        assert!(matches!(state, JobState::Lost { why: Lost::Rebooted, .. }), "{shell}: {state:?}");
        // What had not begun before a reboot may have: nobody begins it again.
        std::fs::remove_file(scene.job(id).join("started")).unwrap();
        let text = std::fs::read_to_string(scene.job(id).join("do")).unwrap();
        let mut words: Vec<_> = text.split(' ').collect();
        words[6] = "another-boot";
        std::fs::write(scene.job(id).join("do"), words.join(" ")).unwrap();
        let state = scene.look(id).await.unwrap().state;
        assert!(matches!(state, JobState::Lost { why: Lost::Rebooted, .. }), "{shell}: {state:?}");
    }
}

/// A power cut within seconds may keep names of files and lose what is in them.
#[tokio::test]
async fn what_a_power_cut_took_is_lost_and_not_done_again() {
    for shell in SHELLS {
        let torn: [(&str, &[&str]); 2] = [("do", &[]), ("do", &["started"])];
        for (empty, gone) in torn {
            let scene = Scene::local(shell);
            let id = Uuid::new_v4();
            let job = scene.note(id);
            scene.run(&job).await;
            std::fs::write(scene.job(id).join(empty), "").unwrap();
            for name in gone {
                std::fs::remove_file(scene.job(id).join(name)).unwrap();
            }
            let other = Scene::local(shell);
            let seen = other.jobs.look(&scene.node, id).await.unwrap().unwrap();
            let state = seen.state;
            assert!(matches!(state, JobState::Lost { why: Lost::Torn, .. }), "{shell}: {state:?}");
            let started = other.jobs.start(&scene.node, &job).await.unwrap();
            assert_eq!(started, Started::Known, "{shell}");
            assert_eq!(scene.done(), [id.to_string()], "{shell}");
        }
        // The record alone, which only a reboot can take.
        let scene = Scene::local(shell);
        let id = Uuid::new_v4();
        scene.run(&scene.note(id)).await;
        std::fs::write(scene.job(id).join("what"), "").unwrap();
        let text = std::fs::read_to_string(scene.job(id).join("do")).unwrap();
        let mut words: Vec<_> = text.split(' ').collect();
        words[6] = "another-boot";
        std::fs::write(scene.job(id).join("do"), words.join(" ")).unwrap();
        let other = Scene::local(shell);
        let state = other_look(&other, &scene, id).await;
        assert!(matches!(state, JobState::Lost { why: Lost::Torn, .. }), "{shell}: {state:?}");
    }
}

#[tokio::test]
async fn the_word_of_the_marks_is_in_no_list_of_processes() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let words = "tr '\\000' '\\012' < /proc/$PPID/cmdline";
        let end = scene.run(&command(Uuid::new_v4(), &["sh", "-c", words])).await;
        let seen = String::from_utf8(end.stdout.to_vec()).unwrap();
        let word = |line: &&str| line.len() == 32 && line.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(seen.contains("start") && seen.lines().find(word).is_none(), "{shell}: {seen}");
    }
}

#[tokio::test]
async fn commands_for_the_status_do_not_pile_up_on_a_node() {
    for shell in ["dash", "bash", "busybox ash"] {
        let scene = Scene::local(shell);
        let noted = scene.path("noted");
        let text = format!("echo begun >> {}; exec sleep 1000", noted.display());
        let hangs = ["sh", "-c", &text].map(str::to_owned);
        let begun = wait::until("the first command", LIMIT, async || {
            std::fs::read_to_string(&noted).ok().filter(|text| !text.is_empty())
        });
        // Whoever asked gives up; what it began goes on.
        tokio::select! {
            _ = scene.jobs.facts(&scene.node, Some(&hangs)) => panic!("{shell}: it ended"),
            _ = begun => {}
        }
        let said = scene.jobs.facts(&scene.node, Some(&hangs)).await.unwrap().status.unwrap();
        assert!(said.stdout.starts_with(b"UNKNOWN: "), "{shell}: {said:?}");
        assert_eq!(std::fs::read_to_string(&noted).unwrap(), "begun\n", "{shell}");
        // It was begun longer ago than it may take.
        let path = scene.path("work/status");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        let up = words[3].parse::<f64>().unwrap() - MAX_STATUS_SECONDS as f64;
        words[3] = up.max(0.0).to_string();
        let pid: u32 = words[1].parse().unwrap();
        std::fs::write(&path, words.join(" ")).unwrap();
        let quick = ["echo", "HEALTHY"].map(str::to_owned);
        let said = scene.jobs.facts(&scene.node, Some(&quick)).await.unwrap().status.unwrap();
        assert_eq!((said.code, &*said.stdout), (0, &b"HEALTHY\n"[..]), "{shell}");
        assert!(!path.exists(), "{shell}: nobody is at work");
        wait::until("its end", LIMIT, async || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
        })
        .await;
    }
}

/// Kills everything of a job, with the process that watches over it.
fn kill_group(scene: &Scene, id: Uuid) {
    let out = std::fs::read_to_string(scene.job(id).join("out")).unwrap();
    let started = std::fs::read_to_string(scene.job(id).join("started")).unwrap();
    let watcher = started.split(' ').next().unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", "kill -9 $1; kill -9 $2 2> /dev/null; :", "sh", watcher, out.trim()])
        .output();
    assert!(output.unwrap().status.success());
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_killed_by_the_looks_at_it() {
    for shell in ["dash", "bash", "busybox ash"] {
        let scene = Scene::local(shell);
        for text in ["exec sleep 1000", "trap '' TERM; sleep 1000; sleep 1000; sleep 1000"] {
            let id = Uuid::new_v4();
            let job = command(id, &["sh", "-c", text]);
            let timeout = Some(Duration::from_secs(1));
            let job = Job { timeout, ..job };
            let end = scene.run(&job).await;
            assert_eq!(end.killed, Some(Killed::Timeout), "{shell}: {end:?}");
            assert!(end.code > 128, "{shell}: {end:?}");
        }
    }
}

#[tokio::test]
async fn output_is_bounded_and_the_rest_is_there_for_who_asks() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let id = Uuid::new_v4();
        let text = format!(
            "head -c {} /dev/zero; head -c {} /dev/zero >&2; echo end; echo end >&2",
            MAX_STDOUT, MAX_STDERR
        );
        let end = scene.run(&command(id, &["sh", "-c", &text])).await;
        assert_eq!((end.stdout.len(), end.cut, end.stderr.len()), (MAX_STDOUT, true, MAX_STDERR));
        assert!(end.stderr.ends_with(b"end\n"));
        let from = MAX_STDOUT as u64 - 1;
        let piece = scene.jobs.output(&scene.node, id, Stream::Out, from).await.unwrap().unwrap();
        assert_eq!((&*piece.bytes, piece.next, piece.ended), (&b"\0end\n"[..], from + 5, true));
        let first = scene.jobs.output(&scene.node, id, Stream::Out, 0).await.unwrap().unwrap();
        assert!(!first.ended && first.next > 0, "{shell}");
        let past =
            scene.jobs.output(&scene.node, id, Stream::Err, u64::MAX).await.unwrap().unwrap();
        assert!(past.bytes.is_empty() && past.ended);
        let other = Uuid::new_v4();
        assert_eq!(scene.jobs.output(&scene.node, other, Stream::Out, 0).await.unwrap(), None);
    }
}

#[tokio::test]
async fn old_jobs_are_forgotten_and_those_at_work_are_not() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let (ended, works) = (Uuid::new_v4(), Uuid::new_v4());
        scene.run(&scene.note(ended)).await;
        let job = command(works, &["sh", "-c", "echo $$; exec sleep 1000"]);
        scene.start(&job).await;
        assert_eq!(scene.jobs.purge(&scene.node, Timestamp::from_millis(0)).await.unwrap(), 0);
        assert_eq!(scene.jobs.purge(&scene.node, Timestamp::MAX).await.unwrap(), 1, "{shell}");
        let listed = scene.jobs.list(&scene.node).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].id, listed[0].phase), (works, Phase::Running));
        kill_group(&scene, works);
    }
}

#[tokio::test]
async fn a_file_is_put_as_a_whole_and_only_if_it_differs() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    for shell in SHELLS {
        let scene = Scene::local(shell);
        let path = scene.path("it's a file");
        let put = |content: &str, mode: Option<u32>, check: bool| {
            let work = Work::PutFile {
                path: path.display().to_string(),
                content: Bytes::from(content.to_owned()),
                mode,
                owner: None,
                group: None,
                check,
            };
            of(Uuid::new_v4(), work)
        };
        let created = scene.run(&put("a\nb\n", None, true)).await;
        assert!(!path.exists(), "{shell}: it was only asked");
        assert_eq!(put_result(&created.stdout).unwrap()["what"], json!(["created"]), "{created:?}");
        scene.run(&put("a\nb\n", Some(0o640), false)).await;
        let about = path.metadata().unwrap();
        assert_eq!((about.permissions().mode() & 0o7777, about.size()), (0o640, 4), "{shell}");
        let same = scene.run(&put("a\nb\n", Some(0o640), false)).await;
        assert_eq!(put_result(&same.stdout), Some(json!({ "changed": false })));
        let changed = scene.run(&put("a\nc\n", None, false)).await;
        let expected = json!({ "changed": true, "what": ["content"], "diff": "@@ -1,2 +1,2 @@\n a\n-b\n+c\n" });
        // busybox has a `diff` of its own.
        assert_eq!(put_result(&changed.stdout), Some(expected), "{shell}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640, "{shell}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nc\n");
        let left = files(scene.folder.path())
            .into_iter()
            .filter(|file| file.display().to_string().contains("replibook-put"));
        assert_eq!(left.count(), 0, "{shell}");
    }
}

#[tokio::test]
async fn a_node_says_what_it_is() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let status = ["sh", "-c", "echo HEALTHY; exit 3"].map(str::to_owned);
        let facts = scene.jobs.facts(&scene.node, None).await.unwrap();
        assert!(
            !facts.os.is_empty() && !facts.arch.is_empty() && facts.kernel.starts_with("Linux ")
        );
        assert_eq!((facts.status, facts.own.len()), (None, 0));
        std::fs::create_dir_all(scene.path("work/facts")).unwrap();
        std::fs::write(scene.path("work/facts/rack"), "r 12\nmore\n").unwrap();
        let facts = scene.jobs.facts(&scene.node, Some(&status)).await.unwrap();
        let said = facts.status.unwrap();
        assert_eq!((said.code, &*said.stdout), (3, &b"HEALTHY\n"[..]), "{shell}");
        assert_eq!(facts.own["rack"], "r 12");
        assert_eq!(facts.uptime.is_some(), shell != "no-proc");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_node_is_said_with_what_to_do() {
    let scene = Scene::local("dash");
    let sudo = scene.path("bin");
    std::fs::create_dir(&sudo).unwrap();
    program(&sudo.join("sudo"), "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n");
    program(
        &scene.path("sh"),
        &format!("#!/bin/sh\nPATH={}:$PATH exec dash \"$@\"\n", sudo.display()),
    );
    let job = Job { become_user: Some("root".to_owned()), ..scene.note(Uuid::new_v4()) };
    let error = scene.jobs.start(&scene.node, &job).await.unwrap_err();
    assert!(error.to_string().contains("NOPASSWD") && !error.may_have_begun(), "{error}");
    // A login that says something first, and one that never runs anything.
    program(
        &scene.path("sh"),
        "#!/bin/sh\necho Welcome; printf 'no line break'; exec dash \"$@\"\n",
    );
    scene.run(&scene.note(Uuid::new_v4())).await;
    program(&scene.path("sh"), "#!/bin/sh\necho This account is currently not available.\n");
    let error = scene.jobs.start(&scene.node, &scene.note(Uuid::new_v4())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no POSIX shell") && text.contains("currently not available"), "{text}");
    program(&scene.path("sh"), "#!/bin/sh\nexec dash \"$@\"\n");
    // A folder that can't be made.
    std::fs::write(scene.path("file"), "").unwrap();
    let mut node = scene.node.clone();
    node.folder = scene.path("file/work").display().to_string();
    let error = scene.jobs.start(&node, &scene.note(Uuid::new_v4())).await.unwrap_err();
    assert!(matches!(error.trouble, Trouble::Folder { .. }) && !error.may_have_begun(), "{error}");
    node.folder = "-x".to_owned();
    let error = scene.jobs.start(&node, &scene.note(Uuid::new_v4())).await.unwrap_err();
    assert!(matches!(error.trouble, Trouble::Refused { .. }), "{error}");
    assert_eq!(scene.done().len(), 1);
}

/// Whoever asks gives up at a random moment, or everything of a job is killed then.
#[tokio::test]
async fn nothing_is_done_twice_whenever_who_asks_gives_up() {
    for (round, shell) in SHELLS.into_iter().enumerate() {
        let scene = Scene::local(shell);
        let mut noise = 7 + round as u64;
        let mut expected = Vec::new();
        for _ in 0..25 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = Uuid::new_v4();
            let job = scene.note(id);
            let patience = Duration::from_micros((noise >> 33) % 12_000);
            let _ = tokio::time::timeout(patience, scene.jobs.start(&scene.node, &job)).await;
            let state = scene.see_through(&job).await;
            assert!(matches!(state, JobState::Ended(_)), "{shell}: {state:?}");
            expected.push(id.to_string());
        }
        let mut done = scene.done();
        done.sort();
        expected.sort();
        assert_eq!(done, expected, "{shell}");
    }
}
