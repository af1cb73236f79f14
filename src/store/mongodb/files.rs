//! The bytes of plugins: compressed, in GridFS, which does not take part in transactions.
//!
//! A file is written under a new identifier before the plugin's document names it, and removed after no document
//! names it any more. So a plugin that exists has its bytes, whatever happens in between. A crash can only leave
//! behind a file that no plugin names; it is removed later.

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, TryStreamExt as _};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, doc};
use mongodb::error::{ErrorKind, GridFsErrorKind};
use mongodb::gridfs::GridFsBucket;
use mongodb::options::GridFsBucketOptions;

use super::base::{Base, call, majority};
use super::failure::unavailable;
use super::options::read_concern;
use super::time::ServerTime;
use crate::contract::Result;
use crate::damage::{Damage, PLUGIN_BYTES};
use replibook_core::run::Millis;

/// Name of the bucket: GridFS keeps the files in `plugins.files` and their bytes in `plugins.chunks`.
const BUCKET: &str = "plugins";

/// Level of compression, of 9: most of the gain at a fraction of the time.
const LEVEL: Compression = Compression::new(6);

/// The most bytes of a plugin that are read back: more than may be uploaded, so that a damaged file can't fill the
/// memory.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// How old a file must be to count as left behind: far older than any upload takes.
const LEFT_BEHIND: Millis = Millis::from_secs(24 * 3_600);

fn bucket(base: &Base) -> GridFsBucket {
    let options = GridFsBucketOptions::builder()
        .bucket_name(BUCKET.to_owned())
        .write_concern(majority())
        .read_concern(read_concern())
        .build();
    base.database.gridfs_bucket(options)
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = ZlibEncoder::new(Vec::new(), LEVEL);
    compressed.write_all(bytes)?;
    compressed.finish()
}

fn inflate(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(compressed).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other(format!("found more than {MAX_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

/// Writes a file, and returns its identifier.
pub(super) async fn write(base: &Base, name: &str, bytes: bytes::Bytes) -> Result<ObjectId> {
    let compressed = tokio::task::spawn_blocking(move || compress(&bytes)).await;
    let compressed = compressed.map_err(io::Error::other).flatten();
    let compressed = compressed.map_err(|_| unavailable("failed to compress a plugin"))?;
    let (id, bucket) = (ObjectId::new(), bucket(base));
    call("write the bytes of a plugin", async {
        let mut file = bucket.open_upload_stream(name).id(Bson::ObjectId(id)).await?;
        file.write_all(&compressed).await?;
        file.close().await?;
        Ok(())
    })
    .await?;
    Ok(id)
}

/// Reads a file. None if there is no file with this identifier.
pub(super) async fn read(base: &Base, id: ObjectId) -> Result<Option<bytes::Bytes>> {
    let bucket = bucket(base);
    let compressed = call("read the bytes of a plugin", async {
        let mut compressed = Vec::new();
        let mut file = match bucket.open_download_stream(Bson::ObjectId(id)).await {
            Ok(file) => file,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = file.read_to_end(&mut compressed).await;
        read.map_err(|error| match error.downcast::<mongodb::error::Error>() {
            Ok(error) => error,
            Err(error) => error.into(),
        })?;
        Ok(Some(compressed))
    })
    .await?;
    let Some(compressed) = compressed else { return Ok(None) };
    let bytes = tokio::task::spawn_blocking(move || inflate(&compressed)).await;
    let bytes = bytes.map_err(|_| unavailable("failed to read a plugin"))?;
    let damage = |error| Damage::new(PLUGIN_BYTES, id.to_string(), &error).into();
    bytes.map(|bytes| Some(bytes.into())).map_err(damage)
}

fn is_not_found(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::GridFs(GridFsErrorKind::FileNotFound { .. }))
}

/// Removes a file, if it exists.
pub(super) async fn remove(base: &Base, id: ObjectId) -> Result<()> {
    let bucket = bucket(base);
    call("remove the bytes of a plugin", async {
        match bucket.delete(Bson::ObjectId(id)).await {
            Err(error) if is_not_found(&error) => Ok(()),
            other => other,
        }
    })
    .await
}

/// Files that no plugin names although their upload must be over: a crash left them behind.
pub(super) async fn left_behind(base: &Base, time: &ServerTime) -> Result<Vec<ObjectId>> {
    let before = time.there().as_millis().saturating_sub_unsigned(LEFT_BEHIND.0);
    let bucket = bucket(base);
    call("look for files that no plugin names", async {
        let old = doc! { "uploadDate": { "$lt": DateTime::from_millis(before) } };
        let mut files = bucket.find(old).await?;
        let mut found = Vec::new();
        while let Some(file) = files.try_next().await? {
            let named = base.plugins.find_one(doc! { "file": &file.id }).await?;
            if let (None, Bson::ObjectId(id)) = (named, file.id) {
                found.push(id);
            }
        }
        Ok(found)
    })
    .await
}
