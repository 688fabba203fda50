#include "shim.h"

#include <stddef.h>
#include <stdio.h>

#define SAME_PLACE(field)                                                                          \
    _Static_assert(offsetof(struct shim_mbuf, field) == offsetof(struct rte_mbuf, field), #field); \
    _Static_assert(sizeof(((struct shim_mbuf *)0)->field) == sizeof(((struct rte_mbuf *)0)->field), #field)

SAME_PLACE(buf_addr);
SAME_PLACE(data_off);
SAME_PLACE(refcnt);
SAME_PLACE(nb_segs);
SAME_PLACE(port);
SAME_PLACE(ol_flags);
SAME_PLACE(packet_type);
SAME_PLACE(pkt_len);
SAME_PLACE(data_len);
SAME_PLACE(vlan_tci);
SAME_PLACE(vlan_tci_outer);
SAME_PLACE(buf_len);
_Static_assert(sizeof(struct shim_mbuf) <= sizeof(struct rte_mbuf), "a view is not larger than what it shows");

uint16_t shim_rx_burst(uint16_t nic_port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
    return rte_eth_rx_burst(nic_port, queue, frames, count);
}

uint16_t shim_tx_burst(uint16_t nic_port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
    return rte_eth_tx_burst(nic_port, queue, frames, count);
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
    return rte_pktmbuf_alloc(pool);
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
    return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void shim_mbuf_free(struct rte_mbuf *frame)
{
    rte_pktmbuf_free(frame);
}

void shim_mbuf_free_bulk(struct rte_mbuf **frames, unsigned int count)
{
    rte_pktmbuf_free_bulk(frames, count);
}

int shim_mbuf_linearize(struct rte_mbuf *frame)
{
    return rte_pktmbuf_linearize(frame);
}

bool shim_mempool_full(const struct rte_mempool *pool)
{
    return rte_mempool_full(pool) != 0;
}

int shim_errno(void)
{
    return rte_errno;
}

unsigned int shim_lcore_id(void)
{
    return rte_lcore_id();
}

void shim_log_to_stderr(void)
{
    rte_openlog_stream(stderr);
}

bool shim_link_up(uint16_t nic_port)
{
    struct rte_eth_link link = {0};
    return rte_eth_link_get_nowait(nic_port, &link) == 0 && link.link_status != 0;
}

uint32_t shim_link_mbps(uint16_t nic_port)
{
    struct rte_eth_link link = {0};
    return rte_eth_link_get_nowait(nic_port, &link) == 0 ? link.link_speed : 0;
}
