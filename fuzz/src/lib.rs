//! What a fuzzer drives: octets in, panics out.
//!
//! [`translate`] is the whole translate step without a port: packets are read, given to an engine, and
//! rewritten as it says. The same function is run with random octets by the tests.

mod translate;

pub use translate::translate;
