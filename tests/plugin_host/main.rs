//! The plugin host with real components: what they may do, and what happens when they do not.

mod activations;
mod examples;
mod fixtures;
mod imports;
mod limits;
#[path = "../support/plugins.rs"]
mod plugins;
mod strategies;
