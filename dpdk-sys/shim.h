/* What Rust sees of DPDK: its exported functions, and these one-liners for what is a macro, a static inline or differs
 * between the releases 22.11, 23.11 and 24.11. */
#ifndef SHUNT_SHIM_H
#define SHUNT_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* The fields of struct rte_mbuf that Rust reads and writes. The real struct has unions and markers whose names change
 * with the release; their places do not, and shim.c asserts each of them. */
struct shim_mbuf {
    void *buf_addr;
    uint64_t reserved_iova;
    uint16_t data_off;
    uint16_t refcnt;
    uint16_t nb_segs;
    uint16_t port;
    uint64_t ol_flags;
    uint32_t packet_type;
    uint32_t pkt_len;
    uint16_t data_len;
    uint16_t vlan_tci;
    uint32_t reserved_hash[2];
    uint16_t vlan_tci_outer;
    uint16_t buf_len;
};

/* Macros with casts and shifts, which bindgen cannot read. */
static const uint64_t SHIM_RSS_IPV4 = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t SHIM_RSS_IPV6 =
    RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER | RTE_ETH_RSS_IPV6_EX;
static const uint64_t SHIM_RSS_TCP =
    RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_IPV6_TCP_EX;
static const uint64_t SHIM_RSS_UDP =
    RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP | RTE_ETH_RSS_IPV6_UDP_EX;
static const uint64_t SHIM_RSS_SCTP = RTE_ETH_RSS_NONFRAG_IPV4_SCTP | RTE_ETH_RSS_NONFRAG_IPV6_SCTP;
static const uint64_t SHIM_RSS_L3_SRC_ONLY = RTE_ETH_RSS_L3_SRC_ONLY;
static const uint64_t SHIM_RSS_L3_DST_ONLY = RTE_ETH_RSS_L3_DST_ONLY;
static const uint64_t SHIM_RSS_L4_SRC_ONLY = RTE_ETH_RSS_L4_SRC_ONLY;
static const uint64_t SHIM_RSS_L4_DST_ONLY = RTE_ETH_RSS_L4_DST_ONLY;
static const uint64_t SHIM_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t SHIM_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_MBUF_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint32_t SHIM_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t SHIM_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t SHIM_RETA_GROUP_SIZE = RTE_ETH_RETA_GROUP_SIZE;
static const uint32_t SHIM_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint32_t SHIM_ETHER_OVERHEAD = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;

uint16_t shim_rx_burst(uint16_t nic_port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t shim_tx_burst(uint16_t nic_port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
void shim_mbuf_free(struct rte_mbuf *frame);
void shim_mbuf_free_bulk(struct rte_mbuf **frames, unsigned int count);
int shim_mbuf_linearize(struct rte_mbuf *frame);
bool shim_mempool_full(const struct rte_mempool *pool);
int shim_errno(void);
unsigned int shim_lcore_id(void);
void shim_log_to_stderr(void);
bool shim_link_up(uint16_t nic_port);
uint32_t shim_link_mbps(uint16_t nic_port);

#endif
