//! `replibook`: the server, the reference agent, a gateway, a platform and the demonstration. The commands are in the
//! library; here is only the way from arguments to an exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use replibook::agent::gateway::GatewayArgs;
use replibook::agent::platform::server::PlatformArgs;
use replibook::agent::server::AgentArgs;
use replibook::cli::demo::{DemoArgs, demo};
use replibook::cli::{
    HELP_WIDTH, LogArgs, Odd, ServeArgs, StoreCommand, TokenCommand, look_after, parse, say_failed,
    serve, token,
};

/// Runs playbooks over the agents of a cluster, with WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "replibook", version, propagate_version = true, max_term_width = HELP_WIDTH)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: it keeps playbooks and clusters, and drives runs
    Serve(Box<ServeArgs>),
    /// Run the reference agent: it does actions on one node
    Agent {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        args: AgentArgs,
    },
    /// Run a gateway: an agent for nodes that have none, which it reaches over SSH and in containers
    Gateway {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        args: GatewayArgs,
    },
    /// Serve a file of nodes as a platform, which clusters with `discovery` can follow
    Platform {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        args: PlatformArgs,
    },
    /// Check or migrate the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Make tokens for programs
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show a whole run: start a server and a dozen agents, and restart them zone by zone
    Demo(DemoArgs),
}

/// How long work that nobody waits for any more may go on when a server ends: it only reads and computes.
const LEFT_OVER: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    if let Some(code) = replibook::plugin::compile_if_asked(std::env::args_os()) {
        return code;
    }
    let args: Vec<_> = std::env::args_os().collect();
    let cli: Cli = match parse(&args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let is_server = matches!(cli.command, Command::Serve(_));
        let outcome = runtime.block_on(run(cli.command));
        if is_server {
            runtime.shutdown_timeout(LEFT_OVER);
        }
        outcome
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let error = Odd::of(&args).shown(&format!("{error:#}"));
            say_failed(&format!("replibook: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve(args) => {
            args.log.start()?;
            serve(*args).await.map(|()| 0)
        }
        Command::Agent { log, args } => {
            log.start()?;
            replibook::agent::server::serve(args).await.map(|()| 0)
        }
        Command::Gateway { log, args } => {
            log.start()?;
            replibook::agent::gateway::serve(args).await.map(|()| 0)
        }
        Command::Platform { log, args } => {
            log.start()?;
            replibook::agent::platform::server::serve(args).await.map(|()| 0)
        }
        Command::Store(command) => look_after(command).await,
        Command::Token(command) => token(&command).map(|()| 0),
        Command::Demo(args) => demo(args).await,
    }
}
