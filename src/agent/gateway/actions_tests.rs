use serde_json::json;

use super::*;
use crate::playbook::inventory::parse_inventory;
use crate::run::SECRET_PLACES;

const ID: Uuid = Uuid::from_u128(7);

fn node(own: &str) -> InventoryNode {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Inventory\nmetadata: {{ name: web }}\nspec:\n  nodes:\n    - {{ id: web-1, {own} }}\n"
    );
    parse_inventory(text.as_bytes()).unwrap().nodes.remove(0)
}

fn everything() -> InventoryNode {
    node(
        "become: root, allow: [command, script, put-file], actions: { demo/drain: { command: [drain, -w], timeout: 7s }, \
         demo/check: { command: [sh], become: db, check: true } }",
    )
}

fn asked(
    node: &InventoryNode,
    kind: &str,
    args: &Value,
    hidden: Option<&Hidden>,
) -> Result<Asked, Refused> {
    let args = args.to_string();
    Order { node, id: ID, kind, args: &args, hidden }.read()
}

fn refused(kind: &str, args: &Value) -> String {
    asked(&everything(), kind, args, None).unwrap_err()
}

#[test]
fn a_declared_action_gets_its_arguments_as_they_were_sent() {
    let args = json!({"b": 1, "a": "x"});
    let asked = |kind: &str| asked(&everything(), kind, &args, None).unwrap();
    let Asked { work, become_user, timeout } = asked("demo/drain");
    let Work::Command { argv, stdin, env, folder } = work else { panic!("{work:?}") };
    assert_eq!((argv, folder), (vec!["drain".to_owned(), "-w".to_owned()], None));
    assert_eq!(stdin, args.to_string());
    assert_eq!((become_user.as_deref(), timeout), (Some("root"), Duration::from_secs(7)));
    let id = ID.to_string();
    let expected = [
        ("REPLIBOOK_ACTION_ID", id.as_str()),
        ("REPLIBOOK_ACTION_KIND", "demo/drain"),
        ("REPLIBOOK_NODE_ID", "web-1"),
    ];
    assert_eq!(env, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(asked("demo/check").become_user.as_deref(), Some("db"));
}

#[test]
fn what_the_inventory_does_not_say_is_not_there() {
    let bare = node("host: x");
    for kind in ["replicante.io/command", "replicante.io/script", "replicante.io/put-file"] {
        let error = asked(&bare, kind, &json!({}), None).unwrap_err();
        let word = kind.trim_start_matches("replicante.io/");
        assert!(error.contains("not allowed on the node web-1") && error.contains(word), "{error}");
    }
    let error = asked(&bare, "demo/drain", &json!({}), None).unwrap_err();
    assert_eq!(error, "the node web-1 has no action \"demo/drain\": it has none");
    let error = refused("demo/drian", &json!({}));
    assert!(error.contains("it has demo/check, demo/drain, replicante.io/command"), "{error}");
}

#[test]
fn commands_scripts_and_files_are_read() {
    let all = everything();
    let args = json!({"command": ["uptime", "-p"], "stdin": {"a": 1}, "env": {"LANG": "C"}, "folder": "/tmp", "timeout": "90s"});
    let Asked { work, timeout, .. } = asked(&all, "replicante.io/command", &args, None).unwrap();
    let Work::Command { argv, stdin, env, folder } = work else { panic!("{work:?}") };
    assert_eq!((argv.len(), &stdin[..], folder.as_deref()), (2, &b"{\"a\":1}"[..], Some("/tmp")));
    assert_eq!((env["LANG"].as_str(), env.len(), timeout), ("C", 4, Duration::from_secs(90)));

    let args = json!({"argv": ["uptime"], "timeout": "1s"});
    let Asked { work, .. } = asked(&all, "replicante.io/command", &args, None).unwrap();
    assert!(matches!(work, Work::Command { argv, .. } if argv == ["uptime"]));

    let args = json!({"text": "echo hello", "interpreter": ["bash", "-eu"], "stdin": "x"});
    let Asked { work, timeout, .. } = asked(&all, "replicante.io/script", &args, None).unwrap();
    let Work::Script { interpreter, text, stdin, .. } = work else { panic!("{work:?}") };
    assert_eq!((interpreter.len(), text.as_str(), &stdin[..]), (2, "echo hello", &b"x"[..]));
    assert_eq!(timeout, DEFAULT_TIMEOUT);

    let args = json!({"path": "/etc/motd", "content_base64": "aGk=", "mode": "0640", "owner": "root", "group": "adm", "check": true});
    let Asked { work, become_user, .. } =
        asked(&all, "replicante.io/put-file", &args, None).unwrap();
    let Work::PutFile { path, content, mode, owner, group, check } = work else {
        panic!("{work:?}")
    };
    assert_eq!(
        (path.as_str(), &content[..], mode, check),
        ("/etc/motd", &b"hi"[..], Some(0o640), true)
    );
    assert_eq!((owner.as_deref(), group.as_deref()), (Some("root"), Some("adm")));
    assert_eq!(become_user.as_deref(), Some("root"));
}

#[test]
fn arguments_that_can_not_be_used_say_which_they_are() {
    let long = "x".repeat(MAX_TEXT + 1);
    let words: Vec<&str> = vec!["x"; MAX_COMMAND_WORDS + 1];
    let many: BTreeMap<String, &str> = (0..=MAX_VARIABLES).map(|n| (format!("A{n}"), "")).collect();
    let deep = format!("/{}", "x".repeat(MAX_PATH));
    for (kind, args, expected) in [
        ("command", json!(null), "args: invalid type"),
        ("command", json!({}), "args: missing field `argv`"),
        ("command", json!({"argv": []}), "args.argv: found no program"),
        ("command", json!({"argv": [""]}), "args.argv: found no program"),
        ("command", json!({"argv": words}), "args.argv: found 257 words"),
        (
            "command",
            json!({"argv": ["x", "x".repeat(MAX_COMMAND_BYTES)]}),
            "args.argv: found 2 words",
        ),
        ("command", json!({"argv": ["a\u{0}b"]}), "args.argv: found the character U+0000"),
        ("command", json!({"argv": ["x"], "stdim": "y"}), "args: found the unknown key \"stdim\""),
        ("command", json!({"command": ["x"], "env": {"A B": ""}}), "args.env: found \"A B\""),
        ("command", json!({"command": ["x"], "env": {"": ""}}), "args.env: found \"\""),
        (
            "command",
            json!({"command": ["x"], "env": {"A": "\u{0}"}}),
            "args.env.A: found the character",
        ),
        ("command", json!({"command": ["x"], "env": many}), "args.env: found 65 variables"),
        ("command", json!({"command": ["x"], "stdin": long}), "args.stdin: found 1048577 bytes"),
        ("command", json!({"command": ["x"], "folder": "tmp"}), "args.folder: found \"tmp\""),
        ("command", json!({"command": ["x"], "timeout": "25h"}), "args.timeout: found \"25h\""),
        ("command", json!({"command": ["x"], "timeout": "soon"}), "args.timeout: found \"soon\""),
        (
            "command",
            json!({"command": ["x"], "check": true}),
            "args.check: replicante.io/command can't tell",
        ),
        ("script", json!({"text": long}), "args.text: found 1048577 bytes"),
        (
            "script",
            json!({"text": "", "interpreter": [""]}),
            "args.interpreter: expected a program",
        ),
        (
            "script",
            json!({"text": "", "check": true}),
            "args.check: replicante.io/script can't tell",
        ),
        ("put-file", json!({"path": "/x"}), "either content or content_base64"),
        (
            "put-file",
            json!({"path": "/x", "content": "", "content_base64": ""}),
            "either content or",
        ),
        ("put-file", json!({"path": "/x", "content_base64": "?"}), "args.content_base64: "),
        ("put-file", json!({"path": "/x", "content": long}), "args.content: found 1048577 bytes"),
        (
            "put-file",
            json!({"path": "x", "content": ""}),
            "args.path: found \"x\", expected an absolute path",
        ),
        (
            "put-file",
            json!({"path": deep, "content": ""}),
            "expected an absolute path of at most 4095",
        ),
        ("put-file", json!({"path": "/x/", "content": ""}), "expected a file, not a folder"),
        (
            "put-file",
            json!({"path": "/x", "content": "", "mode": "0999"}),
            "args.mode: found \"0999\"",
        ),
        (
            "put-file",
            json!({"path": "/x", "content": "", "mode": "+644"}),
            "args.mode: found \"+644\"",
        ),
        (
            "put-file",
            json!({"path": "/x", "content": "", "owner": "-R"}),
            "args.owner: found \"-R\"",
        ),
        ("put-file", json!({"path": "/x", "content": "", "modes": "1"}), "unknown field `modes`"),
    ] {
        let error = refused(&format!("replicante.io/{kind}"), &args);
        assert!(error.contains(expected), "{kind}: {error}");
    }
}

#[test]
fn what_would_only_be_checked_is_never_done() {
    let args = json!({"check": true});
    let error = refused("demo/drain", &args);
    assert!(
        error.contains("demo/drain can't tell") && error.contains("nothing was done"),
        "{error}"
    );
    assert!(asked(&everything(), "demo/check", &args, None).is_ok());
    assert!(asked(&everything(), "demo/drain", &json!({"check": "true"}), None).is_ok());
}

#[test]
fn secrets_go_only_where_nobody_on_the_node_sees_them() {
    let all = everything();
    for (kind, args, at, is_taken) in [
        ("replicante.io/command", json!({"command": ["x", "s3cret-s3cret"]}), "/command/1", false),
        (
            "replicante.io/command",
            json!({"command": ["x"], "env": {"A": "s3cret-s3cret"}}),
            "/env/A",
            false,
        ),
        (
            "replicante.io/command",
            json!({"command": ["x"], "stdin": "s3cret-s3cret"}),
            "/stdin",
            true,
        ),
        ("replicante.io/script", json!({"text": "s3cret-s3cret"}), "/text", true),
        ("replicante.io/script", json!({"text": "s3cret-s3cret", "stdin": "x"}), "/text", false),
        ("replicante.io/script", json!({"text": "x", "stdin": "s3cret-s3cret"}), "/stdin", false),
        (
            "replicante.io/put-file",
            json!({"path": "/x", "content": "s3cret-s3cret"}),
            "/content",
            true,
        ),
        (
            "replicante.io/put-file",
            json!({"path": "/s3cret-s3cret", "content": ""}),
            "/path",
            false,
        ),
        ("demo/drain", json!({"deep": ["s3cret-s3cret"]}), "/deep/0", true),
    ] {
        let metadata = json!({ SECRET_PLACES: json!([{ "at": at }]).to_string() }).to_string();
        let (_, hidden) = Hidden::of(args.to_string(), metadata);
        let found = asked(&all, kind, &args, hidden.as_ref());
        assert_eq!(found.is_ok(), is_taken, "{kind} {at}: {found:?}");
    }
    // A label that can't be read may stand for anything.
    let (_, hidden) = Hidden::of(
        json!({"command": ["x"]}).to_string(),
        json!({ SECRET_PLACES: "?" }).to_string(),
    );
    assert!(
        asked(&all, "replicante.io/command", &json!({"command": ["x"]}), hidden.as_ref()).is_err()
    );
}
