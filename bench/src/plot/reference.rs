//! Figures of others that were measured elsewhere: shown in plots, never in the results.

use super::series::Point;

/// How the plots label them.
pub(super) const LABEL: &str =
    "VPP v26.06, measured elsewhere on the same kind of machine at 2.3 GHz";

/// VPP's clocks per packet for a row, generator and transmit excluded, against the parameter `key`.
pub(super) fn vpp(bench: &str, key: &str) -> Vec<Point> {
    let points: &[(f64, f64, f64, f64)] = match (bench, key) {
        // At 100 k sessions runs differed.
        ("vxlan-snat-ecmp4", "sessions") => &[
            (1e3, 268.0, 268.0, 268.0),
            (1e5, 550.0, 450.0, 650.0),
            (1e6, 800.0, 800.0, 800.0),
        ],
        ("uplink-dnat-vxlan", "sessions") => &[
            (1e3, 219.0, 219.0, 219.0),
            (1e5, 458.0, 458.0, 458.0),
            (1e6, 788.0, 788.0, 788.0),
        ],
        ("ip4-forward", "routes") => &[
            (1.0, 42.0, 42.0, 42.0),
            (2e5, 70.0, 70.0, 70.0),
            (1e6, 108.0, 108.0, 108.0),
        ],
        _ => &[],
    };
    points
        .iter()
        .map(|&(x, median, min, max)| Point {
            x,
            median,
            min,
            max,
        })
        .collect()
}
