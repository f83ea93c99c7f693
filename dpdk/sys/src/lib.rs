//! Raw bindings of the installed libdpdk.
