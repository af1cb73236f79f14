//! Exports as files: written, read back, tampered with, and made to do harm.

use std::path::{Path, PathBuf};

use replibook::replay::{ArchiveLimits, MemberName, Player, Recording, ReplayError, pack, unpack};
use serde_json::json;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use crate::exports::change_lines;
use crate::replay::recorded::Recorded;

struct Packed {
    recorded: Recorded,
    folder: TempDir,
    file: PathBuf,
}

async fn packed() -> Packed {
    let recorded = Recorded::new(6).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.tar.zst");
    pack(recorded.folder.path(), &recorded.manifest, &file).unwrap();
    Packed { recorded, folder, file }
}

fn unpacked(file: &Path) -> Result<(TempDir, Vec<MemberName>), ReplayError> {
    let into = tempfile::tempdir().unwrap();
    let (_, changed) = unpack(file, into.path(), ArchiveLimits::default())?;
    Ok((into, changed))
}

/// Kind, name and bytes of an entry.
type Entry<'a> = (EntryType, &'a str, &'a [u8]);

/// Writes an archive with these entries.
fn archive(folder: &Path, entries: &[Entry<'_>]) -> PathBuf {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, bytes) in entries {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let file = folder.join("made.tar.zst");
    std::fs::write(&file, zstd::encode_all(tar.as_slice(), 0).unwrap()).unwrap();
    file
}

#[tokio::test(start_paused = true)]
async fn a_run_is_the_same_out_of_its_file_and_no_member_was_changed() {
    let Packed { recorded, folder, file } = packed().await;
    let size = std::fs::metadata(&file).unwrap().len();
    let members: u64 = recorded.manifest.members.iter().map(|member| member.bytes).sum();
    assert!(size < members, "{size} of {members}");
    let (into, changed) = unpacked(&file).unwrap();
    assert_eq!(changed, []);
    let recording = Recording::open(into.path()).unwrap();
    let player = Player::new(&recorded.scene.plugins, &recording).await;
    assert!(player.replay().await.unwrap().same);
    drop(folder);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_changed_is_named_and_a_mended_manifest_only_hides_it_from_the_sums() {
    let Packed { recorded, folder, .. } = packed().await;
    change_lines(recorded.folder.path(), &MemberName::Journals, |lines| {
        lines[1]["answers"][0]["answer"] = json!({"run-action": {"Ok": {"ok": 1}}});
    });
    let file = folder.path().join("changed.tar.zst");
    pack(recorded.folder.path(), &recorded.manifest, &file).unwrap();
    let (_, changed) = unpacked(&file).unwrap();
    assert_eq!(changed, [MemberName::Journals]);

    let mut mended = recorded.manifest.clone();
    let journals = std::fs::read(recorded.folder.path().join("journals.ndjson")).unwrap();
    let member = mended.members.iter_mut().find(|it| it.name == MemberName::Journals).unwrap();
    let sum = replibook::run::Digest::of(&journals);
    (member.bytes, member.sha256) = (journals.len() as u64, sum.hex().to_owned());
    let manifest = recorded.folder.path().join("manifest.json");
    std::fs::write(manifest, serde_json::to_vec(&mended).unwrap()).unwrap();
    pack(recorded.folder.path(), &mended, &file).unwrap();
    let (into, changed) = unpacked(&file).unwrap();
    assert_eq!(changed, []);
    let recording = Recording::open(into.path()).unwrap();
    let player = Player::new(&recorded.scene.plugins, &recording).await;
    let report = player.replay().await.unwrap();
    let places: Vec<_> = report.differences.iter().map(|it| it.place.to_string()).collect();
    assert_eq!(places, ["agent node-0, stage first, step restart, attempt 1, call 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_unpacks_to_more_than_a_limit_is_refused() {
    let packed = packed().await;
    let with = |limits| {
        let into = tempfile::tempdir().unwrap();
        unpack(&packed.file, into.path(), limits).unwrap_err().to_string()
    };
    let limits = ArchiveLimits::default();
    let error = with(ArchiveLimits { total_bytes: 100_000, ..limits });
    assert!(error.contains("more than 100000 bytes, expected at most"), "{error}");
    let error = with(ArchiveLimits { members: 3, ..limits });
    assert!(error.ends_with("found more than 3 members, expected at most that many"), "{error}");
    assert!(limits.with_gib(1).total_bytes < limits.total_bytes);
    assert_eq!(limits.with_gib(5).total_bytes, 5 << 30);
}

#[test]
fn a_small_file_that_unpacks_to_a_large_one_is_stopped_early() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec![0; 8 << 20];
    let with = |says: u64| {
        let manifest = json!({
            "format": 1, "run": uuid::Uuid::from_u128(7), "made_at": "2026-11-01T00:00:00Z",
            "made_by": "a test",
            "members": [{ "name": "events.ndjson", "bytes": says, "sha256": "" }],
        });
        let file = archive(
            folder.path(),
            &[
                (EntryType::Regular, "manifest.json", manifest.to_string().as_bytes()),
                (EntryType::Regular, "events.ndjson", &zeros),
            ],
        );
        assert!(std::fs::metadata(&file).unwrap().len() < 100_000);
        let into = tempfile::tempdir().unwrap();
        let limits = ArchiveLimits { total_bytes: 1 << 20, ..ArchiveLimits::default() };
        let error = unpack(&file, into.path(), limits).unwrap_err();
        assert!(matches!(error, ReplayError::TooLarge { .. }), "{error}");
        error.to_string()
    };
    // The manifest names fewer bytes than the entry has, or exactly as many.
    let error = with(100);
    assert!(error.ends_with("events.ndjson has 8388608 bytes, expected at most 65636"), "{error}");
    let error = with(8 << 20);
    assert!(
        error.ends_with("events.ndjson has 8388608 bytes, expected at most 1048576"),
        "{error}"
    );
    let error = unpacked(&archive(folder.path(), &[(EntryType::Regular, "manifest.json", &zeros)]));
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("manifest.json has 8388608 bytes, expected at most 1048576"),
        "{error}"
    );
}

#[test]
fn no_name_leads_out_of_the_folder_and_nothing_but_files_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = (EntryType::Regular, "manifest.json", b"{}".as_slice());
    let cases: [(&[Entry<'_>], &str); 8] = [
        (
            &[manifest, (EntryType::Regular, "../evil", b"x")],
            "found a member \"../evil\", expected",
        ),
        (&[manifest, (EntryType::Regular, "/etc/passwd", b"x")], "found a member"),
        (&[manifest, (EntryType::Regular, "plugins/../../x.wasm", b"x")], "found a member"),
        (&[manifest, (EntryType::Symlink, "run.json", b"")], "which is Symlink, expected files"),
        (&[manifest, (EntryType::Directory, "plugins", b"")], "which is Directory"),
        (&[manifest, (EntryType::GNULongName, "run.json", b"../evil")], "which is GNULongName"),
        (&[manifest, manifest], "found manifest.json twice, expected it once"),
        (&[(EntryType::Regular, "run.json", b"{}")], "found run.json first, expected manifest"),
    ];
    for (entries, says) in cases {
        let error = unpacked(&archive(folder.path(), entries)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_export_of_this_format_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no.tar.zst");
    std::fs::write(&file, "hello").unwrap();
    assert!(matches!(unpacked(&file).unwrap_err(), ReplayError::NotAnExport { .. }));
    let manifest = |text: &'static str| {
        let entries = [(EntryType::Regular, "manifest.json", text.as_bytes())];
        unpacked(&archive(folder.path(), &entries)).unwrap_err().to_string()
    };
    assert!(manifest(r#"{"format": 2, "new": true}"#).ends_with("found format 2, expected 1"));
    assert!(manifest("{").contains("manifest.json: EOF"), "{}", manifest("{"));

    let Packed { recorded, .. } = packed().await;
    let mut less = recorded.manifest.clone();
    less.members.retain(|member| member.name != MemberName::Events);
    pack(recorded.folder.path(), &less, &file).unwrap();
    let error = unpacked(&file).unwrap_err().to_string();
    assert!(error.ends_with("found no events.ndjson, expected one"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_no_document_is_named() {
    let recorded = Recorded::new(6).await;
    let path = recorded.folder.path().join("journals.ndjson");
    let text = std::fs::read_to_string(&path).unwrap();
    let second = text.lines().nth(1).unwrap();
    std::fs::write(&path, text.replace(second, "{\"run\": 1}")).unwrap();
    let recording = recorded.recording();
    let player = Player::new(&recorded.scene.plugins, &recording).await;
    let error = player.replay().await.unwrap_err().to_string();
    assert!(error.starts_with("journals.ndjson line 2: "), "{error}");
}
