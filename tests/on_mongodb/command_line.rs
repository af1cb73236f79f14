//! `replibook store` as a program.

use std::process::{Output, Stdio};
use std::time::Duration;

use ::mongodb::Client;
use ::mongodb::bson::{Document, Uuid, doc};

/// No command of these tests takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs a command, and returns its exit code, standard output and standard error.
async fn replibook(store: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(args).env("REPLIBOOK_STORE", store).env_remove("REPLIBOOK_STORE_CREDENTIALS");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("in time");
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

async fn check(store: &str) -> (i32, String) {
    let (code, out, err) = replibook(store, &["store", "check"]).await;
    assert_eq!(err, "", "{out}");
    (code, out)
}

async fn raw(store: &str) -> ::mongodb::Database {
    Client::with_uri_str(store).await.unwrap().default_database().unwrap()
}

#[tokio::test]
async fn a_store_is_checked_set_up_and_mended() {
    let store = crate::on_mongodb::database();
    let (code, out) = check(&store).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("never used; `replibook store migrate` sets it up"), "{out}");
    let names = raw(&store).await.list_collection_names().await.unwrap();
    assert_eq!(names, [""; 0], "a check changes nothing");

    let ready =
        "the store in mongodb is ready for this version, and keeps a run for 30d after it has \
                 finished, and a plugin for 30d once nothing pins it\n"
            .to_owned();
    for _ in 0..2 {
        let migrated = replibook(&store, &["store", "migrate"]).await;
        assert_eq!(migrated, (0, ready.clone(), String::new()));
        let (code, out) = check(&store).await;
        assert_eq!(code, 0, "{out}");
        assert!(out.starts_with("schema version ") && out.contains("all indexes"), "{out}");
    }

    let database = raw(&store).await;
    database.collection::<Document>("events").drop_index("seq").await.unwrap();
    let run = Uuid::from_bytes([7; 16]);
    let line = doc! { "run": run, "event": 1, "agent": "node-1", "line": 0 };
    database.collection::<Document>("logs").insert_one(line).await.unwrap();
    let (code, out) = check(&store).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("the index events.seq is missing"), "{out}");
    let id = uuid::Uuid::from_bytes([7; 16]);
    let orphan = format!("1 documents in logs have no finish_ts, although their run {id} is over");
    assert!(out.contains(&orphan), "{out}");

    assert_eq!(replibook(&store, &["store", "migrate"]).await.0, 0);
    let (code, out) = check(&store).await;
    assert!(code == 1 && !out.contains("events.seq") && out.contains(&orphan), "{out}");
    assert!(out.contains(&format!("logs: run {id}: a log line (1.0.node-1)")), "{out}");
}

#[tokio::test]
async fn a_shorter_retention_needs_a_command_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").to_str().unwrap().to_owned();
    for store in ["sqlite".to_owned(), crate::on_mongodb::database()] {
        let migrate = async |retention: &[&str]| {
            let args = [&["store", "migrate", "--data", &data], retention].concat();
            let (code, out, err) = replibook(&store, &args).await;
            assert_eq!(code, 0, "{err}");
            out
        };
        assert!(migrate(&["--retention", "2d"]).await.contains("keeps a run for 2d after"));
        let args = ["serve", "--listen", "127.0.0.1:0", "--data", &data, "--retention", "1s"];
        let (code, out, err) = replibook(&store, &args).await;
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("found a retention of 1s, expected at least the 2d"), "{err}");
        assert!(err.contains("`replibook store migrate --retention 1s`"), "{err}");
        assert!(migrate(&[]).await.contains("keeps a run for 2d after"));
        assert!(migrate(&["--retention", "1s"]).await.contains("keeps a run for 1s after"));
        assert!(migrate(&[]).await.contains("keeps a run for 1s after"));

        let plugins = |time| ["--plugin-retention", time];
        assert!(migrate(&plugins("60d")).await.contains("and a plugin for 60d once"));
        let args = ["serve", "--listen", "127.0.0.1:0", "--data", &data];
        let (code, _, err) = replibook(&store, &[&args[..], &plugins("1h")].concat()).await;
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("found a plugin retention of 1h, expected at least the 60d"));
        assert!(err.contains("`replibook store migrate --plugin-retention 1h`"), "{err}");
        let (code, _, err) = replibook(&store, &[&args[..], &plugins("29m")].concat()).await;
        assert!(code == 2 && err.contains("expected at least 30m"), "{code}: {err}");
        assert!(migrate(&plugins("1h")).await.contains("and a plugin for 1h once"));
        assert!(migrate(&[]).await.contains("for 1s after it has finished, and a plugin for 1h"));
    }
}

