//! Raw bindings of the installed libdpdk.
//!
//! `bindgen` reads the headers of the libdpdk that pkg-config finds, through a short allow-list.
//! What is inline or thread-local in C (bursts, `rte_errno`, the lcore id) is reached through a
//! small C shim whose symbols begin with `sekisho_`. Nothing here is safe to call without the
//! rules of DPDK's own documentation; the crate `sekisho-dpdk` wraps them.
//!
//! # Limitations
//!
//! - Linked dynamically; drivers are plug-ins that EAL loads from DPDK's own folder. With the feature
//!   `static-dpdk`, linked in, with the drivers that `build.rs` lists and no others.
//! - Made and tested against DPDK 22.11; a newer one is accepted as long as it compiles.

#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    rustdoc::all,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    unused_qualifications
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    /// The C compiler's opinion.
    fn in_c(field: sekisho_mbuf_field) -> usize {
        // SAFETY: the shim only returns a constant.
        unsafe { sekisho_mbuf_offset(field) as usize }
    }

    #[test]
    fn mbuf_fields_lie_where_the_c_compiler_puts_them() {
        assert_eq!(offset_of!(rte_mbuf, buf_addr), in_c(SEKISHO_MBUF_BUF_ADDR));
        assert_eq!(offset_of!(rte_mbuf, data_off), in_c(SEKISHO_MBUF_DATA_OFF));
        assert_eq!(offset_of!(rte_mbuf, refcnt), in_c(SEKISHO_MBUF_REFCNT));
        assert_eq!(offset_of!(rte_mbuf, nb_segs), in_c(SEKISHO_MBUF_NB_SEGS));
        assert_eq!(offset_of!(rte_mbuf, port), in_c(SEKISHO_MBUF_PORT));
        assert_eq!(offset_of!(rte_mbuf, ol_flags), in_c(SEKISHO_MBUF_OL_FLAGS));
        assert_eq!(offset_of!(rte_mbuf, pkt_len), in_c(SEKISHO_MBUF_PKT_LEN));
        assert_eq!(offset_of!(rte_mbuf, data_len), in_c(SEKISHO_MBUF_DATA_LEN));
        assert_eq!(offset_of!(rte_mbuf, buf_len), in_c(SEKISHO_MBUF_BUF_LEN));
        assert_eq!(offset_of!(rte_mbuf, next), in_c(SEKISHO_MBUF_NEXT));
        assert_eq!(size_of::<rte_mbuf>(), in_c(SEKISHO_MBUF_SIZE));
    }
}
