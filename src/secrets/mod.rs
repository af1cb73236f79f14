//! The secrets of this engine: files that the operator fills, one for each secret, and which of them may be sent where.
//!
//! [`Secrets`] is what the driver needs: read a secret when it is used, and ask the policy whether it may go there.
//! [`SecretFolder`] has them in a folder, as systemd and Kubernetes mount them. In a run there are only tokens of secrets
//! ([`crate::run::RunSeed`]); what is put in their place is never kept.

mod client;
mod fake;
mod folder;

pub use client::{NoSecrets, Secrets};
pub use fake::FakeSecrets;
pub use folder::{FolderError, SecretFolder, SecretPolicy};
