//! Compiled code becomes part of this process.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd as _;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps the compiled code in `file`, which must come from our own compiler, for this engine: the
/// caller has made it just now, or has checked its sum and that nobody else can write to it.
///
/// The file is opened again by its descriptor, not by its name, so that it is the file that was
/// checked. Where it can't be mapped, as on a file system that is mounted without execution, its
/// bytes are copied.
///
/// # Errors
/// When the code is for other settings, or does not fit the engine's limits.
#[allow(unsafe_code)]
pub(super) fn map(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file has what `precompile_component` of an engine with these settings wrote, in
    // a directory (or under a name that is gone) which only this user can reach, and we never write
    // to a file again once it is mapped: a new one gets its place by renaming.
    if let Ok(component) = unsafe { Component::deserialize_file(engine, path) } {
        return Ok(component);
    }
    let mut bytes = Vec::new();
    let mut file = file;
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    // SAFETY: as above; these are the same bytes.
    unsafe { Component::deserialize(engine, bytes) }
}
