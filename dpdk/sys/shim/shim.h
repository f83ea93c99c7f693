/* What Rust cannot call in libdpdk directly: inline functions and C thread-locals. */
#ifndef SEKISHO_SHIM_H
#define SEKISHO_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Queue pairs a TAP can have: net_tap puts the descriptors of all its queues into one
 * struct rte_mp_msg at start, without a check of its bound. */
enum { SEKISHO_TAP_QUEUES_MAX = RTE_MP_MAX_FD_NUM / 2 };
enum { SEKISHO_LCORES_MAX = RTE_MAX_LCORE };
enum { SEKISHO_QUEUES_MAX = RTE_MAX_QUEUES_PER_PORT };
enum { SEKISHO_MQ_RSS = RTE_ETH_MQ_RX_RSS };

/* The fields of struct rte_mbuf that Rust reads or writes in place. */
enum sekisho_mbuf_field {
	SEKISHO_MBUF_BUF_ADDR,
	SEKISHO_MBUF_DATA_OFF,
	SEKISHO_MBUF_REFCNT,
	SEKISHO_MBUF_NB_SEGS,
	SEKISHO_MBUF_PORT,
	SEKISHO_MBUF_OL_FLAGS,
	SEKISHO_MBUF_PKT_LEN,
	SEKISHO_MBUF_DATA_LEN,
	SEKISHO_MBUF_BUF_LEN,
	SEKISHO_MBUF_NEXT,
	SEKISHO_MBUF_SIZE,
};

uint16_t sekisho_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t sekisho_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
int sekisho_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void sekisho_mbuf_free(struct rte_mbuf *mbuf);
int sekisho_mbuf_linearize(struct rte_mbuf *mbuf);
size_t sekisho_mbuf_offset(enum sekisho_mbuf_field field);
/* Pieces of memory the pool's objects lie in. */
unsigned int sekisho_mempool_pieces(const struct rte_mempool *pool);
/* Flows to hash: addresses of IP, and ports where there are any. */
uint64_t sekisho_rss_flows(void);
int sekisho_errno(void);
unsigned int sekisho_lcore_id(void);
uint64_t sekisho_tsc(void);
void sekisho_log_to_stderr(void);

#endif
