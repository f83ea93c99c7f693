//! Tests that take more than a minute each.
