//! What an action becomes on its node: the commands that the inventory declares, and the three actions that a gateway has
//! by itself where the inventory allows them. What is refused here never reaches the node.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::nodes::Work;
use crate::agent::server::Hidden;
use crate::playbook::inventory::{
    Allowance, InventoryAction, InventoryNode, MAX_COMMAND_BYTES, MAX_COMMAND_WORDS,
};
use crate::run::Millis;

/// The largest script, and the largest content of a file, in bytes. Both are held in memory, and go over one connection.
const MAX_TEXT: usize = 1024 * 1024;

/// The most variables of an environment.
const MAX_VARIABLES: usize = 64;

/// The longest path of a file or folder, as systems take them.
const MAX_PATH: usize = 4_095;

/// How long a command, a script or a file may take unless its arguments say otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The longest time that arguments may give.
const MAX_TIMEOUT: Millis = Millis::from_secs(24 * 3_600);

/// What an action is on its node.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) work: Work,
    pub(super) become_user: Option<String>,
    pub(super) timeout: Duration,
}

/// An action that was sent for a node.
pub(super) struct Order<'a> {
    pub(super) node: &'a InventoryNode,
    pub(super) id: Uuid,
    pub(super) kind: &'a str,
    /// The arguments, in JSON.
    pub(super) args: &'a str,
    /// What in them is secret.
    pub(super) hidden: Option<&'a Hidden>,
}

/// Why an action can't be one, as human-readable text.
type Refused = String;

