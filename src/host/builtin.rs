//! The built-in plugins: components like any other, compiled into the binary. They get no import that others don't
//! have.

/// The bytes of each component, as `build.rs` made them from `plugins/`.
pub(super) const COMPONENTS: [&[u8]; 9] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/action.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/all-at-once.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/canary.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/grouped.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/http.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/metric.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/rolling.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/wait-healthy.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/wait-signal.wasm")),
];
