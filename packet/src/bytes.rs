//! Big-endian fields of fixed-size headers.
//!
//! Every header is held as an array and every field is a constant range inside it, so the bounds
//! are known when the code is compiled and no check is left at run time.

use core::net::Ipv4Addr;
use core::ops::Range;

use sekisho_types::MacAddr;

#[inline(always)]
pub(crate) fn be16<const N: usize>(header: &[u8; N], field: Range<usize>) -> u16 {
    u16::from_be_bytes([header[field.start], header[field.start + 1]])
}

#[inline(always)]
pub(crate) fn be32<const N: usize>(header: &[u8; N], field: Range<usize>) -> u32 {
    let at = field.start;
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[inline(always)]
pub(crate) fn ipv4<const N: usize>(header: &[u8; N], field: Range<usize>) -> Ipv4Addr {
    Ipv4Addr::from_bits(be32(header, field))
}

#[inline(always)]
pub(crate) fn mac<const N: usize>(header: &[u8; N], field: Range<usize>) -> MacAddr {
    let at = field.start;
    MacAddr::new([
        header[at],
        header[at + 1],
        header[at + 2],
        header[at + 3],
        header[at + 4],
        header[at + 5],
    ])
}

#[inline(always)]
pub(crate) fn put16<const N: usize>(header: &mut [u8; N], field: Range<usize>, value: u16) {
    header[field].copy_from_slice(&value.to_be_bytes());
}

#[inline(always)]
pub(crate) fn put32<const N: usize>(header: &mut [u8; N], field: Range<usize>, value: u32) {
    header[field].copy_from_slice(&value.to_be_bytes());
}

#[inline(always)]
pub(crate) fn put_mac<const N: usize>(header: &mut [u8; N], field: Range<usize>, value: MacAddr) {
    header[field].copy_from_slice(&value.octets());
}
