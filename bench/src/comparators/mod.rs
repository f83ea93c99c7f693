//! Who is measured beside us, for the row of the same name.
//!
//! Everything runs in network namespaces of its own and ends with the run. What each figure
//! includes is said in the module that measures it.

pub(crate) mod ceiling;
pub(crate) mod flows;
mod kernel;
mod l2;
mod linux;
mod ovs;
pub(crate) mod socket_sender;
pub(crate) mod testpmd;
pub(crate) mod tools;

use anyhow::Result;

use crate::options::Options;
use crate::report::Report;

const L2_FLOOR: &str = "l2-floor";
const IP4_FORWARD: &str = "ip4-forward";
const VXLAN_FORWARD: &str = "vxlan-fwd-ecmp4";
/// Out through SNAT; measures [`BACK`] too.
const OUT: &str = "vxlan-snat-ecmp4";
const BACK: &str = "uplink-dnat-vxlan";

/// Between processes; our own row is `rows/memif.rs`.
pub(crate) const MEMIF: &str = "memif";

/// A comparator of one row.
pub(crate) struct Comparator {
    /// The row beside which it stands; there may be none of ours.
    pub(crate) row: &'static str,
    /// Who it is.
    pub(crate) who: &'static str,
    /// Measures it; an error says what this machine lacks.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// All comparators.
pub(crate) const COMPARATORS: &[Comparator] = &[
    Comparator {
        row: L2_FLOOR,
        who: "testpmd",
        run: l2::run,
    },
    Comparator {
        row: IP4_FORWARD,
        who: linux::WHO,
        run: linux::forward,
    },
    Comparator {
        row: IP4_FORWARD,
        who: ovs::WHO,
        run: ovs::forward,
    },
    Comparator {
        row: VXLAN_FORWARD,
        who: linux::WHO,
        run: linux::tunnel,
    },
    Comparator {
        row: VXLAN_FORWARD,
        who: ovs::WHO,
        run: ovs::tunnel,
    },
    Comparator {
        row: OUT,
        who: linux::WHO,
        run: linux::translate,
    },
    Comparator {
        row: OUT,
        who: ovs::WHO,
        run: ovs::translate,
    },
    Comparator {
        row: MEMIF,
        who: "testpmd",
        run: ceiling::run,
    },
];

/// Sessions to compare at.
pub(crate) fn sessions(options: &Options) -> &'static [u32] {
    if options.quick {
        &[1_000]
    } else {
        &[1_000, 100_000, 1_000_000]
    }
}
