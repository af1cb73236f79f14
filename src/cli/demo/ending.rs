//! What follows the run: its approval, its export, and what a person may do next.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::command::DemoArgs;
use super::scene::Scene;
use super::terminal::{say, type_in};
use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;

/// Exit code of `replictl` for a run that is paused.
const PAUSED: u8 = 9;

/// Exit code of `replictl` for a run that waits for approval.
const WAITS_FOR_APPROVAL: u8 = 6;

/// Exit codes of `replictl` that tell how a run went, and do not mean that something is broken: done, done with
/// failures, waiting, cancelled, paused, done without any agent.
pub(super) const TOLD_BY_THE_RUN: [u8; 6] = [0, 5, WAITS_FOR_APPROVAL, 7, PAUSED, 10];

/// The run of the demonstration: the newest one of the server.
pub(super) async fn newest_run(client: &Client) -> anyhow::Result<RunView> {
    let newest: Listing<RunView> = client.runs().read(None, 1).await?;
    newest.items.into_iter().next().context("failed to find the run of the demonstration")
}

/// Approves the run that waits for approval, as another person in another terminal would, and prints both exit
/// codes.
pub(super) async fn approve(scene: &mut Scene, server: &str, code: u8) -> anyhow::Result<u8> {
    say(&format!("\nexit code {code}"));
    if code != WAITS_FOR_APPROVAL {
        return Ok(code);
    }
    let id = newest_run(&Client::new(server)?).await?.id.to_string();
    let arguments = ["run", "approve", &id, "--yes", "--reason", "they look well", "--watch"];
    let code = type_in(scene, &arguments.map(OsString::from)).await?;
    say(&format!("\nexit code {code}"));
    Ok(code)
}

/// Checks that an export can be written to `file`, before minutes are spent on the run.
pub(super) fn check_export(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if file.file_name().is_none() || file.is_dir() {
        anyhow::bail!("found {}, expected the name of a file", file.display());
    }
    if !folder.is_dir() {
        anyhow::bail!("found no directory {} for the export", folder.display());
    }
    Ok(())
}

/// Writes the export of the run that `replictl` left with `code`. A run that has not ended has no export; that
/// is said, and the code stays. `who` are the arguments that say who asks.
pub(super) async fn export(
    scene: &mut Scene,
    client: &Client,
    who: &[&str],
    file: &Path,
    code: u8,
) -> anyhow::Result<u8> {
    let run = newest_run(client).await?;
    if !run.status.is_final() {
        say(&format!(
            "\nno export: the run is {}, and only one that has ended has one",
            run.status
        ));
        return Ok(code);
    }
    // With a slash in it, `replictl` takes it for a file and not for a format.
    let file = if file.components().count() == 1 { Path::new(".").join(file) } else { file.into() };
    let id = run.id.to_string();
    let arguments = who.iter().copied().chain(["run", "export", &id, "-o"]).map(OsString::from);
    let arguments: Vec<OsString> = arguments.chain([file.clone().into()]).collect();
    match type_in(scene, &arguments).await? {
        0 => {
            say("\nplay it again, with no server, with:");
            say(&format!("  replictl run replay {}", file.display()));
            Ok(code)
        }
        failed => Ok(failed),
    }
}

/// Prints what to do next after `replictl` ended with `code`.
pub(super) async fn conclude(
    args: &DemoArgs,
    server: &str,
    nodes: Option<PathBuf>,
    code: u8,
) -> anyhow::Result<u8> {
    if args.keep {
        say("\nthe server and the agents go on until Ctrl-C. replictl is beside replibook; before");
        say("you use it in another terminal, type:");
        say(&format!("  export REPLIBOOK_SERVER={server}"));
        if let Some(nodes) = nodes {
            say("the platform serves this file; the agents in it are the members of the cluster:");
            say(&format!("  {}", nodes.display()));
        }
        std::future::pending::<()>().await;
    }
    if code == PAUSED {
        let (target, name) = (args.scene.target(), args.scene.name());
        say("\nthe run is paused, and waits until a person resumes or cancels it with one of the");
        say("commands above. this is a demonstration: its server and its agents stop now, and the");
        say("run with them. to have them go on, so that you can type the commands:");
        say(&format!(
            "  make {target} FAIL={fail} KEEP=1        (replibook demo --scene {name} --fail {fail} --keep)",
            fail = args.fail
        ));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_that_can_not_be_written_is_known_before_the_run() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_export(&dir.path().join("run.tar.zst")).is_ok());
        assert!(check_export(Path::new("run.tar.zst")).is_ok());
        let error = |path: &Path| check_export(path).unwrap_err().to_string();
        assert!(error(dir.path()).ends_with("expected the name of a file"));
        assert!(error(Path::new("/")).ends_with("expected the name of a file"));
        assert!(error(&dir.path().join("a/run")).starts_with("found no directory "));
    }
}
