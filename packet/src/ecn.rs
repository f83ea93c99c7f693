//! Congestion marks and service classes across tunnels (RFC 6040, RFC 2983).

/// The ECN field (RFC 3168), the low two bits of the type of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// The transport does not understand congestion marks.
    NotEct,
    /// It does; code point `01`.
    Ect1,
    /// It does; code point `10`.
    Ect0,
    /// Congestion was experienced.
    Ce,
}

const ECN_MASK: u8 = 0b11;

impl Ecn {
    /// The mark in a type of service or IPv6 traffic class.
    #[inline]
    pub const fn of_tos(tos: u8) -> Self {
        match tos & ECN_MASK {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits.
    #[inline]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }

    /// `tos` with this mark.
    #[inline]
    pub const fn mark(self, tos: u8) -> u8 {
        tos & !ECN_MASK | self.bits()
    }
}

/// What becomes of the service class (DSCP) in a tunnel (RFC 2983 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DscpMode {
    /// Inner and outer class are one: copied out and back.
    Uniform,
    /// The inner class stays; the outer one is this, 0 to 63.
    Pipe(u8),
}

/// The outer type of service: the class by `mode`, the mark copied (RFC 6040 section 4.1, normal
/// mode).
#[inline]
pub const fn encapsulate(inner_tos: u8, mode: DscpMode) -> u8 {
    let class = match mode {
        DscpMode::Uniform => inner_tos,
        DscpMode::Pipe(dscp) => dscp << 2,
    };
    Ecn::of_tos(inner_tos).mark(class)
}

/// The mark that a decapsulated packet goes on with, or nothing if it must be dropped (RFC 6040
/// section 4.2, figure 4).
#[inline]
pub const fn combine(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, _) => Some(Ecn::NotEct),
        (_, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (inner, _) => Some(inner),
    }
}

/// The type of service that a decapsulated packet goes on with, or nothing if it must be dropped.
#[inline]
pub const fn decapsulate(inner_tos: u8, outer_tos: u8, mode: DscpMode) -> Option<u8> {
    let class = match mode {
        DscpMode::Uniform => outer_tos,
        DscpMode::Pipe(_) => inner_tos,
    };
    match combine(Ecn::of_tos(inner_tos), Ecn::of_tos(outer_tos)) {
        Some(mark) => Some(mark.mark(class)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ecn::{Ce, Ect0, Ect1, NotEct};

    #[test]
    fn e01_normal_mode_copies_every_mark() {
        for tos in 0..=255 {
            let outer = encapsulate(tos, DscpMode::Pipe(46));
            assert_eq!(outer, 46 << 2 | tos & 3);
        }
    }

    #[test]
    fn e02_decapsulation_follows_figure_4_of_rfc_6040() {
        // Columns, the outer mark: Not-ECT, ECT(0), ECT(1), CE.
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce); 4]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                assert_eq!(combine(inner, outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn e03_the_class_is_copied_or_kept_whatever_the_mark() {
        let (inner, outer) = (0b1010_1010, 0b0101_0111);
        assert_eq!(encapsulate(inner, DscpMode::Uniform), inner);
        assert_eq!(
            decapsulate(inner, outer, DscpMode::Uniform),
            Some(0b0101_0111)
        );
        assert_eq!(
            decapsulate(inner, outer, DscpMode::Pipe(0)),
            Some(0b1010_1011)
        );
        assert_eq!(decapsulate(0, 3, DscpMode::Uniform), None);
    }
}
