//! Pages of an SQLite file that are overwritten with noise, as a bad disk leaves them.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The pages of tables and indexes whose names match `like`, of one kind of page or of all, in the order of
/// their keys.
pub(crate) fn pages_of(database: &Path, like: &str, kind: Option<&str>) -> Vec<u32> {
    let database = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT pageno FROM dbstat WHERE name LIKE ?1 AND pagetype = coalesce(?2, pagetype) \
               ORDER BY path";
    let mut statement = database.prepare(sql).unwrap();
    let pages = statement.query_map(rusqlite::params![like, kind], |row| row.get(0)).unwrap();
    pages.collect::<Result<_, _>>().unwrap()
}

/// Overwrites these pages with noise.
pub(crate) fn overwrite(database: &Path, pages: impl IntoIterator<Item = u32>) {
    let mut file = OpenOptions::new().read(true).write(true).open(database).unwrap();
    let mut header = [0; 18];
    file.read_exact(&mut header).unwrap();
    let size = u16::from_be_bytes([header[16], header[17]]);
    let mut noise = 7_u32;
    for page in pages {
        let bytes = (0..size).map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        });
        let bytes: Vec<_> = bytes.collect();
        file.seek(SeekFrom::Start(u64::from(page - 1) * u64::from(size))).unwrap();
        file.write_all(&bytes).unwrap();
    }
}
