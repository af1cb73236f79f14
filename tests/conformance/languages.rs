//! The components of all languages, built by `make example-plugins`.

use replibook_core::playbook::PluginInfo;

use crate::fixtures::host;
use crate::plugins;

/// The languages, and the folders of their components.
pub(crate) const LANGUAGES: [(&str, &str); 4] = [
    ("Rust", "examples/plugins/rust/target/wasm32-wasip2/release"),
    ("C", "examples/plugins/c/target"),
    ("JavaScript", "examples/plugins/javascript/target"),
    ("Python", "examples/plugins/python/target"),
];

/// One plugin in every language, Rust first. It is compiled once for all tests.
pub(crate) async fn all(name: &str) -> Vec<(&'static str, PluginInfo)> {
    let mut all = Vec::new();
    for (language, folder) in LANGUAGES {
        let folder = plugins::root().join(folder);
        let file = folder.join(format!("{}.wasm", name.replace('-', "_")));
        assert!(file.exists(), "found no {}; `make example-plugins` builds it", file.display());
        let info = host().import(plugins::component(&folder, name)).await;
        all.push((language, info.unwrap_or_else(|error| panic!("{name} in {language}: {error}"))));
    }
    all
}

/// Checks that every language describes the plugin with the same text and the same schema of arguments.
pub(crate) fn same_description(all: &[(&'static str, PluginInfo)]) {
    let (_, first) = &all[0];
    for (language, info) in all {
        let described = |info: &PluginInfo| {
            (info.kind, info.name.clone(), info.version.clone(), info.summary.clone())
        };
        assert_eq!(described(info), described(first), "{language}");
        assert_eq!(info.arguments, first.arguments, "{language}");
    }
}
