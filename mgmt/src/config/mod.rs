//! Configuration: schema, validation, flattening of includes.

pub mod model;
