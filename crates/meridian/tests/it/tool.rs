//! Running the built program, and other people's.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "the helpers of tests stop the test that uses them; the PATH of the test is the programs'"
)]

use std::path::PathBuf;
use std::process::{Command, Output};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// `meridian` with these arguments, run in the root. The example application is found beside it.
pub(crate) fn meridian(arguments: &[&str]) -> Output {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_meridian"));
    let beside = program.parent().unwrap();
    let path = format!("{}:{}", beside.display(), std::env::var("PATH").unwrap());
    Command::new(&program).args(arguments).env("PATH", path).current_dir(root()).output().unwrap()
}

/// What a command printed, which must have ended with this code.
pub(crate) fn printed(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "\n--- stdout\n{out}\n--- stderr\n{err}");
    out.into_owned()
}

/// What another program printed; it must succeed.
pub(crate) fn other(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).envs(environment.iter().copied()).output();
    printed(&output.unwrap_or_else(|e| panic!("{program}: {e}")), 0)
}
