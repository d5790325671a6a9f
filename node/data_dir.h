/* SPDX-License-Identifier: Apache-2.0 */
/* Data directory of a node, apart from the engine's files.
 *
 *     DIR/lock       held while a process uses the directory
 *     DIR/node       identity: node id, cluster id, count of starts, is it receiving; checksummed text, replaced atomically
 *     DIR/ring       the encoded ring document, replaced atomically
 *     DIR/register   this node's vote on the next one (membership/acceptor.h), likewise
 *     DIR/members    the last start of each member (gossip_starts.c), replaced atomically
 *     DIR/transfer   which partitions have come to this node in the ring change that is on (upkeep/progress.h), likewise
 *     DIR/engine/    the engine's directory
 *
 * Threading   open and close: one thread. data_dir_*_store: the gossip thread, but data_dir_transfer_*: the upkeep thread.
 * Ownership   Borrows the file system.
 * Errors      -EWOULDBLOCK another process uses the directory; -EBADMSG a damaged file; -EPERM it belongs to another
 *             cluster; others as the file system gives. error_out says which file and what to do next. A full disk does
 *             not stand in the way of opening a directory that has an identity.
 * Invariants  H1 A file is whole: old or new, never a mixture (write temporary, sync, rename, sync the directory).
 */
#ifndef KVRING_NODE_DATA_DIR_H
#define KVRING_NODE_DATA_DIR_H

#include <stdbool.h>
#include "engine/fs.h"
#include "rpc/base.h"

struct data_dir;

/* Creates what is missing. new_node_id: taken when the directory is new (random, chosen by the caller). */
RPC_OK int data_dir_open(const struct fs *, const char *directory, uint64_t new_node_id, struct data_dir **out,
			 struct rpc_error *error_out);
void data_dir_close(struct data_dir **);
uint64_t data_dir_node_id(const struct data_dir *);
uint64_t data_dir_cluster_id(const struct data_dir *); /* 0: in none yet */
uint64_t
data_dir_incarnation(const struct data_dir *); /* starts so far, this one included; durable unless the disk is full */
/* Of these starts the last one that is on disk: one less when this start found the disk full. */
uint64_t data_dir_boot(const struct data_dir *);
/* The directory went back in time: other nodes remembered a later start of this node. Durable until it is accepted. boot: the start
 * that they remember; the next start takes a later number. */
bool data_dir_is_receiving(const struct data_dir *);
RPC_OK int data_dir_set_receiving(struct data_dir *, uint64_t boot, struct rpc_error *error_out);
/* An operator has brought back from the others what was missing, or does without it. */
RPC_OK int data_dir_accept_restored(struct data_dir *, struct rpc_error *error_out);
const char *data_dir_engine_directory(const struct data_dir *);
const char *data_dir_ring_path(const struct data_dir *); /* for texts */
const char *data_dir_register_path(const struct data_dir *);
const char *data_dir_members_path(const struct data_dir *);
/* Once set it cannot change: -EPERM. */
RPC_OK int data_dir_set_cluster(struct data_dir *, uint64_t cluster_id, struct rpc_error *error_out);
RPC_OK int data_dir_ring_store(struct data_dir *, struct rpc_slice document, struct rpc_error *error_out);
/* 1 and the bytes (malloc'ed), 0 when there is none. */
RPC_OK int data_dir_ring_load(struct data_dir *, uint8_t **bytes_out, size_t *size_out, struct rpc_error *error_out);
/* Likewise. */
RPC_OK int data_dir_register_store(struct data_dir *, struct rpc_slice, struct rpc_error *error_out);
RPC_OK int data_dir_register_load(struct data_dir *, uint8_t **bytes_out, size_t *size_out,
				  struct rpc_error *error_out);
/* Likewise. */
RPC_OK int data_dir_members_store(struct data_dir *, struct rpc_slice, struct rpc_error *error_out);
RPC_OK int data_dir_members_load(struct data_dir *, uint8_t **bytes_out, size_t *size_out, struct rpc_error *error_out);
/* Likewise. */
RPC_OK int data_dir_transfer_store(struct data_dir *, struct rpc_slice, struct rpc_error *error_out);
RPC_OK int data_dir_transfer_load(struct data_dir *, uint8_t **bytes_out, size_t *size_out,
				  struct rpc_error *error_out);

#endif
