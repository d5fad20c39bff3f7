//! The actuators against the real PostgreSQL and real processes.

#[cfg(test)]
mod it {
    mod compute;
    mod failover;
    mod fence;
    mod handover;
    mod lease;
    mod life;
    mod refusals;
    mod support;
}
