//! Any packet at all to the name server: no panic, and an answer only under the packet's own id.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use meridian_steering::{View, fixture};

static VIEW: LazyLock<Arc<View>> = LazyLock::new(|| {
    let system = fixture::system();
    let snapshot = fixture::snapshot(&system, &[]);
    View::new(Arc::new(system), fixture::name(fixture::US), Arc::new(snapshot))
});

fuzz_target!(|packet: &[u8]| {
    if let Some(answer) = meridian_dns::fuzz_respond(&VIEW, packet) {
        assert_eq!(answer.get(..2), packet.get(..2));
        assert!(answer.len() <= 1_232);
    }
});
