#include <stdio.h>

#include <rte_cycles.h>

#include "shim.h"

uint16_t sekisho_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t sekisho_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

int sekisho_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void sekisho_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int sekisho_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

size_t sekisho_mbuf_offset(enum sekisho_mbuf_field field)
{
	switch (field) {
	case SEKISHO_MBUF_BUF_ADDR:
		return offsetof(struct rte_mbuf, buf_addr);
	case SEKISHO_MBUF_DATA_OFF:
		return offsetof(struct rte_mbuf, data_off);
	case SEKISHO_MBUF_REFCNT:
		return offsetof(struct rte_mbuf, refcnt);
	case SEKISHO_MBUF_NB_SEGS:
		return offsetof(struct rte_mbuf, nb_segs);
	case SEKISHO_MBUF_PORT:
		return offsetof(struct rte_mbuf, port);
	case SEKISHO_MBUF_OL_FLAGS:
		return offsetof(struct rte_mbuf, ol_flags);
	case SEKISHO_MBUF_PKT_LEN:
		return offsetof(struct rte_mbuf, pkt_len);
	case SEKISHO_MBUF_DATA_LEN:
		return offsetof(struct rte_mbuf, data_len);
	case SEKISHO_MBUF_BUF_LEN:
		return offsetof(struct rte_mbuf, buf_len);
	case SEKISHO_MBUF_NEXT:
		return offsetof(struct rte_mbuf, next);
	case SEKISHO_MBUF_SIZE:
		return sizeof(struct rte_mbuf);
	}
	return SIZE_MAX;
}

unsigned int sekisho_mempool_pieces(const struct rte_mempool *pool)
{
	return pool->nb_mem_chunks;
}

uint64_t sekisho_rss_flows(void)
{
	return RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP;
}

int sekisho_errno(void)
{
	return rte_errno;
}

unsigned int sekisho_lcore_id(void)
{
	return rte_lcore_id();
}

uint64_t sekisho_tsc(void)
{
	return rte_rdtsc();
}

void sekisho_log_to_stderr(void)
{
	rte_openlog_stream(stderr);
}
