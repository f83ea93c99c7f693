//! Forwarding tables: single writer, wait-free readers.
