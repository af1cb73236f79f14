//! Nodes that something is wrong with: each says what, and what to do, and nothing is done twice there.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use replibook::agent::gateway::nodes::{
    End, Job, JobState, Jobs, Lost, NodeError, Place, Programs, Seen, Started, Trouble, Work,
};
use replibook::clock::{Clock, SystemClock};
use replibook::run::{Millis, Timestamp};
use uuid::Uuid;

use super::line::{Cuts, Line, Noise};
use super::mounts::Mounts;
use super::scene::{LIMIT, SHELLS, Scene, command, files, of, program};
use crate::sshd::Sshd;
use crate::wait;

/// A node whose work folder is in `home`, which is mounted for it with these options. `None` where nobody may mount anything.
fn mounted(shell: &str, options: &str) -> Option<(Scene, Mounts)> {
    let mut scene = Scene::local(shell);
    let home = scene.path("home");
    std::fs::create_dir(&home).unwrap();
    let made = Mounts::made_by(&format!("mount -t tmpfs -o {options} tmpfs {}", home.display()));
    let Some(mounts) = made else {
        println!("nobody may mount anything here, so {options} is not tested");
        return None;
    };
    // What stands in for the shell goes on doing so, where the mount is seen.
    std::fs::rename(scene.path("sh"), scene.path("inner")).unwrap();
    program(&scene.path("sh"), &mounts.shell(&scene.path("inner").display().to_string()));
    scene.node.folder = home.join("work").display().to_string();
    Some((scene, mounts))
}

async fn refused(scene: &Scene, job: &Job) -> NodeError {
    scene.jobs.start(&scene.node, job).await.unwrap_err()
}

/// What a gateway says that knows nothing of the job but what the node says.
async fn seen_anew(scene: &Scene, id: Uuid) -> Option<Seen> {
    let programs = Programs { sh: scene.path("sh"), ..Programs::default() };
    let jobs = Jobs::new(programs, Arc::new(SystemClock)).unwrap();
    jobs.look(&scene.node, id).await.unwrap()
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_lost_by_it() {
    for shell in SHELLS {
        let Some((scene, mounts)) = mounted(shell, "size=256k,mode=0777") else { return };
        let home = scene.path("home").display().to_string();
        scene.run(&scene.note(Uuid::new_v4())).await;
        let fill = format!("head -c 1000000 /dev/zero > {home}/fill 2> /dev/null || :");
        mounts.run(&fill);
        let job = scene.note(Uuid::new_v4());
        let error = refused(&scene, &job).await;
        assert!(matches!(error.trouble, Trouble::DiskFull { .. }), "{shell}: {error}");
        assert!(error.to_string().contains("make room where"), "{error}");
        assert!(
            !error.may_have_begun(),
            "{shell}: a person has to mend it, so engines are to stop"
        );
        // Whoever asks again learns it again, and nothing begins.
        assert_eq!(scene.look(job.id).await, None, "{shell}");
        assert!(matches!(refused(&scene, &job).await.trouble, Trouble::DiskFull { .. }));
        mounts.run(&format!("rm {home}/fill"));
        assert!(matches!(scene.see_through(&job).await, JobState::Ended(_)), "{shell}");
        assert_eq!(scene.done().len(), 2, "{shell}");
        // One that fills the disk itself: how it ended is known all the same.
        let id = Uuid::new_v4();
        let text = "head -c 1000000 /dev/zero; echo 'no room' >&2; exit 3";
        assert_eq!(scene.run(&command(id, &["sh", "-c", text])).await.code, 3, "{shell}");
        let Some(JobState::Ended(end)) = seen_anew(&scene, id).await.map(|seen| seen.state) else {
            panic!("{shell}: it is not known how it ended")
        };
        assert_eq!(end.code, 3, "{shell}");
    }
}

#[tokio::test]
async fn a_read_only_home_is_said_and_what_was_done_is_still_told() {
    for shell in SHELLS {
        let Some((scene, mounts)) = mounted(shell, "size=1m,mode=0777") else { return };
        let home = scene.path("home").display().to_string();
        let before = scene.note(Uuid::new_v4());
        scene.run(&before).await;
        mounts.run(&format!("mount -o remount,ro {home}"));
        let error = refused(&scene, &scene.note(Uuid::new_v4())).await;
        assert!(matches!(error.trouble, Trouble::ReadOnly { .. }), "{shell}: {error}");
        assert!(!error.may_have_begun(), "{shell}");
        assert!(error.to_string().contains("name another folder in the inventory"), "{error}");
        let seen = seen_anew(&scene, before.id).await.unwrap();
        assert!(matches!(seen.state, JobState::Ended(End { code: 0, .. })), "{shell}: {seen:?}");
        assert_eq!(scene.jobs.start(&scene.node, &before).await.unwrap(), Started::Known);
        // There has never been a folder of ours.
        let mut node = scene.node.clone();
        node.folder = format!("{home}/another");
        let error = scene.jobs.start(&node, &scene.note(Uuid::new_v4())).await.unwrap_err();
        assert!(matches!(error.trouble, Trouble::ReadOnly { .. }), "{shell}: {error}");
        assert_eq!(scene.done().len(), 1, "{shell}");
    }
}

#[tokio::test]
async fn nothing_in_the_work_folder_has_to_be_run() {
    for shell in SHELLS {
        let Some((scene, _mounts)) = mounted(shell, "size=1m,mode=0777,noexec") else { return };
        scene.run(&scene.note(Uuid::new_v4())).await;
        let work = Work::Script {
            interpreter: Vec::new(),
            text: "#!/bin/sh -e\ncat; echo \"$-\"\n".to_owned(),
            stdin: Bytes::from_static(b"handed over\n"),
            env: [].into(),
            folder: None,
        };
        let end = scene.run(&of(Uuid::new_v4(), work)).await;
        assert!(end.code == 0 && end.stdout.starts_with(b"handed over\n"), "{shell}: {end:?}");
        let work = Work::PutFile {
            path: scene.path("home/file").display().to_string(),
            content: Bytes::from_static(b"content\n"),
            mode: Some(0o600),
            owner: None,
            group: None,
            check: false,
        };
        assert_eq!(scene.run(&of(Uuid::new_v4(), work)).await.code, 0, "{shell}");
        assert_eq!(scene.done().len(), 1);
    }
}

/// A clock that is off.
struct Off(AtomicI64);

#[async_trait]
impl Clock for Off {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now + self.0.load(Ordering::Relaxed))
    }

    fn passed(&self) -> Millis {
        SystemClock.passed()
    }

    async fn sleep(&self, length: Duration) {
        SystemClock.sleep(length).await;
    }
}

