//! Parts of data that a person picks: `-o custom-columns=…`, `-o jsonpath=…` and `--sort-by`, as in kubectl.
//!
//! A path is a JSONPath, written as kubectl takes it. Paths are looked up in the JSON that `-o json` writes for an item;
//! a template sees a list as `{"items": […]}`.

mod columns;
mod path;
mod picked;
mod sort;
mod template;

pub(super) use columns::Widths;
pub(super) use picked::Picked;
pub(super) use sort::{SortBy, sorted};
