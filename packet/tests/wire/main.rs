//! The public interface against packets made elsewhere, and against bytes that are no packets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any_bytes;
mod golden;
mod reader;
