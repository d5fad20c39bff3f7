//! No text makes the reader of specs panic, and what it accepts it can write and read back equal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_spec::{SourceFile, read, write};

fuzz_target!(|text: &str| {
    let file = |text: &str| SourceFile { name: "spec.yaml".to_owned(), text: text.to_owned() };
    if let Ok(system) = read(&[file(text)]) {
        assert_eq!(read(&[file(&write(&system))]).as_ref(), Ok(&system));
    }
});
