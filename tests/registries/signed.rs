//! Signatures that go from a file through a registry to a server with a policy.

use super::{Scene, example, playbook, put};
use crate::minisign::Key;
use crate::registry_server::Registry;

fn policy(key: &Key, registry: &Registry) -> String {
    format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: house }}\nspec:\n  keys: {{ ops: '{}' }}\n  \
         plugins: [{{ match: 'oci://{}/ops/*', signed_by: [ops] }}]\n",
        key.public, registry.host
    )
}

#[tokio::test]
async fn a_rule_with_a_signer_lets_in_what_was_signed_in_the_registry() {
    let (key, registry) = (Key::new(), Registry::start());
    let scene = Scene::with_policy(Some(&policy(&key, &registry))).await;
    let bytes = std::fs::read(example("zone_by_zone.wasm")).unwrap();
    let file = scene.path("zones.wasm");
    std::fs::write(&file, &bytes).unwrap();
    let (path, beside) = (file.to_str().unwrap(), scene.path("zones.wasm.minisig"));
    let reference = registry.reference("ops/zones:1");

    // Without a signature the plugin is refused, and with one of the same bytes in the same registry it is not.
    let pushed = scene.json(&["plugin", "push", path, &reference]).await;
    assert_eq!(pushed["signatures"], serde_json::json!([]));
    let document = put(&scene.path("zones.yaml"), &playbook("1.0.0", &reference));
    let (code, _, err) = scene.replictl(&["apply", "-f", &document]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("found no signature of a key that the policy knows"), "{err}");
    let signature = put(&beside, &key.sign(&bytes));
    let signed = scene.json(&["plugin", "push", path, &reference]).await;
    assert_eq!(signed["manifest"], pushed["manifest"], "it is the same artefact");
    assert_eq!(signed["signatures"][0]["trusted_comment"], "made by a test");
    let (code, out, err) = scene.replictl(&["apply", "-f", &document]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("imported"), "{out}");
    let (_, described, _) = scene.replictl(&["describe", "playbook", "zones"]).await;
    assert!(described.contains("Signed:   by ops (key "), "{described}");

    // Whoever looks sees who signed, and whoever pulls gets the signature.
    let key_id = signed["signatures"][0]["key_id"].as_str().unwrap();
    let line = format!("Signed:   by the key {key_id}, not checked: made by a test");
    for plugin in [path, reference.as_str()] {
        let shown = scene.ok(&["plugin", "inspect", plugin]).await;
        assert!(shown.contains(&line), "{shown}");
    }
    let copy = scene.path("copy.wasm");
    let out = scene.ok(&["plugin", "pull", &reference, "-o", copy.to_str().unwrap()]).await;
    assert!(out.contains("KEYS") && out.contains(key_id), "{out}");
    assert_eq!(
        std::fs::read_to_string(scene.path("copy.wasm.minisig")).unwrap(),
        std::fs::read_to_string(signature).unwrap()
    );

    // A plugin without signatures takes the place of one that had some, and they go with it.
    std::fs::remove_file(&beside).unwrap();
    let plain = registry.reference("ops/plain:1");
    scene.ok(&["plugin", "push", path, &plain]).await;
    scene.ok(&["plugin", "pull", &plain, "-o", copy.to_str().unwrap()]).await;
    assert!(!scene.path("copy.wasm.minisig").exists());
}

#[tokio::test]
async fn a_signature_of_other_bytes_is_refused_until_there_is_a_right_one() {
    let (key, registry) = (Key::new(), Registry::start());
    let scene = Scene::with_policy(Some(&policy(&key, &registry))).await;
    let bytes = std::fs::read(example("zone_by_zone.wasm")).unwrap();
    let file = scene.path("zones.wasm");
    std::fs::write(&file, &bytes).unwrap();
    let (path, beside) = (file.to_str().unwrap(), scene.path("zones.wasm.minisig"));
    put(&beside, &key.sign(b"other bytes"));
    let reference = registry.reference("ops/zones:1");
    scene.ok(&["plugin", "push", path, &reference]).await;
    let document = put(&scene.path("zones.yaml"), &playbook("1.0.0", &reference));
    let (code, out, err) = scene.replictl(&["apply", "-f", &document]).await;
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("zones.yaml:9:15") && err.contains("is not over these bytes"), "{err}");
    let listed = scene.json(&["plugin", "list"]).await;
    let kept = listed.as_array().unwrap().iter().any(|one| one["name"] == "zone-by-zone");
    assert!(!kept, "{listed}");

    put(&beside, &key.sign(&bytes));
    let again = registry.reference("ops/zones:2");
    scene.ok(&["plugin", "push", path, &again]).await;
    let document = put(&scene.path("again.yaml"), &playbook("1.0.0", &again));
    let (code, _, err) = scene.replictl(&["apply", "-f", &document]).await;
    assert_eq!(code, 0, "{err}");

    put(&beside, "no signature");
    let (code, _, err) = scene.replictl(&["plugin", "push", path, &again]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("zones.wasm.minisig") && err.contains("four lines"), "{err}");
}
