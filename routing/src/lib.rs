//! BGP, RIB and policy.
