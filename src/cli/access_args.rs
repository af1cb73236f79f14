//! Who may do what on a server, as its command line says, and where that is written down.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::audit::AuditLog;
use crate::access::{AccessFile, CurrentAccess, Keeper};
use crate::clock::Clock;

/// Arguments about who may do what.
#[derive(Clone, Debug, clap::Args)]
pub struct AccessArgs {
    /// File that says who may do what; it is read again when it changes, and on SIGHUP. Without it everybody who reaches the
    /// server may do everything
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,

    /// File to which a line is added for everything that somebody wants to change, allowed or not. Where it can't be
    /// written, nothing is changed, but runs can be paused, cancelled and rejected
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
}

/// The files of these arguments, opened.
#[derive(Debug)]
pub(super) struct OpenedAccess {
    file: Option<AccessFile>,
    current: CurrentAccess,
    audit: Option<AuditLog>,
}

impl AccessArgs {
    /// Opens the files.
    ///
    /// # Errors
    /// A file can't be opened, or does not say who may do what: a server does not start without what was asked for.
    pub(super) fn open(&self) -> anyhow::Result<OpenedAccess> {
        let file = self.access.as_deref().map(AccessFile::open).transpose()?;
        let audit = self.audit.as_deref().map(AuditLog::open).transpose();
        let audit = audit.context("failed to open the audit")?;
        let current = file.as_ref().map(AccessFile::current).unwrap_or_default();
        Ok(OpenedAccess { file, current, audit })
    }
}

impl OpenedAccess {
    /// What counts.
    pub(super) fn current(&self) -> CurrentAccess {
        self.current.clone()
    }

    /// Finds out who sends a request.
    pub(super) fn keeper(&self, clock: Arc<dyn Clock>) -> Keeper {
        Keeper::new(self.current(), clock).with_audit(self.audit.clone())
    }

    /// Follows the file until `stop`; `None` if there is none.
    pub(super) fn follow(
        self,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Option<JoinHandle<()>> {
        self.file.map(|file| tokio::spawn(file.follow(clock, stop)))
    }
}
