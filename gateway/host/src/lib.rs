//! The kernel's side of the gateway: host interface, rules, namespaces.
