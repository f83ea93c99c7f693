//! Safe DPDK: EAL, ports, queues, mbufs, lcores.
