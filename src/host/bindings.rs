//! The bindings of both worlds: the only place that generates code from `wit/`.

// The generated code takes its documentation from the WIT.
#![allow(missing_docs, unreachable_pub, clippy::all)]

pub(super) mod step {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "step",
        imports: { default: trappable },
    });
}

pub(super) mod strategy {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "strategy",
        imports: { default: trappable },
        with: {
            "replicante:playbook/failing": super::step::replicante::playbook::failing,
            "replicante:playbook/logging": super::step::replicante::playbook::logging,
            "replicante:playbook/types": super::step::replicante::playbook::types,
        },
    });
}
