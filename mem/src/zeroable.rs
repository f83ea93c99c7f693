//! Types for which all bits zero is a value.

use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
};

/// A type for which memory filled with zero bytes holds a valid value, and which needs no drop.
///
/// # Safety
/// All-zero bytes must be a valid value of the type, and leaking it must lose nothing.
pub unsafe trait Zeroable: Sized {}

macro_rules! zeroable {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: an integer, a bool or an atomic of one: zero is a valid value, nothing to drop.
        unsafe impl Zeroable for $type {}
    )+};
}

zeroable!(
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    bool,
    AtomicBool,
    AtomicU8,
    AtomicU16,
    AtomicU32,
    AtomicU64,
    AtomicUsize,
    AtomicI32,
    AtomicI64,
);

// SAFETY: an array of zeroable elements has no bytes but theirs.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}

/// Declares a struct whose every field is [`Zeroable`] and makes it so itself. The proof is checked
/// by the compiler: a field that is not zeroable does not build. The struct is `repr(C)`, so its
/// layout is the order of its fields; further `repr` attributes, such as `align(64)`, add to it.
///
/// ```
/// sekisho_mem::zeroable_struct! {
///     /// One line of a table.
///     #[derive(Clone, Copy)]
///     #[repr(align(64))]
///     pub struct Line {
///         /// When it was last used.
///         pub last_seen: u32,
///     }
/// }
/// let lines = sekisho_mem::HugeSlice::<Line>::new(8)?;
/// assert_eq!(lines[7].last_seen, 0);
/// # Ok::<(), sekisho_mem::MapError>(())
/// ```
///
/// ```compile_fail
/// sekisho_mem::zeroable_struct! {
///     struct Line { name: Box<u8> }
/// }
/// ```
#[macro_export]
macro_rules! zeroable_struct {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)+
        }

        const _: () = {
            const fn zeroable<T: $crate::Zeroable>() {}
            $(zeroable::<$type>();)+
            assert!(!::core::mem::needs_drop::<$name>());
        };

        // SAFETY: the struct is made here of exactly these fields, each of which was just checked
        // to be zeroable; padding has no invalid value. It needs no drop, checked above.
        unsafe impl $crate::Zeroable for $name {}
    };
}
