//! `replictl import` as a person types it. What comes of inventories is tested beside the code.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::{NOWHERE, command, read, replictl};

const HOSTS: &str = "[web]\nweb[1:2] zone=a\n[web:vars]\nansible_user=ann\ndb_password=hunter2\n";

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn import(args: &[&str]) -> (i32, String, String) {
    replictl(NOWHERE, &[&["import", "ansible"], args].concat()).await
}

#[tokio::test]
async fn documents_go_to_standard_output_and_notes_beside_it() {
    let mut command = command(NOWHERE, &["import", "ansible", "-", "--name", "shop"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(HOSTS.as_bytes()).await.unwrap();
    drop(stdin);
    let (code, out, err) = read(child.wait_with_output()).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("kind: Inventory") && out.contains("\n---\n"), "{out}");
    assert!(out.contains("kind: Cluster") && out.contains("cluster: shop"), "{out}");
    assert!(err.contains("note: db_password is left out: its name is that of a secret"), "{err}");
    assert!(err.contains("(all hosts)\n2 nodes in 1 group; 1 note above"), "{err}");
    assert!(err.contains("hint: nothing may be done on these nodes yet"), "{err}");
    assert!(!format!("{out}{err}").contains("hunter2"), "{out}{err}");
}

#[tokio::test]
async fn files_are_written_once_and_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = file(folder.path(), "hosts.ini", HOSTS);
    std::fs::create_dir(folder.path().join("group_vars")).unwrap();
    let to = folder.path().join("site");
    let to = to.to_str().unwrap();
    let all = [hosts.as_str(), "--to", to, "--allow", "command,script"];
    let (code, out, err) = import(&all).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("group_vars are left out: only Ansible reads them; add --run"), "{err}");
    let files = ["inventory.yaml", "cluster.yaml"].map(|name| format!("{to}/{name}"));
    let validate = ["validate", "-f", &files[0], "-f", &files[1], "-o", "name"];
    let (code, out, err) = replictl(NOWHERE, &validate).await;
    assert_eq!((code, out.as_str()), (0, "inventory/ansible\ncluster/ansible\n"), "{err}");
    std::fs::write(&files[1], "mine\n").unwrap();
    let (code, _, err) = import(&all).await;
    assert!(
        code == 4 && err.contains("is there already; --overwrite replaces it"),
        "{code}: {err}"
    );
    assert_eq!(std::fs::read_to_string(&files[1]).unwrap(), "mine\n");
    let (code, _, err) = import(&[&all[..], &["--overwrite"]].concat()).await;
    assert_eq!(code, 0, "{err}");
    assert!(std::fs::read_to_string(&files[1]).unwrap().contains("kind: Cluster"));
}

#[tokio::test]
async fn what_only_ansible_can_read_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let script = file(folder.path(), "hosts.py", "#!/usr/bin/python3\n");
    for of in [folder.path().to_str().unwrap(), &script] {
        let (code, _, err) = import(&[of]).await;
        assert!(code == 2 && err.contains("which only Ansible can read: add --run"), "{err}");
    }
    let program = file(
        folder.path(),
        "ansible-inventory",
        "#!/bin/sh\n[ \"$*\" = \"-i eu --list\" ] || { echo no such inventory >&2; exit 4; }\n\
         echo '{\"web\": {\"hosts\": [\"a\", \"b\"]}}'\n",
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let asked = async |of: &str| {
        let mut command = command(NOWHERE, &["import", "ansible", of, "--run", "-o", "name"]);
        read(command.env("PATH", &path).output()).await
    };
    let (code, out, err) = asked("eu").await;
    assert_eq!((code, out.as_str()), (0, "inventory/ansible\ncluster/ansible\n"), "{err}");
    let (code, _, err) = asked("us").await;
    assert!(code == 3 && err.contains("exit status: 4: no such inventory"), "{code}: {err}");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = file(folder.path(), "hosts.ini", "[web]\na b\n[web:vars]\nx\n");
    let (code, _, err) = import(&[&hosts]).await;
    assert!(code == 3 && err.contains("hosts.ini:2:1") && err.contains("hosts.ini:4:1"), "{err}");
    let hosts = file(folder.path(), "good.ini", HOSTS);
    let (code, _, err) = import(&[&hosts, "--name", "No_Name"]).await;
    assert!(code == 3 && err.contains("/metadata/name"), "{err}");
    let (code, _, err) = import(&[&hosts, "--gateway", "gw.example.com"]).await;
    assert!(code == 3 && err.contains("/spec/discovery/url"), "{err}");
    let (code, _, err) = import(&["/no/such/file"]).await;
    assert!(code == 3 && err.contains("failed to read /no/such/file"), "{err}");
}
