//! The API over a real socket: the real router, plugins and documents, on the store in memory.

mod documents;
mod engine;
mod errors;
mod events;
mod plugins;
mod runs;
mod server;
