//! Sockets, which no plugin gets. Runtimes of languages import them beside `wasi:http`, mostly without using them: a step
//! that has such a client may import them, and ends if it calls them.

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};

use super::error::Stop;
use super::guest::Guest;

/// How the names of these interfaces begin.
pub(super) const SOCKETS: &str = "wasi:sockets/";

/// Resources that the interfaces of sockets only use, and that are linked elsewhere.
const OF_OTHERS: [&str; 4] = ["error", "input-stream", "output-stream", "pollable"];

/// The type of all handles of sockets. There is none.
enum Absent {}

/// Links what a component imports of sockets, if it does: functions that end the step.
pub(super) fn link(
    engine: &Engine,
    linker: &Linker<Guest>,
    component: &Component,
) -> wasmtime::Result<Option<Linker<Guest>>> {
    let of_component = component.component_type();
    let of_sockets = |name: &str| name.starts_with(SOCKETS);
    if !of_component.imports(engine).any(|(name, _)| of_sockets(name)) {
        return Ok(None);
    }
    let mut linker = linker.clone();
    for (interface, import) in of_component.imports(engine).filter(|(name, _)| of_sockets(name)) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let mut linked = linker.instance(interface)?;
        for (name, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => {
                    let call = format!("{interface} {name}");
                    linked.func_new(name, move |_, _, _, _| {
                        Err(Stop::NoSockets { call: call.clone() }.into())
                    })?;
                }
                ComponentItem::Resource(_) if !OF_OTHERS.contains(&name) => {
                    linked.resource(name, ResourceType::host::<Absent>(), |_, _| Ok(()))?;
                }
                // Types need no definition, and anything else does not fit the interfaces and is refused then.
                ComponentItem::Resource(_)
                | ComponentItem::Type(_)
                | ComponentItem::ComponentInstance(_)
                | ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_) => {}
            }
        }
    }
    Ok(Some(linker))
}
