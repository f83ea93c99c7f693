//! Network namespaces: run a closure in another one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::HostError;

/// A network namespace, kept alive by an open descriptor.
#[derive(Debug)]
pub struct NetNamespace {
    handle: File,
    name: String,
}

impl NetNamespace {
    /// The namespace `name`, as `ip netns` lists it.
    ///
    /// # Errors
    /// [`HostError::Namespace`] if there is none of that name.
    pub fn named(name: &str) -> Result<Self, HostError> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(HostError::Namespace {
                name: name.to_owned(),
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        Self::open(&Path::new("/run/netns").join(name), name)
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`HostError::Namespace`] if `/proc` is not there.
    pub fn current() -> Result<Self, HostError> {
        Self::open(Path::new("/proc/thread-self/ns/net"), "of this thread")
    }

    fn open(path: &Path, name: &str) -> Result<Self, HostError> {
        match File::open(path) {
            Ok(handle) => Ok(Self {
                handle,
                name: name.to_owned(),
            }),
            Err(source) => Err(HostError::Namespace {
                name: name.to_owned(),
                source,
            }),
        }
    }

    /// Runs `work` in this namespace, on a thread of its own, and waits for it: the caller's thread
    /// stays where it is. What `work` creates (sockets, TAPs) stays in the namespace.
    ///
    /// # Errors
    /// [`HostError::Namespace`] if the namespace cannot be entered. A panic of `work` is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, HostError> {
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| setns(&self.handle, CloneFlags::CLONE_NEWNET).map(|()| work()))
                .join()
        });
        match outcome {
            Ok(entered) => entered.map_err(|errno| HostError::Namespace {
                name: self.name.clone(),
                source: errno.into(),
            }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Runs `work` in the network namespace `name`; see [`NetNamespace::run`].
///
/// # Errors
/// [`HostError::Namespace`] if there is no such namespace or it cannot be entered.
pub fn in_namespace<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, HostError> {
    NetNamespace::named(name)?.run(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::{ip, unique_name};
    use std::fs;

    fn identity() -> String {
        let link = fs::read_link("/proc/thread-self/ns/net").unwrap();
        link.display().to_string()
    }

    struct Named(String);

    impl Drop for Named {
        fn drop(&mut self) {
            ip(&format!("netns del {}", self.0));
        }
    }

    #[test]
    fn a_closure_runs_inside_and_the_caller_stays_outside() {
        let name = Named(unique_name("sekisho-ns"));
        ip(&format!("netns add {}", name.0));
        let outside = identity();
        let (inside, interfaces) = in_namespace(&name.0, || {
            let names = nix::net::if_::if_nameindex().unwrap();
            (identity(), names.iter().count())
        })
        .unwrap();
        assert_ne!(inside, outside);
        assert_eq!(identity(), outside);
        assert_eq!(interfaces, 1, "only the loopback interface is there");
    }

    #[test]
    fn a_missing_namespace_and_a_path_are_refused() {
        for name in ["sekisho-no-such-namespace", "../../etc", "", ".."] {
            let error = in_namespace(name, || ()).unwrap_err();
            assert!(error.to_string().contains("ip netns add"), "{error}");
        }
    }

    #[test]
    fn a_panic_inside_reaches_the_caller() {
        let here = NetNamespace::current().unwrap();
        let caught = std::panic::catch_unwind(|| here.run(|| panic!("boom")));
        assert!(caught.is_err());
    }
}
