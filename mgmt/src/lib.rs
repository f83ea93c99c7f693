//! API, configuration, gRPC server and the sekisho CLI.
