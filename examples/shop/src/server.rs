//! Listening, and ending in good order: on SIGTERM the health page says so, open requests are finished.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::orders::Shop;
use crate::routes;

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) async fn serve(listener: TcpListener, shop: Arc<Shop>) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (drain, draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&shop), draining.clone()))),
                // Out of file descriptors, most likely: the ones in use come back.
                Err(_) => sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    drain.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    let _the_rest_is_cut = timeout(DRAIN_WITHIN, all).await;
    Ok(())
}

async fn connection(stream: TcpStream, shop: Arc<Shop>, mut draining: watch::Receiver<bool>) {
    let _only_slower_without = stream.set_nodelay(true);
    let seen = draining.clone();
    let service = service_fn(move |request| {
        let (shop, draining) = (Arc::clone(&shop), *seen.borrow());
        async move { Ok::<_, Infallible>(routes::answer(shop, request, draining).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = draining.wait_for(|draining| *draining) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _the_client_s_affair = serving.await;
}

const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
const HEADERS_WITHIN: Duration = Duration::from_secs(60);
const DRAIN_WITHIN: Duration = Duration::from_secs(4);