/// 30 years.
const FAR: i64 = 30 * 365 * 24 * 3_600 * 1_000;

/// To the gateway, a node's clock is as far off as its own is to the node.
#[tokio::test]
async fn a_clock_that_is_wrong_or_is_set_in_the_middle_changes_nothing() {
    for shell in SHELLS {
        for off in [FAR, -FAR, 0] {
            let mut scene = Scene::local(shell);
            let clock = Arc::new(Off(AtomicI64::new(off)));
            let programs = Programs { sh: scene.path("sh"), ..Programs::default() };
            scene.jobs = Jobs::new(programs.clone(), clock.clone()).unwrap();
            let begun = clock.now();
            let id = Uuid::new_v4();
            let wait =
                format!("while [ ! -e {} ]; do sleep 0.05; done", scene.path("go").display());
            let job = command(id, &["sh", "-c", &wait]);
            let job = Job { timeout: Some(LIMIT), ..job };
            let JobState::Running { since } = scene.start(&job).await else { panic!("{shell}") };
            let is_now = |at: Timestamp, from: Timestamp| {
                // Uptimes have two digits after the point, and seconds where there is no /proc.
                let (at, from) = (at.as_millis(), from.as_millis());
                from - 2_000 <= at && at <= clock.now().as_millis() + 2_000
            };
            assert!(is_now(since, begun), "{shell}, {off}: {since}");
            // The clock is set, and another gateway comes to look.
            clock.0.store(-off / 2, Ordering::Relaxed);
            scene.jobs = Jobs::new(programs, clock.clone()).unwrap();
            let state = scene.look(id).await.unwrap().state;
            assert!(matches!(state, JobState::Running { .. }), "{shell}, {off}: {state:?}");
            std::fs::write(scene.path("go"), "").unwrap();
            let end = scene.end(id).await;
            let set = Timestamp::from_millis(begun.as_millis() - off - off / 2);
            assert_eq!((end.code, end.killed), (0, None), "{shell}, {off}");
            assert!(is_now(end.started, set) && is_now(end.ended, set), "{shell}, {off}: {end:?}");
        }
    }
}

