//! An sshd for the scene with nodes behind SSH: OpenSSH's own, run by this user, with keys of its own. It answers at many
//! addresses of loopback, and each of them is a node.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use super::scene::Scene;
use super::shell::{folder, shell, write};

/// Starts the sshd `$1` with the configuration `$2`. It would go on when its standard input closes, as that of a process that
/// dies does; so what waits for that is beside it, and ends it.
const SSHD: &str = r#"exec 3<&0
(trap '' INT TERM HUP; exec <&3 3<&-; cat; kill -9 $$) >/dev/null 2>&1 &
exec "$1" -D -e -f "$2" </dev/null 2>&1 3<&-"#;

/// Stands for the service of a node. All nodes are one machine, so the address at which it is asked tells which one it is. A
/// service that was started is well after two seconds.
const SERVICE: &str = r#"#!/bin/sh
set -- "$1" $SSH_CONNECTION
state=$HOME/service-of-$4
case $1 in
  stop) echo 9999999999 > "$state" ;;
  start) echo $(($(date +%s) + 2)) > "$state" ;;
  status)
    read -r well 2> /dev/null < "$state" || well=0
    [ "$(date +%s)" -ge "$well" ] && echo HEALTHY || echo UNAVAILABLE ;;
esac
"#;

/// How many ports are tried.
const TRIES: u32 = 5;

/// The address of a node.
pub(super) fn address(index: u16) -> String {
    format!("127.1.1.{}", index + 1)
}

/// A port that is free at the moment.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to find a free port")?;
    Ok(listener.local_addr().context("failed to find a free port")?.port())
}

/// Starts the sshd, and returns its port. Beside what is typed there is then an `ssh_config` with which the nodes are reached.
pub(super) async fn start_sshd(scene: &mut Scene) -> anyhow::Result<u16> {
    let own = folder(scene);
    let home = own.join("home");
    let keys = own.join("keys");
    for folder in [&home, &keys] {
        std::fs::create_dir(folder).context("failed to make a folder")?;
    }
    let service = home.join("service");
    std::fs::write(&service, SERVICE).context("failed to write a program")?;
    std::fs::set_permissions(&service, std::fs::Permissions::from_mode(0o755))
        .context("failed to write a program")?;
    for name in ["host", "user"] {
        let make = format!("ssh-keygen -q -t ed25519 -N '' -C demo -f keys/{name}");
        shell(scene, &make).await?.done().context("this needs the client of OpenSSH")?;
    }
    if rustix::process::geteuid().is_root() {
        // Scripts that start the system's sshd make it; root's own needs it.
        std::fs::create_dir_all("/run/sshd").context("failed to make /run/sshd")?;
    }
    let known = std::fs::read_to_string(keys.join("host.pub")).context("failed to read a key")?;
    let mut tries = 0;
    loop {
        let port = free_port()?;
        write(scene, "known_hosts", &format!("[127.*]:{port} {known}"))?;
        write(scene, "ssh_config", &client_config(&own, port))?;
        write(scene, "sshd_config", &server_config(&own, port))?;
        let mut command = Command::new("sh");
        command.args(["-c", SSHD, "sshd"]).arg(program()?).arg(own.join("sshd_config"));
        tries += 1;
        match scene.start_sshd(command).await {
            Ok(()) => return Ok(port),
            // Another program may have taken the port that was free a moment ago.
            Err(error) if tries < TRIES && format!("{error:#}").contains("in use") => {}
            Err(error) => return Err(error.context("failed to start sshd")),
        }
    }
}

/// The path of the program, which starts itself again and so wants a whole one.
fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join("sshd")).find(|path| path.is_file());
    found.context("found no sshd, which `make test-nodes` installs")
}

fn client_config(own: &Path, port: u16) -> String {
    let own = own.display();
    format!(
        "Host *\n  Port {port}\n  IdentityFile {own}/keys/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {own}/known_hosts\n  \
         GlobalKnownHostsFile /dev/null\n  BatchMode yes\n"
    )
}

/// Nobody reaches it but from loopback, with the one key.
fn server_config(own: &Path, port: u16) -> String {
    let own = own.display();
    format!(
        "Port {port}\nListenAddress 0.0.0.0\nHostKey {own}/keys/host\nPidFile none\nAuthorizedKeysFile {own}/keys/user.pub\n\
         AllowUsers *@127.0.0.0/8\nAuthenticationMethods publickey\nPermitRootLogin prohibit-password\nStrictModes no\n\
         UsePAM no\nUseDNS no\nPrintMotd no\nPrintLastLog no\nMaxStartups 200\nSetEnv HOME={own}/home\nLogLevel INFO\n"
    )
}
