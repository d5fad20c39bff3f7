//! The actuators against the real PostgreSQL and real processes.

#[cfg(test)]
mod it {
    mod compute;
    mod enough;
    mod failover;
    mod fence;
    mod handover;
    mod inspect;
    mod lease;
    mod life;
    mod listener;
    mod lost;
    mod outside;
    mod quorum;
    mod refusals;
    mod rehearsal;
    mod support;
}
