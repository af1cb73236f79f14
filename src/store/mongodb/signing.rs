//! Signatures of plugins, which are kept in the plugin's document.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{RawDocumentBuf, doc};

use super::base::Base;
use super::bodies;
use super::codec::from_document;
use super::rows::decode;
use super::transaction::{self, Failure, Transaction};
use crate::contract::Result;
use crate::damage::Damage;
use crate::documents::{Plugin, PluginSignature};
use crate::error::StoreError;
use replibook_core::run::Digest;

const PLUGIN: &str = "a plugin";

struct SignPlugin<'a> {
    digest: &'a Digest,
    signatures: &'a [PluginSignature],
}

pub(super) async fn sign_plugin(
    base: &Base,
    digest: &Digest,
    signatures: &[PluginSignature],
) -> Result<Option<Plugin>> {
    transaction::make(base, &SignPlugin { digest, signatures }).await
}

#[async_trait]
impl Transaction for SignPlugin<'_> {
    type Output = Option<Plugin>;

    const DOING: &'static str = "sign a plugin";

    /// Two that sign one plugin at the same time write to the same document, so one of them starts again, and sees what
    /// the other has written.
    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Option<Plugin>, Failure> {
        let by_digest = doc! { "_id": self.digest.as_str() };
        let plugins = base.plugins.clone_with_type::<RawDocumentBuf>();
        let found = plugins.find_one(by_digest.clone()).session(&mut *session).await?;
        let Some(raw) = found else { return Ok(None) };
        let read = decode(&raw, from_document::<Plugin>);
        let damage =
            |why: String| StoreError::from(Damage::new(PLUGIN, self.digest.to_string(), &why));
        let mut plugin = read.map_err(damage)?;
        if plugin.sign(self.signatures)? {
            let set = bodies::body(PLUGIN, &plugin)?;
            base.plugins.update_one(by_digest, doc! { "$set": set }).session(session).await?;
        }
        Ok(Some(plugin))
    }
}
