//! The spec as its users meet it: frozen diagnostics, round trips, the schema, and hostile input.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod it {
    pub(crate) mod cases;
    pub(crate) mod examples;
    pub(crate) mod hostile;
    pub(crate) mod plans;
    pub(crate) mod roundtrip;
    pub(crate) mod schema;
}