impl Order<'_> {
    /// What the action is on its node.
    ///
    /// # Errors
    /// The node has no such action, or its arguments can't be used.
    pub(super) fn read(&self) -> Result<Asked, Refused> {
        let own = Allowance::ALL.into_iter().find(|one| one.kind() == self.kind);
        let Some(own) = own else {
            let action = self.node.actions.get(self.kind).ok_or_else(|| self.unknown())?;
            return self.declared(action);
        };
        if !self.node.allow.contains(&own) {
            return Err(format!(
                "{} is not allowed on the node {}: its inventory would have to say `allow: [{}]`",
                self.kind,
                self.node.id,
                own.word()
            ));
        }
        match own {
            Allowance::Command => self.command(),
            Allowance::Script => self.script(),
            Allowance::PutFile => self.put_file(),
        }
    }

    fn unknown(&self) -> Refused {
        let own = self.node.allow.iter().map(|one| one.kind());
        let all: Vec<&str> = self.node.actions.keys().map(String::as_str).chain(own).collect();
        let has = match all.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", all.join(", ")),
        };
        format!("the node {} has no action {:?}: {has}", self.node.id, self.kind)
    }

    fn declared(&self, action: &InventoryAction) -> Result<Asked, Refused> {
        let args: Value = serde_json::from_str(self.args).map_err(|error| wrong(&error))?;
        if args.get("check") == Some(&Value::Bool(true)) && !action.check {
            return Err(self.can_not_check("unless its inventory says `check: true` of the action"));
        }
        let work = Work::Command {
            argv: action.command.clone(),
            stdin: Bytes::copy_from_slice(self.args.as_bytes()),
            env: self.environment(BTreeMap::new()),
            folder: None,
        };
        let become_user = action.become_user.clone().or_else(|| self.node.become_user.clone());
        Ok(Asked { work, become_user, timeout: action.timeout.to_std() })
    }

    fn command(&self) -> Result<Asked, Refused> {
        let args: CommandArgs = serde_json::from_str(self.args).map_err(|error| wrong(&error))?;
        let CommandArgs { argv, common } = args;
        if argv.first().is_none_or(String::is_empty) {
            return Err(
                "args.argv: found no program, expected a program and its arguments".to_owned()
            );
        }
        let bytes: usize = argv.iter().map(String::len).sum();
        if argv.len() > MAX_COMMAND_WORDS || bytes > MAX_COMMAND_BYTES {
            return Err(format!(
                "args.argv: found {} words with {bytes} bytes, expected at most {MAX_COMMAND_WORDS} and \
                 {MAX_COMMAND_BYTES}",
                argv.len()
            ));
        }
        let nul = argv.iter().any(|word| word.contains('\0'));
        no_nul("args.argv", nul)?;
        self.only_secret_in(&["/stdin"], "args.stdin")?;
        self.check(&common)?;
        let timeout = common.timeout()?;
        let (stdin, env, folder) = common.parts()?;
        let work = Work::Command { argv, stdin, env: self.environment(env), folder };
        Ok(Asked { work, become_user: self.node.become_user.clone(), timeout })
    }

    fn script(&self) -> Result<Asked, Refused> {
        let args: ScriptArgs = serde_json::from_str(self.args).map_err(|error| wrong(&error))?;
        let ScriptArgs { text, interpreter, common } = args;
        bounded("args.text", text.len())?;
        no_nul("args.text", text.contains('\0'))?;
        if interpreter.len() > MAX_COMMAND_WORDS
            || interpreter.first().is_some_and(String::is_empty)
        {
            return Err("args.interpreter: expected a program and its arguments".to_owned());
        }
        no_nul("args.interpreter", interpreter.iter().any(|word| word.contains('\0')))?;
        self.only_secret_in(&["/text"], "args.text, where there is no args.stdin")?;
        if self.hidden.is_some() && common.stdin.is_some() {
            return Err("args.stdin: a script with secrets is read from there itself, so it has no other input".to_owned());
        }
        self.check(&common)?;
        let timeout = common.timeout()?;
        let (stdin, env, folder) = common.parts()?;
        let env = self.environment(env);
        let work = Work::Script { interpreter, text, stdin, env, folder };
        Ok(Asked { work, become_user: self.node.become_user.clone(), timeout })
    }

    fn put_file(&self) -> Result<Asked, Refused> {
        let args: FileArgs = serde_json::from_str(self.args).map_err(|error| wrong(&error))?;
        let FileArgs { path, content, content_base64, mode, owner, group, check, timeout } = args;
        absolute("args.path", &path)?;
        if path.ends_with('/') {
            return Err(format!("args.path: found {path:?}, expected a file, not a folder"));
        }
        let content = match (content, content_base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => {
                let read = base64::engine::general_purpose::STANDARD.decode(text);
                Bytes::from(read.map_err(|error| format!("args.content_base64: {error}"))?)
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err("args: expected either content or content_base64".to_owned());
            }
        };
        bounded("args.content", content.len())?;
        let mode = mode.map(|text| read_mode(&text)).transpose()?;
        for (key, name) in [("owner", &owner), ("group", &group)] {
            if let Some(name) = name.as_deref().filter(|name| !is_account(name)) {
                return Err(format!("args.{key}: found {name:?}, expected the name of an account"));
            }
        }
        self.only_secret_in(&["/content"], "args.content")?;
        let timeout = read_timeout(timeout.as_deref())?;
        let work = Work::PutFile { path, content, mode, owner, group, check };
        Ok(Asked { work, become_user: self.node.become_user.clone(), timeout })
    }

    /// What each command finds in its environment, over what the arguments say.
    fn environment(&self, mut env: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let own = [
            ("REPLIBOOK_ACTION_ID", self.id.to_string()),
            ("REPLIBOOK_ACTION_KIND", self.kind.to_owned()),
            ("REPLIBOOK_NODE_ID", self.node.id.clone()),
        ];
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        env
    }

    /// Refuses secrets that everybody on the node could see.
    fn only_secret_in(&self, pointers: &[&str], place: &str) -> Result<(), Refused> {
        match self.hidden.is_none_or(|hidden| hidden.is_within(pointers)) {
            true => Ok(()),
            false => Err(format!(
                "args: found a secret where others on the node would see it; expected secrets in {place} alone"
            )),
        }
    }

    fn check(&self, common: &Common) -> Result<(), Refused> {
        match common.check {
            true => Err(self.can_not_check("by its nature")),
            false => Ok(()),
        }
    }

    fn can_not_check(&self, why: &str) -> Refused {
        format!(
            "args.check: {} can't tell what it would change, {why}; nothing was done",
            self.kind
        )
    }
}

