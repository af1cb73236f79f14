//! Commands that are typed in a folder of the demonstration: programs of others, and our own among them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use super::scene::Scene;
use super::terminal::{exit_code, pass_on, say};

/// The folder in which the commands are typed. Whoever types there makes it first.
pub(super) fn folder(scene: &Scene) -> PathBuf {
    scene.dir().join("work")
}

/// Writes a file in that folder.
pub(super) fn write(scene: &Scene, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder(scene).join(name);
    std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// How a command ended, and what it said.
pub(super) struct Ended {
    line: String,
    pub(super) code: u8,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ended {
    /// Checks that it ended well.
    pub(super) fn done(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.code == 0, "`{}` failed with exit code {}", self.line, self.code);
        Ok(())
    }
}

/// Prints a command as if it were typed, and runs it. `replibook` and `replictl` in it are this program and the one
/// beside it.
pub(super) async fn shell(scene: &mut Scene, line: &str) -> anyhow::Result<Ended> {
    say(&format!("\n$ {line}"));
    let own = scene.replictl_program().parent().map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)));
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(folder(scene));
    command.env("PATH", path.context("failed to make a path of programs")?);
    // What commands keep to save time goes with the scene, too.
    command.env("XDG_CACHE_HOME", scene.dir().join("cache"));
    scene.give_environment(&mut command);
    let output = scene.run(command).await?;
    pass_on(&output.stdout, &output.stderr);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Ok(Ended { line: line.to_owned(), code: exit_code(output.status), out, err })
}
