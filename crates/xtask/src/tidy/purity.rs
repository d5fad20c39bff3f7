//! Minds do not touch the world, and only borders deserialise.

use super::{Tree, without_tests};

const MINDS: [&str; 6] = ["spec", "planner", "health", "failover", "steering", "invariants"];

/// A simulated world must replay exactly, so it touches the real one as little as a mind does.
const REPLAYS: &str = "simulation";
/// But for those who run many of them and say how fast.
const RUNNERS: [&str; 2] = ["crates/simulation/src/main.rs", "crates/simulation/src/campaign.rs"];

/// What would give a mind a clock, chance, a file, a socket, an environment, a thread or async.
const FORBIDDEN: [&str; 16] = [
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "tokio",
    "async fn",
    "async move",
    "HashMap",
    "HashSet",
    "rand::",
];

/// The crates that may turn outside forms into our types.
const BORDERS: [&str; 7] = ["spec", "coordination", "node", "lab", "meridian", "xtask", "actuators"];

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for mind in MINDS.into_iter().chain([REPLAYS]) {
        let folder = format!("crates/{mind}");
        for (path, text) in tree.sources(&folder).filter(|(path, _)| !RUNNERS.contains(path)) {
            let code = code_only(without_tests(text));
            for word in FORBIDDEN.iter().filter(|w| code.contains(**w)) {
                faults.push(format!("{path}: a mind must not use `{word}` (pass facts in, return effects)"));
            }
        }
    }
    for (path, text) in tree.rust().filter(|(p, _)| p.starts_with("crates/") && !super::is_test(p)) {
        let name = path.split('/').nth(1).unwrap_or_default();
        if !BORDERS.contains(&name) && code_only(without_tests(text)).contains("serde_json::from_") {
            faults.push(format!("{path}: only borders deserialise; `{name}` is none"));
        }
    }
    faults
}

fn code_only(text: &str) -> String {
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
