//! The data plane and the daemon.
