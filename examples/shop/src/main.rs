//! The example application: users and orders over HTTP, kept in PostgreSQL.
//!
//! It knows nothing of Meridian. It talks ordinary PostgreSQL to two ports of its region's gateway, one
//! that leads to the writer and one that leads to a replica nearby, and does what an application in such a
//! place should do: every request has a deadline, a write that may have happened is never called failed,
//! the client names each order so that it may safely ask again, and reads go on without a writer.

mod fault;
mod orders;
mod pool;
mod routes;
mod server;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use crate::orders::Shop;
use crate::pool::{Pool, Target};

/// A small shop: POST /users, POST /orders, GET /users/{id}, GET /orders, GET /orders/{id}, GET /health.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The region that this instance says it is in.
    #[arg(long)]
    region: String,
    /// The gateway's port that leads to the writer.
    #[arg(long)]
    gateway_write: SocketAddr,
    /// The gateway's port that leads to a replica nearby.
    #[arg(long)]
    gateway_read: SocketAddr,
    /// The file with the password.
    #[arg(long)]
    password_file: PathBuf,
    /// The user in PostgreSQL.
    #[arg(long, default_value = "app")]
    user: String,
    /// The database.
    #[arg(long, default_value = "app")]
    dbname: String,
    /// Connections to each of the two ports.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How long a request waits for a connection, in milliseconds; nothing was written if it gets none.
    #[arg(long, default_value_t = 10_000)]
    connect_ms: u64,
    /// How long a statement may take, in milliseconds; a write without an answer may have happened.
    #[arg(long, default_value_t = 5000)]
    statement_ms: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(io::stderr(), "shop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let named = |what: String| move |e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
    let password = std::fs::read_to_string(&args.password_file)
        .map_err(named(format!("the password file {} cannot be read", args.password_file.display())))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .map_err(named(format!("cannot listen on {}; is another instance running?", args.listen)))?;
        let shop = Arc::new(shop(args, password.trim_end_matches(['\r', '\n'])));
        let tables = tokio::spawn(Arc::clone(&shop).make_tables());
        let watch = tokio::spawn(Arc::clone(&shop).watch_reads());
        let served = server::serve(listener, shop).await;
        tables.abort();
        watch.abort();
        served
    })
}

fn shop(args: &Args, password: &str) -> Shop {
    let pool = |address| {
        Pool::new(Target {
            address,
            user: args.user.clone(),
            password: password.to_owned(),
            dbname: args.dbname.clone(),
            connections: args.connections,
            connect_within: Duration::from_millis(args.connect_ms),
        })
    };
    Shop {
        region: args.region.clone(),
        writes: pool(args.gateway_write),
        reads: pool(args.gateway_read),
        statement_within: Duration::from_millis(args.statement_ms),
    }
}
