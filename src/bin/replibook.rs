//! `replibook`

fn main() {}
