//! `replictl`

fn main() {}
