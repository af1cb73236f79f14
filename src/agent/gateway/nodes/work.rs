//! What an action becomes: one piece of work for one node.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::run::Timestamp;

/// One piece of work for one node.
#[derive(Clone, Debug)]
pub struct Job {
    /// The identifier of the action. A node does one job of an identifier, once.
    pub id: Uuid,
    /// The kind of the action.
    pub kind: String,
    /// The arguments of the action, without secrets: they are kept on the node.
    pub args: Value,
    /// The metadata of the action, which are kept on the node.
    pub metadata: Map<String, Value>,
    /// When the action was made, as its sender says.
    pub created: Timestamp,
    /// What to do.
    pub work: Work,
    /// Whether `stdin`, the text of a script or the content of a file has secrets. Then none of these is ever in a file
    /// of the gateway on the node, so only the one who has them can begin the work.
    pub secret: bool,
    /// As whom the work is done, by `sudo -n`. By default it is the user of the connection.
    pub become_user: Option<String>,
    /// How long the work may take. It is killed at the first look at it after that.
    pub timeout: Option<Duration>,
}

/// What to do on a node.
#[derive(Clone, Debug)]
pub enum Work {
    /// A program with its arguments.
    Command {
        /// The program, found as a shell finds it, and its arguments. Everybody on the node can see them.
        argv: Vec<String>,
        /// What the program reads. It is never among the arguments of a process, nor in the environment.
        stdin: Bytes,
        /// Variables beside those of a login there. Everybody on the node may see them.
        env: BTreeMap<String, String>,
        /// Where it runs; by default in the home of the user.
        folder: Option<String>,
    },
    /// A program of which the text is sent along.
    Script {
        /// The program that reads the text, and its arguments before the file. Without it the first line of the text
        /// counts (`#!/usr/bin/env python3`), and without that it is `sh`.
        interpreter: Vec<String>,
        /// The text.
        text: String,
        /// What it reads. A script whose job is `secret` comes by standard input itself, so it can't have any.
        stdin: Bytes,
        /// As for a command.
        env: BTreeMap<String, String>,
        /// As for a command.
        folder: Option<String>,
    },
    /// A file with this content, replaced as a whole.
    PutFile {
        /// Where. It has to be an absolute path.
        path: String,
        /// All of it.
        content: Bytes,
        /// Permissions, for example `0o644`; those of the old file by default.
        mode: Option<u32>,
        /// Whose it is; nothing is changed by default.
        owner: Option<String>,
        /// Whose group; nothing is changed by default.
        group: Option<String>,
        /// Only says what would change.
        check: bool,
    },
}
