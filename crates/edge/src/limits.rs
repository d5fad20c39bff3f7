//! Every bound of the edge, with its name.

use std::time::Duration;

/// Bounds that hold for each worker (one a core) unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at once; more wait to be accepted. Default 4,096.
    pub connections: usize,
    /// Requests in work at once; more get 503. Default 2,048.
    pub requests: usize,
    /// Requests in work at once on one HTTP/2 connection. Default 128.
    pub streams: u32,
    /// Bytes of a request's head; more get 431. Default 32 KiB, at least 8 KiB.
    pub head_bytes: usize,
    /// Fields of a request's head; more get 431. Default 100.
    pub head_fields: usize,
    /// Request bodies up to so many bytes are kept, so that they can be sent again. Default 64 KiB.
    pub replay_bytes: u64,
    /// Connections to one upstream address, busy and idle. Default 256.
    pub upstream_connections: usize,
    /// Idle ones among them that are kept. Default 64.
    pub upstream_idle: usize,
    /// How long an idle upstream connection is kept. Default 15 s.
    pub upstream_idle_for: Duration,
    /// When an upstream connection must stand. Default 1 s: the farthest regions are 0.4 s apart.
    pub connect: Duration,
    /// How long a client connection may stay without a request in work, and how long a request's head
    /// may take. Default 30 s.
    pub client_idle: Duration,
    /// How long a TLS handshake may take. Default 5 s.
    pub handshake: Duration,
    /// How long a body, either way, may make no progress. Default 30 s.
    pub body_idle: Duration,
    /// How long an attempt that cannot be repeated may take to begin its answer: longer than a
    /// gateway's wait for a writer. Default 35 s.
    pub answer: Duration,
    /// The same for a request whose body is too large to be kept, its upload included. Default 10 min.
    pub upload: Duration,
    /// How long running requests may take to finish when the edge stops. Default 10 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            requests: 2_048,
            streams: 128,
            head_bytes: 32 << 10,
            head_fields: 100,
            replay_bytes: 64 << 10,
            upstream_connections: 256,
            upstream_idle: 64,
            upstream_idle_for: Duration::from_secs(15),
            connect: Duration::from_secs(1),
            client_idle: Duration::from_secs(30),
            handshake: Duration::from_secs(5),
            body_idle: Duration::from_secs(30),
            answer: Duration::from_secs(35),
            upload: Duration::from_secs(600),
            drain: Duration::from_secs(10),
        }
    }
}
