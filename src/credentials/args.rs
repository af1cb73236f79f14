//! The arguments of servers that have no other credentials: the reference agent and the platform.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::folder::Credentials;
use super::kept::KeptCredentials;
use super::served::ServedTls;
use crate::clock::SystemClock;

/// Arguments about TLS.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TlsArgs {
    /// Serve https with these credentials: a folder under --credentials with cert.pem, key.pem and a for.yaml of
    /// `use: server`. With a ca.pem in it clients have to show a certificate of that authority, with a token they have to
    /// send it. New files count without a restart
    #[arg(long, value_name = "NAME", requires = "credentials")]
    pub tls: Option<String>,

    /// Folder of credentials: one folder each
    #[arg(long, value_name = "DIR", requires = "tls")]
    pub credentials: Option<PathBuf>,
}

impl TlsArgs {
    /// What the server shows and asks for, with the folder that it is from; `None` if it speaks plain HTTP.
    ///
    /// # Errors
    /// The folder, or what is in it, can't be used.
    pub fn served(&self) -> anyhow::Result<Option<(KeptCredentials, ServedTls)>> {
        let (Some(name), Some(folder)) = (&self.tls, &self.credentials) else { return Ok(None) };
        let kept = KeptCredentials::open(Credentials::open(folder)?)?;
        let served = ServedTls::of(&kept, name).context("failed to serve https")?;
        Ok(Some((kept, served)))
    }
}

/// What is missing of what keeps strangers out of such a server where others can reach it.
pub(crate) fn lacking(tls: Option<&ServedTls>) -> &'static [&'static str] {
    match tls {
        None => &["--tls NAME"],
        Some(tls) if tls.asks() => &[],
        Some(_) => &["a ca.pem or a token in the credentials of --tls"],
    }
}

/// Reads the credentials again when they change, until what is returned is dropped.
///
/// # Errors
/// Signals can't be listened for.
pub(crate) fn reread(kept: &KeptCredentials) -> anyhow::Result<AbortOnDropHandle<()>> {
    let following = kept.follow(Arc::new(SystemClock), CancellationToken::new());
    let following = following.context("failed to listen for SIGHUP")?;
    Ok(AbortOnDropHandle::new(tokio::spawn(following)))
}
