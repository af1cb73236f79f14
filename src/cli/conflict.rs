//! Shows what differs when a version of a playbook already exists with different content: the refusal alone
//! does not say.

use super::client::Client;
use super::diff::diff;
use super::output::Console;
use super::prepare::{PluginFile, Prepared, What};
use crate::api::wire::PlaybookView;
use crate::playbook::{PlaybookDocument, parse_playbook};

/// Shows how playbooks differ from each other, and from those that the server has under the same name and
/// version. What the server does not answer is not shown: the refusal itself follows in any case.
pub(super) async fn show_differences(client: &Client, prepared: &[Prepared], console: &Console) {
    for (at, one) in prepared.iter().enumerate() {
        let What::Playbook { playbook, files, .. } = &one.what else { continue };
        if let Some(other) = prepared.iter().take(at).find(|other| differs(other, playbook)) {
            console.say_prose(&format!(
                "{} is in the request twice with different content; what is in {} (-), and what is in {} (+):",
                named(playbook),
                other.document.file,
                one.document.file
            ));
            show(&other.document.text, &one.document.text, console);
            continue;
        }
        let version = playbook.version().to_string();
        let Ok(known) = client.playbook(playbook.name(), Some(&version)).await else { continue };
        against_known(one, playbook, files, &known, console);
    }
}

fn against_known(
    one: &Prepared,
    playbook: &PlaybookDocument,
    files: &[PluginFile],
    known: &PlaybookView,
    console: &Console,
) {
    let text = known.document.as_deref().unwrap_or_default();
    let content = parse_playbook(text.as_bytes()).ok().map(|known| known.content());
    if known.document.is_some() && content.is_none_or(|content| content != playbook.content()) {
        console.say_prose(&format!(
            "{} already exists with different content; what is there (-), and what is in {} (+):",
            named(playbook),
            one.document.file
        ));
        show(text, &one.document.text, console);
    }
    // The document may be the same while a plugin file that it names differs.
    for file in files {
        let Some(pin) = known.plugins.get(&file.name) else { continue };
        if pin.digest != file.digest {
            console.say_prose(&format!(
                "{} already exists with another plugin {}; the one there (-), and the one beside {} (+):",
                named(playbook),
                file.name,
                one.document.file
            ));
            console.say_lines(&format!("- {}\n+ {}", pin.digest, file.digest));
            say_what_to_do(console);
        }
    }
}

fn show(old: &str, new: &str, console: &Console) {
    console.say_lines(&diff(old, new, console.colour_messages));
    say_what_to_do(console);
}

fn say_what_to_do(console: &Console) {
    console.say_prose("give the changed playbook a new version");
}

fn named(playbook: &PlaybookDocument) -> String {
    format!("playbook {} version {}", playbook.name(), playbook.version())
}

/// Whether `other` has the same name and version, but different content.
fn differs(other: &Prepared, playbook: &PlaybookDocument) -> bool {
    match &other.what {
        What::Playbook { playbook: other, .. } => {
            let is_same = other.name() == playbook.name() && other.version() == playbook.version();
            is_same && other.content() != playbook.content()
        }
        What::Cluster(_) | What::Policy(_) | What::Access(_) | What::Inventory(_) => false,
    }
}
