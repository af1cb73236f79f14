//! Tells a person what to type next, when a watch ends or a run waits for somebody.

use super::why::{explain, paragraph};
use crate::api::wire::RunView;
use crate::cli::client::{Client, DEFAULT_SERVER};
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::cli::root::SERVER_VARIABLE;
use crate::cli::rows::size_of;
use crate::cli::text::{Paint, clean};

/// Says how a run is that a person stopped watching, and what may be done with it.
pub(super) fn say_interrupted(client: &Client, run: &RunView, console: &Console) {
    let (how, commands): (_, &[(&str, &str)]) = match Exit::of_run(run) {
        Some(Exit::Paused) => ("is paused", &[("go on:", "resume"), ("cancel it:", "cancel")]),
        Some(Exit::WaitingForApproval) => {
            ("waits for approval", &[("let it go:", "approve"), ("refuse it:", "reject")])
        }
        None | Some(Exit::Interrupted | Exit::Usage | Exit::Invalid) => {
            ("goes on", &[("pause it:", "pause"), ("cancel it:", "cancel")])
        }
        Some(
            Exit::Ok
            | Exit::RunFailed
            | Exit::NotFound
            | Exit::SomeFailed
            | Exit::Cancelled
            | Exit::Unreachable
            | Exit::NotAllowed
            | Exit::Output
            | Exit::NotApplied
            | Exit::Damaged
            | Exit::TimedOut
            | Exit::Nobody,
        ) => ("has ended", &[]),
    };
    console.say_lines(&format!("\nstopped watching; the run {how}"));
    for (label, words) in [("watch it again:", "watch")].iter().chain(commands) {
        let command = again(client, &format!("run {words} {}", run.id));
        console.say_command(&format!("  {label:<16}"), &command);
    }
}

/// Says what a run waits for, or why it ended, and what would make it go on; nothing if it simply went well.
/// Returns whether the server could tell.
pub(super) async fn say_why(client: &Client, run: &RunView, exit: Exit, console: &Console) -> bool {
    match exit {
        Exit::Paused | Exit::WaitingForApproval | Exit::RunFailed | Exit::SomeFailed => {}
        Exit::Nobody => {}
        Exit::Cancelled
        | Exit::Ok
        | Exit::Usage
        | Exit::Invalid
        | Exit::NotFound
        | Exit::Unreachable
        | Exit::NotAllowed
        | Exit::Output
        | Exit::NotApplied
        | Exit::Damaged
        | Exit::TimedOut
        | Exit::Interrupted => return false,
    }
    // If the server can't tell, the caller says what is known without it.
    let Ok(Some(why)) = explain(client, run.id).await else { return false };
    console.say_lines(paragraph(client, &why, console.message_room()).trim_end());
    true
}

/// Says why a run that did not simply go well is as it is, and what to type next.
pub(super) fn say_how_it_is(client: &Client, run: &RunView, exit: Exit, console: &Console) {
    let why = run.reason.as_ref().map(|reason| format!(": {}", clean(&reason.message)));
    let why = why.unwrap_or_default();
    let head = |words: &str| Paint::Bold.on(words, console.colour_messages);
    let type_next = |label: &str, words: &str| {
        let command = again(client, &format!("run {words} {}", run.id));
        console.say_command(&format!("  {:<11}", format!("{label}:")), &command);
    };
    match exit {
        Exit::Paused if run.set_aside().is_some() => {
            let words = format!("run {} can't go on and is set aside", run.id);
            console.say(&head(&words));
            let command = again(client, &format!("run abandon {} --reason …", run.id));
            console.say_command("  give it up:", &command);
        }
        Exit::Paused => {
            console.say(&format!("{}{why}", head(&format!("run {} is paused", run.id))));
            type_next("go on", "resume");
            type_next("give up", "cancel");
        }
        Exit::WaitingForApproval => {
            console.say(&format!("{}{why}", head(&format!("run {} waits for approval", run.id))));
            type_next("let it go", "approve");
            type_next("refuse it", "reject");
        }
        Exit::RunFailed => console.say(&format!("{}{why}", head("the run failed"))),
        Exit::Cancelled => console.say(&format!("{}{why}", head("the run was cancelled"))),
        Exit::SomeFailed => {
            let words = format!("the run over {} is done, but some failed", size_of(run));
            console.say(&head(&words));
        }
        Exit::Nobody => {
            console.say(&format!("{}{why}", head("the run is done, but no agent was selected")))
        }
        Exit::Ok
        | Exit::Usage
        | Exit::Invalid
        | Exit::NotFound
        | Exit::Unreachable
        | Exit::NotAllowed
        | Exit::Output
        | Exit::NotApplied
        | Exit::Damaged
        | Exit::TimedOut
        | Exit::Interrupted => {}
    }
}

/// The command line that a person types next; it names the server if that is not the usual one.
pub(crate) fn again(client: &Client, words: &str) -> String {
    let server = client.server();
    let of_environment = std::env::var(SERVER_VARIABLE).ok();
    let usual = of_environment.as_deref().unwrap_or(DEFAULT_SERVER).trim_end_matches('/');
    if server == usual {
        format!("replictl {words}")
    } else {
        format!("replictl --server {server} {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_names_a_server_that_is_elsewhere() {
        let client = Client::new("http://10.1.2.3:1/").unwrap();
        assert_eq!(again(&client, "run list"), "replictl --server http://10.1.2.3:1 run list");
    }
}
