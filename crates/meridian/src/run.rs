//! `meridian run`: the node of one region, in the foreground, until SIGTERM or SIGINT.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use meridian_model::RegionName;
use meridian_node::secret::Secret;
use meridian_telemetry::{Format, Metrics, Options};

use crate::runs::RunCommand;

/// Run the node of one region, as in production; or look at the runs of a system (`run list`).
///
/// It binds what the spec gives its own region and reaches the others by the addresses that they have in
/// this same spec. It runs PostgreSQL and the instances of services as its children. SIGTERM drains.
///
/// `meridian run list`, `show`, `watch`, `report`, `lost`, `approve`, `pause`, `resume` and `abort` are about
/// the runs of a system: the recoveries that it has carried out.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    command: Option<RunCommand>,
    #[command(flatten)]
    node: Option<NodeArgs>,
}

#[derive(Args)]
struct NodeArgs {
    /// Whose node this is.
    #[arg(long)]
    region: RegionName,
    /// The files of one spec; folders stand for the .yaml and .yml files in them. `-` is standard input.
    #[arg(required = true)]
    spec: Vec<PathBuf>,
    /// How logs are written to standard error.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// What is logged, such as `info` or `warn,meridian_gateway=debug`.
    #[arg(long, default_value = "info")]
    log: String,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    match (args.command, args.node) {
        (Some(command), _) => crate::runs::run(&command),
        (None, Some(node)) => serve(node),
        (None, None) => bail!("name a region and a spec, or a subcommand: `meridian run --help`"),
    }
}

fn serve(args: NodeArgs) -> anyhow::Result<ExitCode> {
    let system = crate::check::read_or_report(&args.spec)?;
    let Some(system) = system else { return Ok(ExitCode::FAILURE) };
    let region = crate::system::known(&system, &args.region)?;
    if !region.node.placed() {
        bail!(
            "region `{0}` has no `address` in the spec, which is therefore one for `meridian lab up`; \
             give every region an address to run its node: see examples/production.yaml",
            args.region
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let metrics = Metrics::new(Some(&args.region));
    let served = runtime.block_on(async {
        let _telemetry = meridian_telemetry::init(&Options {
            format: match args.log_format {
                LogFormat::Text => Format::Text,
                LogFormat::Json => Format::Json,
            },
            filter: args.log,
            metrics: metrics.clone(),
            otlp_endpoint: system.topology.otlp_endpoint.clone(),
            region: Some(args.region.clone()),
            colour: std::io::IsTerminal::is_terminal(&std::io::stderr()),
        })
        .context("cannot start telemetry")?;
        // Beside the node: reports are made of what it tells everybody, and must never hold it up.
        let secret = Secret::read(&system.topology.coordination.control_secret_file)?;
        tokio::spawn(crate::runs::keep_reports(system.clone(), args.region.clone(), secret));
        meridian_node::run(system, args.region, metrics).await.context("the node cannot run")
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    served.map(|()| ExitCode::SUCCESS)
}
