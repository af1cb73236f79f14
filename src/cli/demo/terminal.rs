//! What the demonstration types and prints. Everything goes to standard error; standard output is for the data
//! of the commands themselves.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;

use super::scene::Scene;
use crate::run::RunId;
use crate::shown::clean_lines;

/// Clears the line of the cursor, which holds a progress bar that will be redrawn below.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// How long what remains to be shown may take once the run has ended: tables, each of which is a command.
const SHOWN: Duration = Duration::from_secs(30);

/// Prints a `replictl` command as if it were typed, runs it, and returns its exit code.
pub(super) async fn type_in(scene: &mut Scene, arguments: &[OsString]) -> anyhow::Result<u8> {
    let shown: Vec<_> = arguments.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
    say(&format!("\n$ replictl {}", shown.join(" ")));
    Ok(exit_code(scene.replictl(arguments).await?))
}

/// Types the command that watches a run, and tells a story beside it. Returns the exit code of the command, and what came of
/// the story: `None` if the command was over before, because the run did not end well.
pub(super) async fn watch_beside<T>(
    scene: &mut Scene,
    run: RunId,
    story: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(u8, anyhow::Result<Option<T>>)> {
    let mut story = std::pin::pin!(story);
    let watch = ["run", "watch", &run.to_string()].map(OsString::from);
    let mut watched = std::pin::pin!(type_in(scene, &watch));
    let (code, told_before) = tokio::select! {
        biased;
        code = &mut watched => (code?, None),
        told = &mut story => (watched.await?, Some(told)),
    };
    if code != 0 {
        return Ok((code, Ok(None)));
    }
    // If the run has ended well, everything has to be shown.
    let told = match told_before {
        Some(told) => told,
        None => {
            let told = tokio::time::timeout(SHOWN, story).await;
            told.context("failed to show the rest in time").flatten()
        }
    };
    Ok((code, told.map(Some)))
}

/// A word in quotes, if a person would have to quote it.
fn shell_word(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// The exit code as a shell shows it: for a process that was killed, 128 and the number of the signal.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let killed = || status.signal().map(|number| 128_i32.saturating_add(number));
    status.code().or_else(killed).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Prints a text for the person at the terminal.
pub(super) fn say(text: &str) {
    write(std::io::stderr(), "", &format!("{}\n", clean_lines(text)));
}

/// Prints a text while another command may be drawing a progress bar.
pub(super) fn say_beside(text: &str) {
    let stderr = std::io::stderr();
    let clear = if stderr.is_terminal() { CLEAR_LINE } else { "" };
    write(stderr, clear, &format!("{}\n", clean_lines(text)));
}

/// Passes on the output of a command while another one may be drawing a progress bar.
pub(super) fn pass_on(stdout: &[u8], stderr: &[u8]) {
    let bar = if std::io::stderr().is_terminal() { CLEAR_LINE } else { "" };
    let clear = |is_terminal: bool| if is_terminal { bar } else { "" };
    let (data, said) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    write(std::io::stdout(), clear(std::io::stdout().is_terminal()), &data);
    write(std::io::stderr(), bar, &said);
}

/// In one write, so that no other output comes between.
fn write(mut to: impl Write, clear: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    // A closed stream is no reason to stop: the exit code still tells how it went.
    let _ = to.write_all(format!("{clear}{text}").as_bytes()).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn exit_codes_are_those_that_a_shell_shows() {
        assert_eq!(exit_code(ExitStatus::from_raw(9 << 8)), 9);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
