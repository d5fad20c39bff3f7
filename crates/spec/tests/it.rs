//! The spec as its users meet it: frozen diagnostics, round trips, the schema, and hostile input.

mod it {
    pub(crate) mod cases;
    pub(crate) mod examples;
    pub(crate) mod hostile;
    pub(crate) mod roundtrip;
    pub(crate) mod schema;
}