/// A node whose boot and whose time since the boot are in files of the test.
fn bootable(shell: &str) -> Scene {
    let scene = Scene::local(shell);
    let at = |name: &str| scene.path(name).display().to_string();
    let text = format!(
        "#!/bin/sh\nscript=$(printf '%s\\n' \"$2\" | sed 's,/proc/sys/kernel/random/boot_id,{},g; s,/proc/uptime,{},g')\n\
         shift 2\nexec {shell} -c \"$script\" \"$@\"\n",
        at("boot_id"),
        at("uptime"),
    );
    program(&scene.path("sh"), &text);
    boot(&scene, "first", 50_000);
    scene
}

fn boot(scene: &Scene, id: &str, up: u32) {
    std::fs::write(scene.path("boot_id"), format!("{id}\n")).unwrap();
    std::fs::write(scene.path("uptime"), format!("{up}.25 1.00\n")).unwrap();
}

#[tokio::test]
async fn a_reboot_in_the_middle_is_said_and_nothing_begins_again() {
    for shell in ["dash", "bash", "busybox ash"] {
        let scene = bootable(shell);
        let (ended, lost, unbegun) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        scene.run(&scene.note(ended)).await;
        let done = scene.path("done").display().to_string();
        let pid = scene.path("pid").display().to_string();
        let text = format!(
            "echo {lost} >> {done}; echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000"
        );
        let job = command(lost, &["sh", "-c", &text]);
        assert!(matches!(scene.start(&job).await, JobState::Running { .. }), "{shell}");
        let sleeps =
            wait::until("the job", LIMIT, async || std::fs::read_to_string(&pid).ok()).await;
        let claimed = scene.note(unbegun);
        scene.run(&claimed).await;
        for file in files(&scene.job(unbegun)) {
            if !["do", "what"].contains(&file.file_name().unwrap().to_str().unwrap()) {
                std::fs::remove_file(file).unwrap();
            }
        }
        // The power goes.
        let started = std::fs::read_to_string(scene.job(lost).join("started")).unwrap();
        let watcher = started.split(' ').next().unwrap();
        let killed =
            std::process::Command::new("kill").args(["-9", watcher, sleeps.trim()]).status();
        assert!(killed.unwrap().success());
        boot(&scene, "second", 12);
        let begun = SystemClock.now();
        for (id, job) in [(lost, &job), (unbegun, &claimed)] {
            let seen = seen_anew(&scene, id).await.unwrap();
            let JobState::Lost { since, why: Lost::Rebooted } = seen.state else {
                panic!("{shell}: {seen:?}")
            };
            assert!(since <= begun, "{shell}: {since}");
            assert_eq!(
                scene.jobs.start(&scene.node, job).await.unwrap(),
                Started::Known,
                "{shell}"
            );
        }
        assert!(Lost::Rebooted.describe().contains("rebooted"));
        let seen = seen_anew(&scene, ended).await.unwrap();
        let JobState::Ended(end) = &seen.state else { panic!("{shell}: {seen:?}") };
        // It can't have ended after it was asked about, whatever was reckoned from another boot.
        assert!(end.code == 0 && end.ended <= SystemClock.now(), "{shell}: {end:?}");
        // The node is as good as before.
        scene.run(&scene.note(Uuid::new_v4())).await;
        let expected = [ended, lost, unbegun].map(|id| id.to_string());
        assert_eq!(scene.done()[..3], expected, "{shell}");
        assert_eq!(scene.done().len(), 4, "{shell}");
    }
}

#[tokio::test]
async fn a_login_that_prints_a_banner_is_no_trouble() {
    for shell in ["dash", "bash", "busybox ash"] {
        let login = format!(
            "echo Welcome; printf 'no line break'; echo aside >&2; exec {shell} -c \"$SSH_ORIGINAL_COMMAND\""
        );
        let sshd = Sshd::start(&format!("Banner /etc/os-release\nForceCommand {login}"));
        let scene = over_ssh(sshd.config(sshd.port, "user"), "node");
        let id = Uuid::new_v4();
        assert_eq!(scene.run(&scene.note(id)).await.stdout, format!("{id}\n"), "{shell}");
        let listed = scene.jobs.list(&scene.node).await.unwrap();
        assert_eq!((listed.len(), listed[0].id), (1, id));
        assert!(!scene.jobs.facts(&scene.node, None).await.unwrap().hostname.is_empty());
    }
}

/// A node that `ssh` with this configuration reaches.
fn over_ssh(config: PathBuf, host: &str) -> Scene {
    let place = Place::Ssh { host: host.to_owned(), user: None, port: None };
    let programs = Programs { ssh_config: Some(config), ..Programs::default() };
    Scene::with(tempfile::tempdir().unwrap(), programs, place)
}

