//! Small identifiers handed out by the gateway itself.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Wraps a number the gateway handed out.
            pub const fn new(number: $int) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn value(self) -> $int {
                self.0
            }

            /// The number as an index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A routing table: 0 is the provider's, every tenant has its own.
    VrfId(u16)
}
id! {
    /// A worker, counted from 0.
    WorkerId(u8)
}
id! {
    /// An uplink (an L3 interface in the provider VRF).
    InterfaceId(u16)
}
id! {
    /// A segment (an overlay L2 network of a tenant).
    SegmentId(u16)
}

impl VrfId {
    /// The provider's routing table, where uplinks and tunnels' outer addresses live.
    pub const PROVIDER: Self = Self(0);
}