#[tokio::test]
async fn a_newer_store_is_left_alone() {
    let store = crate::on_mongodb::database();
    let meta = raw(&store).await.collection::<Document>("meta");
    meta.insert_one(doc! { "_id": "schema", "version": 99_i64 }).await.unwrap();
    for args in
        [&["store", "check"][..], &["store", "migrate"], &["serve", "--listen", "127.0.0.1:0"]]
    {
        let (code, out, err) = replibook(&store, args).await;
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("the store has schema version 99"), "{err}");
    }
    let names = raw(&store).await.list_collection_names().await.unwrap();
    assert_eq!(names, ["meta"]);
}

#[tokio::test]
async fn what_can_not_be_used_is_said_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = path("wrong.yaml", "ada:s3cret");
    let good = path("good.yaml", "username: ada\npassword: s3cret\n");
    let pem = path("some.pem", "s3cret");
    let gone = directory.path().join("gone").to_str().unwrap().to_owned();
    let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200";
    let both = "mongodb://ada:s3cret@127.0.0.1:1/?serverSelectionTimeoutMS=200";
    let secured = |file: &str| format!("mongodb://127.0.0.1:1/?tls=true&tlsCAFile={file}");
    for (store, credentials, expected) in [
        ("nonsense", None, "expected sqlite, mongodb://HOST:PORT/DATABASE, or mongodb+srv://"),
        (
            "mongodb+srv://ada:s3cret@db.a.example:27017",
            None,
            "failed to read the address of the store",
        ),
        ("mongodb://ada:s3cret@a.example:port", None, "failed to read the address of the store"),
        (nowhere, Some(&gone), "gone"),
        (nowhere, Some(&wrong), "wrong.yaml: found something without keys, expected YAML"),
        (both, Some(&good), "expected them in one place"),
        (nowhere, Some(&good), "failed to reach the server"),
        (both, None, "failed to reach the server"),
        (&secured(&gone), None, "gone"),
        (&secured(&pem), None, "some.pem, expected one or more"),
    ] {
        for command in ["check", "migrate"] {
            let mut args = vec!["store", command];
            if let Some(file) = credentials {
                args.extend(["--store-credentials", file.as_str()]);
            }
            let (code, out, err) = replibook(store, &args).await;
            // clap exits with 2 if an argument can't be read.
            assert!([1, 2].contains(&code) && out.is_empty(), "{store}: {code} {out} {err}");
            assert!(err.contains(expected), "{store}: {err}");
            assert!(!err.contains("s3cret"), "{store}: {err}");
        }
    }
}

#[tokio::test]
async fn sqlite_is_migrated_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").to_str().unwrap().to_owned();
    let migrated = replibook("sqlite", &["store", "migrate", "--data", &data]).await;
    assert_eq!((migrated.0, migrated.1.contains("sqlite is ready")), (0, true), "{migrated:?}");
    // An earlier version made files that only grow.
    let earlier = directory.path().join("earlier");
    std::fs::create_dir(&earlier).unwrap();
    let made = rusqlite::Connection::open(earlier.join("replibook.db")).unwrap();
    made.execute("CREATE TABLE of_others (x)", []).unwrap();
    drop(made);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&earlier, mode).unwrap();
    for rewritten in [true, false] {
        let args = ["store", "migrate", "--data", earlier.to_str().unwrap()];
        let (code, out, err) = replibook("sqlite", &args).await;
        assert_eq!((code, out.contains("the file was rewritten")), (0, rewritten), "{out} {err}");
    }
    let check = async || replibook("sqlite", &["store", "check", "--data", &data]).await;
    let (code, out, err) = check().await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("every document can be read"), "{out}");
    let database = rusqlite::Connection::open(directory.path().join("data/replibook.db")).unwrap();
    let sql = "INSERT INTO clusters (name, body) VALUES ('ill', '{\"text\": 7')";
    database.execute(sql, []).unwrap();
    // A check finds the damage even while somebody uses the database.
    let (code, out, err) = check().await;
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(out.contains("clusters: a cluster (ill) in the store is damaged: "), "{out}");
    assert!(out.contains("1 of them can't be read"), "{out}");
    let nothing = directory.path().join("nothing").to_str().unwrap().to_owned();
    let (code, out, err) = replibook("sqlite", &["store", "check", "--data", &nothing]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("failed to check the store in"), "{err}");
    assert!(!std::path::Path::new(&nothing).exists(), "a check changes nothing");
}