#[tokio::test]
async fn a_jump_host_that_drops_is_said_and_nothing_is_done_twice() {
    let sshd = Sshd::start("");
    let at = std::net::IpAddr::from([127, 0, 0, 1]);
    let jump =
        |noise, bytes, cuts: &Cuts| Line::start(at, sshd.port, Noise(noise), bytes, cuts.clone());
    // It drops before anybody has logged in behind it.
    let cuts = Cuts::new(usize::MAX);
    let line = jump(3, 1_000..6_000, &cuts).await;
    let scene = over_ssh(behind(&sshd, &line, "early"), "node");
    let error = refused(&scene, &scene.note(Uuid::new_v4())).await;
    assert!(matches!(error.trouble, Trouble::JumpHost { .. }), "{error}");
    assert!(error.to_string().contains("whether `ssh` to the jump host works"), "{error}");
    assert!(!error.may_have_begun() && cuts.done() == 1 && scene.done().is_empty());
    // It drops in the middle of what goes through it.
    let cuts = Cuts::new(12);
    let line = jump(4, 10_000..60_000, &cuts).await;
    let scene = over_ssh(behind(&sshd, &line, "late"), "node");
    let mut expected = Vec::new();
    while !cuts.are_over() {
        let id = Uuid::new_v4();
        let state = scene.see_through(&scene.note(id)).await;
        assert!(matches!(state, JobState::Ended(_)), "{state:?}");
        expected.push(id.to_string());
    }
    assert_eq!(scene.done(), expected);
}

/// A configuration in which the way to `node` leads through a jump host at the end of this line.
fn behind(sshd: &Sshd, line: &Line, name: &str) -> PathBuf {
    let hosts = [("jump".to_owned(), line.at), ("node".to_owned(), sshd.address())];
    let config = sshd.config_of(name, &hosts);
    let text = std::fs::read_to_string(&config).unwrap();
    // The configuration is also that of the ssh that connects to the jump host.
    let text = text.replace("Host node\n", "Host node\n  ProxyJump jump\n");
    std::fs::write(&config, text).unwrap();
    config
}

#[tokio::test]
async fn a_host_key_that_changes_in_the_middle_is_said_and_what_was_done_is_known() {
    let sshd = Sshd::start("");
    let scene = over_ssh(sshd.config(sshd.port, "user"), "node");
    let id = Uuid::new_v4();
    scene.run(&scene.note(id)).await;
    sshd.trust(sshd.port, "other");
    for connection in sshd.connections() {
        let killed =
            std::process::Command::new("kill").args(["-9", &connection.to_string()]).status();
        assert!(killed.unwrap().success());
    }
    let error = wait::until("the connection to be gone", LIMIT, async || {
        scene.jobs.start(&scene.node, &scene.note(Uuid::new_v4())).await.err()
    });
    let error = error.await;
    let error = if matches!(error.trouble, Trouble::HostKeyChanged { .. }) {
        error
    } else {
        // The connection had just ended.
        refused(&scene, &scene.note(Uuid::new_v4())).await
    };
    assert!(matches!(error.trouble, Trouble::HostKeyChanged { .. }), "{error}");
    assert!(!error.may_have_begun() && error.to_string().contains("ssh-keygen -R"), "{error}");
    sshd.trust(sshd.port, "host");
    assert_eq!(scene.jobs.start(&scene.node, &scene.note(id)).await.unwrap(), Started::Known);
    assert_eq!(scene.done(), [id.to_string()]);
}

#[tokio::test]
async fn a_sudo_that_asks_for_a_password_is_said_before_anything_begins() {
    for shell in SHELLS {
        let scene = Scene::local(shell);
        let bin = scene.path("bin");
        std::fs::create_dir(&bin).unwrap();
        program(&bin.join("sudo"), "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n");
        std::fs::rename(scene.path("sh"), scene.path("inner")).unwrap();
        let text = format!(
            "#!/bin/sh\nPATH={}:$PATH exec {} \"$@\"\n",
            bin.display(),
            scene.path("inner").display()
        );
        program(&scene.path("sh"), &text);
        let job = Job { become_user: Some("deploy".to_owned()), ..scene.note(Uuid::new_v4()) };
        let error = refused(&scene, &job).await;
        assert!(matches!(error.trouble, Trouble::Sudo { .. }), "{shell}: {error}");
        let text = error.to_string();
        assert!(text.contains("become deploy: sudo: a password is required"), "{text}");
        assert!(text.contains("NOPASSWD") && !error.may_have_begun(), "{text}");
        assert_eq!(scene.look(job.id).await, None, "{shell}");
        assert!(scene.done().is_empty());
    }
}
