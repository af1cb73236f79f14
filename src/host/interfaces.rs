//! What a component imports and exports, read from its bytes: nothing is compiled or run for that.

use wasmparser::{Parser, Payload};

/// The names of a component's interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// What it needs.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// The most names that are read of each: no plugin has more than a few dozen.
const MAX_NAMES: usize = 1_000;

impl Interfaces {
    /// Reads the names of the outermost component, in their order; as many as can be read.
    #[expect(clippy::wildcard_enum_match_arm, reason = "sections of a format that is not ours")]
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let Ok(payload) = payload else { break };
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    let names = section.into_iter().map_while(Result::ok);
                    found.imports.extend(names.map(|import| import.name.name.to_owned()));
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    let names = section.into_iter().map_while(Result::ok);
                    found.exports.extend(names.map(|export| export.name.name.to_owned()));
                }
                _ => {}
            }
        }
        found.imports.truncate(MAX_NAMES);
        found.exports.truncate(MAX_NAMES);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn the_interfaces_of_the_built_in_plugins_are_found() {
        for bytes in builtin::COMPONENTS {
            let Interfaces { imports, exports } = Interfaces::of(bytes);
            let own = |name: &String| name.starts_with("replicante:playbook/");
            assert_eq!(exports.len(), 1, "{exports:?}");
            assert!(exports.iter().chain(&imports).all(own), "{imports:?}");
        }
        assert_eq!(Interfaces::of(b"garbage"), Interfaces::default());
    }
}
