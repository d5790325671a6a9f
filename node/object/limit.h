/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: every bound of a node, with its unit and its reason. Whoever reaches one gets REFUSED, or an error that names the limit. */
#ifndef KVRING_NODE_LIMIT_H
#define KVRING_NODE_LIMIT_H

enum {
	LIMIT_KEY_SIZE = 4096,              /* bytes; keys are compared and hashed everywhere */
	LIMIT_BUCKET_SIZE = 256,            /* bytes; part of every stored key */
	LIMIT_VALUE_SIZE = 8 * 1024 * 1024, /* bytes; one value must not hold a batch up for long */
	LIMIT_VALUE_WARN_SIZE = 256 * 1024, /* bytes; logged */
	LIMIT_SIBLINGS = 100,               /* a put that would add one more is refused */
	LIMIT_SIBLINGS_WARN = 25,           /* logged */
	LIMIT_CLOCK_ENTRIES = 1088,         /* hard bound on decoding: each dot of an object has room, and 64 more */
	LIMIT_CLOCK_PUT = 64,               /* a put that would add one more is refused: merges have room beyond */
	LIMIT_CLOCK_TRUNCATE =
		50, /* Dynamo 4.4: the oldest entries go past this many. The paper has 10; here every start of an
	 * owner adds an entry, and one that goes too early lets superseded values come back */
	LIMIT_CONTEXT_SIZE = 21 * 1024,      /* bytes; the largest vector has room, with the longest counters */
	LIMIT_BATCH_OPERATIONS = 4096,       /* per client request */
	LIMIT_BATCH_SIZE = 16 * 1024 * 1024, /* bytes per client request */
	LIMIT_CHANGES = 1024,                /* of members in one plan */
	LIMIT_IN_FLIGHT = 4096,              /* client requests being worked on, per node */
	LIMIT_IN_FLIGHT_FAIR = 512,          /* of them, those that clients share: what a burst of slow ones holds up */
	LIMIT_HEAVY_BYTES =
		32 * 1024 *
		1024, /* of large values in work for clients at once: small ones wait so long, about 0.1 s */
	LIMIT_OPERATIONS = 65536,     /* coordinator: operations in flight, per actor */
	LIMIT_SMALL_SIZE = 64 * 1024, /* bytes; larger questions have lanes of their own, see message_is_large */
	LIMIT_PEER_BATCH_SIZE = 4 * 1024 * 1024, /* bytes per message to a peer, unless one object is larger */
	LIMIT_PEER_BATCH_OPERATIONS = 4096,
	LIMIT_SCAN_SIZE =
		256 * 1024, /* bytes of keys and objects in one answer to a scan, unless one object is larger: small
				       * questions wait behind it for some ms */
	LIMIT_SCAN_ENTRIES = 1000, /* in one answer to a scan: a replica's step takes about a ms */
	LIMIT_SCAN_READ_SIZE =
		4 * 1024 * 1024,       /* bytes of objects that a replica reads for one answer of digests, likewise */
	LIMIT_PEER_OUTSTANDING = 1024, /* batches under way to one peer, of all workers */
	LIMIT_PEER_QUEUE = 65536,      /* questions of one worker that wait in one queue for a peer (exchange.h) */
	LIMIT_PEER_SILENCE_MS =
		1500, /* a peer that owes answers and gives no sign of life for so long is dialled anew */
	LIMIT_CLOSE_MS =
		10 *
		1000, /* a stop waits no longer for connections to close, neither for incoming nor for outgoing ones */
	LIMIT_BUS_MESSAGE_SIZE =
		64 *
		1024, /* bytes; every event takes less, as do GOSSIP_BUS_ROWS_MAX rows and GOSSIP_BUS_BEATS_MAX beats */
	LIMIT_OBJECT_SIZE = 48 * 1024 * 1024, /* bytes encoded: siblings together; fits one peer message */
	LIMIT_DEADLINE_MS = 60000,            /* longest deadline a client may ask for */
};

#define DEFAULT_DEADLINE_MS 5000

#endif