/// The arguments of `replicante.io/command`.
#[derive(Deserialize)]
struct CommandArgs {
    /// An inventory says `command` of the actions that it declares, so that is taken too.
    #[serde(alias = "command")]
    argv: Vec<String>,
    #[serde(flatten)]
    common: Common,
}

/// The arguments of `replicante.io/script`.
#[derive(Deserialize)]
struct ScriptArgs {
    text: String,
    #[serde(default)]
    interpreter: Vec<String>,
    #[serde(flatten)]
    common: Common,
}

/// What commands and scripts have in common.
#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    stdin: Option<Value>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    folder: Option<String>,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    check: bool,
    /// Whatever else there is: nothing may be passed over.
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// The arguments of `replicante.io/put-file`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileArgs {
    path: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    content_base64: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    check: bool,
    #[serde(default)]
    timeout: Option<String>,
}

type Parts = (Bytes, BTreeMap<String, String>, Option<String>);

impl Common {
    fn timeout(&self) -> Result<Duration, Refused> {
        read_timeout(self.timeout.as_deref())
    }

    fn parts(self) -> Result<Parts, Refused> {
        if let Some(key) = self.unknown.keys().next() {
            return Err(format!("args: found the unknown key {key:?}"));
        }
        // A text is read as it is; anything else as JSON.
        let stdin = match self.stdin {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(text)) => Bytes::from(text),
            Some(
                value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)),
            ) => Bytes::from(value.to_string()),
        };
        bounded("args.stdin", stdin.len())?;
        if let Some(folder) = &self.folder {
            absolute("args.folder", folder)?;
        }
        let bytes: usize = self.env.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.env.len() > MAX_VARIABLES || bytes > MAX_COMMAND_BYTES {
            return Err(format!(
                "args.env: found {} variables with {bytes} bytes, expected at most {MAX_VARIABLES} and {MAX_COMMAND_BYTES}",
                self.env.len()
            ));
        }
        for (name, value) in &self.env {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let is_name = name.bytes().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit());
            if !is_name || name.is_empty() {
                return Err(format!("args.env: found {name:?}, expected the name of a variable"));
            }
            no_nul(&format!("args.env.{name}"), value.contains('\0'))?;
        }
        Ok((stdin, self.env, self.folder))
    }
}

fn wrong(error: &serde_json::Error) -> Refused {
    format!("args: {error}")
}

fn bounded(what: &str, bytes: usize) -> Result<(), Refused> {
    match bytes <= MAX_TEXT {
        true => Ok(()),
        false => Err(format!("{what}: found {bytes} bytes, expected at most {MAX_TEXT}")),
    }
}

fn no_nul(what: &str, has_nul: bool) -> Result<(), Refused> {
    match has_nul {
        true => Err(format!("{what}: found the character U+0000, which no command line has")),
        false => Ok(()),
    }
}

fn absolute(what: &str, path: &str) -> Result<(), Refused> {
    let is_good = path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0');
    match is_good {
        true => Ok(()),
        false => {
            let found: String = path.chars().take(100).collect();
            Err(format!(
                "{what}: found {found:?}, expected an absolute path of at most {MAX_PATH} bytes"
            ))
        }
    }
}

fn read_timeout(text: Option<&str>) -> Result<Duration, Refused> {
    let Some(text) = text else { return Ok(DEFAULT_TIMEOUT) };
    let length = text.parse::<Millis>().map_err(|error| format!("args.timeout: {error}"))?;
    match length > Millis(0) && length <= MAX_TIMEOUT {
        true => Ok(length.to_std()),
        false => {
            Err(format!("args.timeout: found {text:?}, expected more than zero and at most 24h"))
        }
    }
}

/// Reads permissions as `chmod` takes them: three or four octal digits.
fn read_mode(text: &str) -> Result<u32, Refused> {
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    mode.ok_or_else(|| {
        format!("args.mode: found {text:?}, expected three or four octal digits in quotes, such as \"0644\"")
    })
}

/// Whether `text` can be the name or number of an account or a group.
fn is_account(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-$".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-')
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod tests;
