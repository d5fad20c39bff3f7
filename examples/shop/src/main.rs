//! shop
fn main() {}
