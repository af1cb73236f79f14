//! `replictl exec`: a command on agents of a cluster, once, without a playbook.

mod command;

pub(crate) use command::{Exec, exec};
