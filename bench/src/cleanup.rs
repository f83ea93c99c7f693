//! What has to be undone when the run ends without destructors: by a signal or a panic.

use std::panic;
use std::thread;

use anyhow::{Context, Result};
use sekisho_tests::lab;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::borrowed;

/// Sees to it that Ctrl-C, the like, and a panic (which aborts a release build) leave nothing
/// behind.
pub(crate) fn prepare() -> Result<()> {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        clean_up();
    }));
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot listen for signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                eprintln!("interrupted; cleaning up");
                clean_up();
                std::process::exit(128 + signal);
            }
        })
        .context("cannot start the thread that waits for signals")?;
    Ok(())
}

/// Stops what runs in our namespaces, removes them, and gives back what the machine lent.
fn clean_up() {
    lab::remove_own();
    borrowed::give_back();
}
