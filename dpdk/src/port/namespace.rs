//! Doing things in another network namespace.

use std::fs::File;
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::error::PortError;

/// A network namespace made by `ip netns`, held open.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    pub(super) fn open(name: &str) -> Result<Self, PortError> {
        let refuse = |reason: String| PortError::Namespace {
            namespace: name.to_owned(),
            reason,
        };
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(refuse("that is no name".into()));
        }
        let file = File::open(format!("/run/netns/{name}")).map_err(|e| refuse(e.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    fn enter(&self) -> Result<(), PortError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|e| PortError::Namespace {
            namespace: self.name.clone(),
            reason: e.to_string(),
        })
    }
}

/// Runs `action` in `namespace`, on a thread of its own so that the caller stays where it is.
/// Sockets made there belong to the namespace for ever.
pub(super) fn within<T: Send>(
    namespace: Option<&Namespace>,
    action: impl FnOnce() -> Result<T, PortError> + Send,
) -> Result<T, PortError> {
    let Some(namespace) = namespace else {
        return action();
    };
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            namespace.enter()?;
            action()
        });
        inside.join().unwrap_or_else(|_| {
            Err(PortError::Namespace {
                namespace: namespace.name.clone(),
                reason: "the thread in it panicked".into(),
            })
        })
    })
}
