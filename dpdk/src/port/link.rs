//! Looking at a port's link from outside.

use std::sync::{Arc, Weak};

use super::handle::Attached;

/// A port's link. It does not keep the port attached.
#[derive(Clone, Debug)]
pub struct PortLink(Weak<Attached>);

impl PortLink {
    pub(super) fn new(attached: &Arc<Attached>) -> Self {
        Self(Arc::downgrade(attached))
    }

    /// Whether frames can pass; `None` when the port is gone.
    pub fn is_up(&self) -> Option<bool> {
        self.0.upgrade().map(|attached| attached.link_up())
    }
}
