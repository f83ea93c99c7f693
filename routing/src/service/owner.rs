//! The task that owns the RIB and the speaker.

use tokio::sync::mpsc;

use super::Options;
use super::command::Command;
use crate::fib::FibBatch;

/// Serves `inbox` until it closes or asks to shut down.
pub(super) async fn run(
    _options: Options,
    mut inbox: mpsc::Receiver<Command>,
    _fib: mpsc::Sender<FibBatch>,
) {
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Configure(config, reply) => drop(reply.send(config.check())),
            Command::SetConnected(_, reply)
            | Command::SetLocal(_, reply)
            | Command::SetStatic(_, reply)
            | Command::SetNat(_, reply)
            | Command::SetOriginated(_, reply)
            | Command::InterfaceState(_, _, reply) => drop(reply.send(())),
            Command::FibAcknowledged(_) => {}
            Command::Routes(_, _, reply) => drop(reply.send(Vec::new())),
            Command::BgpSummary(reply) => drop(reply.send(None)),
            Command::BgpNeighbors(_, reply) => drop(reply.send(Vec::new())),
            Command::BgpRoutes(_, reply) => drop(reply.send(Vec::new())),
            Command::ClearBgp(_, reply) => drop(reply.send(false)),
            Command::Shutdown(_, reply) => {
                drop(reply.send(()));
                return;
            }
        }
    }
}
