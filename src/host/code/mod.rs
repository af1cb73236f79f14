//! From the bytes of a plugin to machine code.
//!
//! What a stranger sends is looked at first (`shape`): what no ordinary compiler makes is refused
//! before anything is translated. Then it is compiled (`compiler`), for a server in a process of its
//! own (`child`) that the operating system holds to limits on time and memory: a compiler can't be
//! interrupted from within. The code is kept on disk (`cache`), checked again before each use, and
//! mapped (`map`), which is the only unsafe code of the crate.

mod cache;
mod child;
mod compiler;
mod map;
mod shape;

pub use child::compile_if_asked;
pub use compiler::{Compile, CompileApart, CompileLimits};

pub(crate) use compiler::Compiler;
