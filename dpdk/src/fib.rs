//! DPDK's own IPv4 forwarding table, to compare with.

use std::ffi::{CString, c_int};
use std::net::Ipv4Addr;
use std::ptr::NonNull;

use sekisho_dpdk_sys as sys;

use crate::eal::Eal;
use crate::{error_text, last_error};

/// Why `rte_fib` does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rte_fib refuses to {what} ({reason}); is there memory enough?")]
pub struct Dir24Error {
    what: &'static str,
    reason: String,
}

/// An `rte_fib` of the kind DIR24_8, with next hops of 4 octets.
#[derive(Debug)]
pub struct Dir24 {
    raw: NonNull<sys::rte_fib>,
    /// Declared last: the memory is EAL's.
    _eal: Eal,
}

impl Dir24 {
    /// A table for so many routes, without any.
    ///
    /// # Errors
    /// If DPDK has not the memory, or the name is in use.
    pub fn new(eal: &Eal, name: &str, routes: usize) -> Result<Self, Dir24Error> {
        let refused = |reason| Dir24Error {
            what: "make a table",
            reason,
        };
        let name = CString::new(name).map_err(|e| refused(e.to_string()))?;
        let routes = c_int::try_from(routes).map_err(|e| refused(e.to_string()))?;
        let mut conf = sys::rte_fib_conf {
            type_: sys::RTE_FIB_DIR24_8,
            default_nh: 0,
            max_routes: routes,
            rib_ext_sz: 0,
            __bindgen_anon_1: sys::rte_fib_conf__bindgen_ty_1 {
                dir24_8: sys::rte_fib_conf__bindgen_ty_1__bindgen_ty_1 {
                    nh_sz: sys::RTE_FIB_DIR24_8_4B,
                    num_tbl8: 1 << 16,
                },
            },
        };
        // SAFETY: EAL is up; name and configuration are read during the call only.
        let raw = unsafe { sys::rte_fib_create(name.as_ptr(), -1, &raw mut conf) };
        let raw = NonNull::new(raw).ok_or_else(|| refused(error_text(last_error())))?;
        Ok(Self {
            raw,
            _eal: eal.clone(),
        })
    }

    /// Adds a route, or replaces it.
    ///
    /// # Errors
    /// Without room.
    pub fn add(&mut self, address: Ipv4Addr, len: u8, next_hop: u32) -> Result<(), Dir24Error> {
        // SAFETY: the table lives as long as `self`, which nobody else uses meanwhile.
        let code =
            unsafe { sys::rte_fib_add(self.raw.as_ptr(), address.into(), len, next_hop.into()) };
        done("add a route", code)
    }

    /// Takes a route out.
    ///
    /// # Errors
    /// If it is not there.
    pub fn delete(&mut self, address: Ipv4Addr, len: u8) -> Result<(), Dir24Error> {
        // SAFETY: as in `add`.
        let code = unsafe { sys::rte_fib_delete(self.raw.as_ptr(), address.into(), len) };
        done("take a route out", code)
    }

    /// The next hop of each address, which are in the order of the host's octets; 0 without a
    /// route. As many as the shorter of the slices has. The addresses are not changed.
    pub fn lookup(&self, addresses: &mut [u32], next_hops: &mut [u64]) {
        let count = addresses.len().min(next_hops.len());
        // SAFETY: the table lives as long as `self`; both arrays have at least `count` elements.
        unsafe {
            sys::rte_fib_lookup_bulk(
                self.raw.as_ptr(),
                addresses.as_mut_ptr(),
                next_hops.as_mut_ptr(),
                c_int::try_from(count).unwrap_or(0),
            );
        }
    }
}

impl Drop for Dir24 {
    fn drop(&mut self) {
        // SAFETY: the table was made by `rte_fib_create` and is freed once.
        unsafe { sys::rte_fib_free(self.raw.as_ptr()) };
    }
}

fn done(what: &'static str, code: c_int) -> Result<(), Dir24Error> {
    if code == 0 {
        return Ok(());
    }
    let reason = error_text(-code);
    Err(Dir24Error { what, reason })
}
