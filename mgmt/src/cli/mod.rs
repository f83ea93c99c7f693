//! The command line `sekisho`: words as on a router, text for people, `--json` for programs.
//!
//! Commands may be shortened as long as they stay unambiguous (`sekisho sh ip ro`). With `--json`
//! an error, too, is one JSON document on standard output: `{"error": {"code": ..., "message": ...,
//! "problems": [...]}}`. The exit code is 0 for success, 1 for an error and 2 for wrong usage.

mod apply;
mod bgp;
mod client;
mod error;
mod interface;
mod nat;
mod nat_log;
mod neighbor;
mod route;
mod system;
mod table;
mod tunnel;
mod words;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::CliError;

use client::Client;

/// Edge gateway control: show what is, apply what should be.
#[derive(Debug, Parser)]
#[command(
    name = "sekisho",
    version,
    infer_subcommands = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// The daemon's socket.
    #[arg(
        long,
        global = true,
        env = "SEKISHO_SOCKET",
        default_value = crate::DEFAULT_SOCKET,
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// Print JSON, errors included.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a file (and what it includes) the running and the startup configuration.
    Apply(apply::Apply),
    /// Show what is.
    #[command(subcommand)]
    Show(Show),
    /// Remove state.
    #[command(subcommand)]
    Clear(Clear),
}

#[derive(Debug, Subcommand)]
enum Show {
    /// IPv4: routes and neighbors.
    #[command(subcommand)]
    Ip(Ip),
    /// IPv6: routes and neighbors.
    #[command(subcommand)]
    Ipv6(Ip),
    /// BGP.
    #[command(subcommand)]
    Bgp(bgp::Bgp),
    /// Uplinks with their ports and counters.
    Interfaces,
    /// Tunnels, one for each segment.
    Tunnels,
    /// Tenant addresses and where they live: [vrf NAME].
    Endpoints {
        /// [vrf NAME]
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
    },
    /// Address translation.
    #[command(subcommand)]
    Nat(nat::Nat),
    /// What the workers do with packets.
    #[command(subcommand)]
    Dataplane(nat::flows::Dataplane),
    /// Forwarding workers.
    Workers,
    /// Dropped packets by reason.
    Drops {
        /// Also reasons that never happened.
        #[arg(long)]
        all: bool,
    },
    /// The running configuration.
    Config,
    /// How the gateway is.
    Status,
    /// What runs.
    Version,
}

#[derive(Debug, Subcommand)]
enum Ip {
    /// Routes: [vrf NAME] [PREFIX | ADDRESS].
    Route {
        /// [vrf NAME] [PREFIX | ADDRESS]
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
    },
    /// Who is on uplinks and segments: [vrf NAME].
    Neighbors {
        /// [vrf NAME]
        #[arg(value_name = "WORDS")]
        words: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Clear {
    /// Address translation.
    #[command(subcommand)]
    Nat(nat::ClearNat),
}

/// Runs the command of the process' arguments.
pub fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|word| word == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if wants_json && error.use_stderr() => {
            let text = error.render().to_string();
            let usage = CliError::Usage(text.trim_start_matches("error: ").to_owned());
            return finish(Err(usage), true);
        }
        Err(error) => {
            // Nothing can be done if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let json = cli.json;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli, &mut io::stdout(), &mut io::stderr())),
        Err(error) => Err(CliError::Output(error)),
    };
    finish(result, json)
}

fn finish(result: Result<(), CliError>, json: bool) -> ExitCode {
    let error = match result {
        Ok(()) => return ExitCode::SUCCESS,
        // The reader of a pipe has seen enough.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(error) => error,
    };
    // Nothing can be done if the terminal is gone.
    let _ = if json {
        writeln!(io::stdout(), "{}", error.json())
    } else {
        write!(io::stderr(), "{}", error.text())
    };
    ExitCode::from(error.exit_code())
}

/// Runs one command; text goes to `out`, warnings to `err`.
///
/// # Errors
///
/// If the daemon does not answer, or answers with an error, or words were not understood.
pub async fn run(
    cli: Cli,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let mut client = Client::new(cli.socket, cli.json);
    let text = match cli.command {
        Command::Apply(apply) => apply::run(&apply, &mut client, err).await?,
        Command::Show(show) => self::show(show, &mut client).await?,
        Command::Clear(Clear::Nat(clear)) => nat::clear(&clear, &mut client).await?,
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

async fn show(show: Show, client: &mut Client) -> Result<String, CliError> {
    match show {
        Show::Ip(ip) => show_ip(Family::Ipv4, ip, client).await,
        Show::Ipv6(ip) => show_ip(Family::Ipv6, ip, client).await,
        Show::Bgp(bgp) => bgp::show(bgp, client).await,
        Show::Interfaces => interface::show(client).await,
        Show::Tunnels => tunnel::show_tunnels(client).await,
        Show::Endpoints { words } => tunnel::show_endpoints(&words, client).await,
        Show::Nat(nat) => nat::show(nat, client).await,
        Show::Dataplane(dataplane) => nat::flows::show(&dataplane, client).await,
        Show::Workers => system::show_workers(client).await,
        Show::Drops { all } => system::show_drops(all, client).await,
        Show::Config => apply::show_running(client).await,
        Show::Status => system::show_status(client).await,
        Show::Version => system::show_version(client).await,
    }
}

async fn show_ip(family: Family, ip: Ip, client: &mut Client) -> Result<String, CliError> {
    match ip {
        Ip::Route { words } => route::show(family, &words, client).await,
        Ip::Neighbors { words } => neighbor::show(family, &words, client).await,
    }
}

/// The family a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// The word of the command.
    const fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ipv6",
        }
    }

    /// The word of the API.
    const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}
