//! Maps compiled code into this process. All unsafe code of the crate is here, with the reasons why it is sound.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd as _;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps the compiled code in `file`. It must come from our own compiler, for this engine: the caller either has
/// just made it, or has checked its checksum and that nobody else can write to it.
///
/// The file is opened again through its descriptor and not by its name, so that it is the same file that was
/// checked. If it can't be mapped, for example on a file system that is mounted without execution, its bytes are
/// copied.
///
/// # Errors
/// When the code is for other settings, or does not fit the engine's limits.
#[allow(unsafe_code)]
pub(super) fn map(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file contains what `precompile_component` of an engine with these settings wrote. It is in a
    // directory that only this user can reach, or has no name. We never write to a file once it may
    // be mapped: new code gets its place by renaming.
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
