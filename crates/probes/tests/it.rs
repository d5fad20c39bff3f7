//! The prober against real sockets.

#[cfg(test)]
mod it {
    mod fakes;
    mod rounds;
}
