//! Memory for tables: huge-page slices and prefetch.
