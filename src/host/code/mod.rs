//! From the bytes of a plugin to machine code.
//!
//! What a stranger sends is checked first (`shape`): whatever no ordinary compiler makes is refused before
//! anything is translated. Then it is compiled (`compiler`). A server does that in a separate process (`child`),
//! which the operating system holds to limits on time and memory, because a compiler can't be interrupted from
//! within. The code is written to a file (`draft`), kept on disk (`cache`), verified before each use, and mapped
//! (`map`), which is the only unsafe code of the crate.

mod cache;
mod child;
mod compiler;
mod draft;
mod map;
mod shape;

pub use child::compile_if_asked;
pub use compiler::{Compile, CompileApart, CompileLimits};

pub(crate) use cache::CacheConfig;
pub(crate) use compiler::Compiler;
