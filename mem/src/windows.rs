//! Parts of a table that overlap.

use std::marker::PhantomData;

/// Every `N` elements of a table that follow each other, found by the number of the first with one
/// comparison.
#[derive(Debug)]
pub struct Windows<'a, T, const N: usize> {
    start: *const T,
    count: usize,
    table: PhantomData<&'a [T]>,
}

impl<'a, T, const N: usize> Windows<'a, T, N> {
    /// Those of `table`; none if it has fewer elements.
    #[inline(always)]
    pub const fn new(table: &'a [T]) -> Self {
        Self {
            start: table.as_ptr(),
            count: (table.len() + 1).saturating_sub(N),
            table: PhantomData,
        }
    }

    /// The window that begins with element `index`.
    ///
    /// # Panics
    /// If it does not end within the table.
    #[inline(always)]
    pub const fn at(self, index: usize) -> &'a [T; N] {
        assert!(index < self.count, "a window beyond its table");
        // SAFETY: the table has `count - 1 + N` elements, so `N` of them begin with `index`; they are
        // borrowed for `'a`.
        unsafe { &*self.start.add(index).cast() }
    }
}

impl<T, const N: usize> Clone for Windows<'_, T, N> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const N: usize> Copy for Windows<'_, T, N> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_what_the_table_has_there_and_ends_with_it() {
        let windows = Windows::<_, 3>::new(&[1, 2, 3, 4]);
        assert_eq!(windows.at(0), &[1, 2, 3]);
        assert_eq!(windows.at(1), &[2, 3, 4]);
        for (table, index) in [(4, 2), (4, 4), (4, usize::MAX), (2, 0), (0, 0)] {
            let beyond = || Windows::<_, 3>::new(&[1, 2, 3, 4][..table]).at(index);
            assert!(std::panic::catch_unwind(beyond).is_err(), "{table} {index}");
        }
    }
}
