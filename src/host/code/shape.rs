//! What is checked before a component is compiled: things that are cheap to check and expensive to compile.

use wasmparser::{Parser, Payload};

use crate::error::PluginError;
use crate::limits;

/// Refuses components that no ordinary compiler would build. Those that can't be parsed are left to the compiler,
/// whose message says more.
///
/// # Errors
/// `too-complex`, if the component is nested too deep, has too many functions, or has one that is too large.
#[expect(clippy::wildcard_enum_match_arm, reason = "sections of a format that is not ours")]
pub(super) fn check(bytes: &[u8]) -> Result<(), PluginError> {
    let (mut nesting, mut functions) = (0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(payload) = payload else { return Ok(()) };
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                nesting += 1;
                at_most("components nested so deep", nesting, limits::COMPONENT_NESTING)?;
            }
            // There is one more end than there are sections, because the outermost component has one too.
            Payload::End(_) => nesting = nesting.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions += count as usize;
                at_most("functions", functions, limits::FUNCTIONS)?;
            }
            Payload::CodeSectionEntry(body) => {
                at_most("bytes in one function", body.range().len(), limits::FUNCTION_BYTES)?;
            }
            // All other sections are checked by the compiler.
            _ => {}
        }
    }
    Ok(())
}

fn at_most(what: &str, found: usize, most: usize) -> Result<(), PluginError> {
    if found <= most {
        return Ok(());
    }
    let message = format!("found {what}: {found}, expected at most {most}");
    Err(PluginError::new("too-complex", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn leb(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id], leb(content.len()).as_slice(), content].concat()
    }

    fn component(sections: &[u8]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0", sections].concat()
    }

    /// A component of one module with `count` functions of `bytes` bytes each.
    fn functions(count: usize, bytes: usize) -> Vec<u8> {
        let body = [leb(bytes), vec![0], vec![1; bytes - 2], vec![0x0b]].concat();
        let code = section(10, &[leb(count), body.repeat(count)].concat());
        let types = section(1, &[1, 0x60, 0, 0]);
        let declared = section(3, &[leb(count), vec![0; count]].concat());
        component(&section(1, &[b"\0asm\x01\0\0\0".to_vec(), types, declared, code].concat()))
    }

    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(component(&[]), |inner, _| component(&section(4, &inner)))
    }

    fn code(bytes: &[u8]) -> &'static str {
        check(bytes).map_or_else(|error| error.code, |()| "fine")
    }

    #[test]
    fn functions_have_a_number_and_a_size() {
        assert_eq!(code(&functions(limits::FUNCTIONS, 2)), "fine");
        assert_eq!(code(&functions(limits::FUNCTIONS + 1, 2)), "too-complex");
        assert_eq!(code(&functions(1, limits::FUNCTION_BYTES)), "fine");
        assert_eq!(code(&functions(1, limits::FUNCTION_BYTES + 1)), "too-complex");
    }

    #[test]
    fn components_are_not_nested_deep_but_there_may_be_many() {
        assert_eq!(code(&nested(limits::COMPONENT_NESTING)), "fine");
        assert_eq!(code(&nested(limits::COMPONENT_NESTING + 1)), "too-complex");
        let many = section(4, &component(&[])).repeat(limits::COMPONENT_NESTING * 2);
        assert_eq!(code(&component(&many)), "fine");
    }

    #[test]
    fn ordinary_components_and_garbage_pass() {
        for bytes in builtin::COMPONENTS {
            assert_eq!(code(bytes), "fine");
        }
        assert_eq!(code(b"garbage"), "fine");
    }
}
