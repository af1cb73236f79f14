//! What the built-in plugins share.
//!
//! A plugin lives for one activation: some tens of microseconds, a few kilobytes of memory, and then
//! its whole memory is thrown away. So this allocator hands out memory from an arena that is there
//! from the start, and frees little: growing a memory costs more than the whole of such a life.

mod arena;

use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: arena::Arena = arena::Arena::new();

/// Reads the arguments of a plugin, or says what is wrong with them.
pub fn arguments<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("failed to read the arguments: {error}"))
}
