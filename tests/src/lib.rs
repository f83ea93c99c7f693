//! Black-box tests: the daemon among real peers in network namespaces.
