//! The `chv` program.

fn main() {}
