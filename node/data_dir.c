/* SPDX-License-Identifier: Apache-2.0 */
/* The identity file, DIR/node: five or six lines of text.
 *
 *     kvring node 1                 what it is, and the format
 *     id 0123456789abcdef           node id
 *     cluster 0123456789abcdef      cluster id, zeros for none
 *     starts 12                     how often a process has opened the directory
 *     receiving                     only when the directory went back in time: other nodes remembered a later start
 *     checksum 0123456789abcdef     XXH3-64 of the lines above
 *
 * DIR/ring is the ring document as ring_document_encode makes it, DIR/register what acceptor.c makes, and DIR/members what
 * gossip_starts.c makes, DIR/transfer what progress.c makes; each has a checksum of its own.
 */
#include "node/data_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "ring/ring.h"

enum {
	IDENTITY_SIZE_MAX = 256, /* bytes */
	REGISTER_SIZE_MAX = RING_DOCUMENT_SIZE_MAX + 1024,
	MEMBERS_SIZE_MAX = 1024 * 1024, /* bytes; RING_MEMBERS_MAX members of at most 56 need 0.9 MB */
	TRANSFER_SIZE_MAX = 16 * 1024,  /* bytes; a bit for each of RING_PARTITIONS_MAX partitions, and a head */
};

struct data_dir {
	const struct fs *fs;
	char *directory, *lock_path, *node_path, *ring_path, *register_path, *members_path, *transfer_path,
		*engine_path;
	struct fs_file *lock;
	uint64_t node_id, cluster_id, starts;
	uint64_t boot; /* of starts, the last one that is on disk */
	bool receiving;
};

__attribute__((format(printf, 3, 4))) static int fail(struct rpc_error *error_out, int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error_out->text, sizeof error_out->text, format, args);
	va_end(args);
	return status;
}

static char *join(const char *directory, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

/* ---- whole files -------------------------------------------------------------------------------------------- */

/* H1. */
static int replace_file(const struct data_dir *data_dir, const char *path, struct rpc_slice bytes,
			struct rpc_error *error_out)
{
	int status = fs_replace_file(data_dir->fs, data_dir->directory, path, bytes.data, bytes.size);

	if (status)
		return fail(error_out, status, "%s: cannot be written: %s; see to the disk and start again", path,
			    strerror(-status));
	return 0;
}

static int fail_reading(const char *path, int status, size_t size_max, struct rpc_error *error_out)
{
	if (status == -EBADMSG) /* described by who found it */
		return status;
	if (status == -EFBIG)
		return fail(error_out, -EBADMSG,
			    "%s: larger than %zu bytes, so damaged: restore it or empty the directory", path, size_max);
	return fail(error_out, status, "%s: cannot be read: %s", path, strerror(-status));
}

/* ---- identity ----------------------------------------------------------------------------------------------- */

struct identity_text {
	char text[IDENTITY_SIZE_MAX];
	size_t size;
};

static struct identity_text render_identity(uint64_t node_id, uint64_t cluster_id, uint64_t starts, bool receiving)
{
	struct identity_text out;

	out.size = (size_t)snprintf(out.text, IDENTITY_SIZE_MAX,
				    "kvring node 1\nid %016" PRIx64 "\ncluster %016" PRIx64 "\nstarts %" PRIu64 "\n%s",
				    node_id, cluster_id, starts, receiving ? "receiving\n" : "");
	out.size += (size_t)snprintf(out.text + out.size, IDENTITY_SIZE_MAX - out.size, "checksum %016" PRIx64 "\n",
				     (uint64_t)XXH3_64bits(out.text, out.size));
	return out;
}

static int store_identity(struct data_dir *data_dir, uint64_t cluster_id, uint64_t starts, bool receiving,
			  struct rpc_error *error_out)
{
	struct identity_text identity = render_identity(data_dir->node_id, cluster_id, starts, receiving);
	int status = replace_file(data_dir, data_dir->node_path,
				  (struct rpc_slice){(uint8_t *)identity.text, identity.size}, error_out);

	if (status)
		return status;
	data_dir->cluster_id = cluster_id;
	data_dir->starts = data_dir->boot = starts;
	data_dir->receiving = receiving;
	return 0;
}

static bool is_rendered(const struct data_dir *data_dir, bool receiving, const char *text)
{
	struct identity_text again =
		render_identity(data_dir->node_id, data_dir->cluster_id, data_dir->starts, receiving);

	return strcmp(again.text, text) == 0;
}

static int parse_identity(struct data_dir *data_dir, const char *text, struct rpc_error *error_out)
{
	unsigned format = 0;
	int fields = sscanf(text, "kvring node %u\nid %16" SCNx64 "\ncluster %16" SCNx64 "\nstarts %" SCNu64 "\n",
			    &format, &data_dir->node_id, &data_dir->cluster_id, &data_dir->starts);

	/* what was read must write the same bytes, checksum included */
	data_dir->receiving = fields == 4 && is_rendered(data_dir, true, text);
	if (fields == 4 && data_dir->node_id != 0 && (data_dir->receiving || is_rendered(data_dir, false, text)))
		return 0;
	return fail(error_out, -EBADMSG,
		    "%s: damaged, or written by a newer kvnode: restore the file, or empty the directory to start a "
		    "new node",
		    data_dir->node_path);
}

static int note_data(void *arg, const char *name)
{
	const char **found = arg;

	if (strcmp(name, "engine") == 0)
		*found = "engine";
	else if (strcmp(name, "ring") == 0)
		*found = "ring";
	return 0;
}

/* A directory with data but without identity must not become a new node silently. */
static int check_unused(const struct data_dir *data_dir, struct rpc_error *error_out)
{
	const char *found = NULL;
	int status = data_dir->fs->list(data_dir->fs, data_dir->directory, note_data, &found);

	if (status < 0)
		return fail(error_out, status, "%s: cannot be listed: %s", data_dir->directory, strerror(-status));
	if (found != NULL)
		return fail(
			error_out, -EBADMSG,
			"%s: missing, but %s/%s is there: restore the file, or empty the directory to start a new node",
			data_dir->node_path, data_dir->directory, found);
	return 0;
}

struct identity_reading {
	struct data_dir *data_dir;
	struct rpc_error *error_out;
};

static int check_identity(void *arg, const uint8_t *text, size_t size)
{
	const struct identity_reading *reading = arg;

	(void)size; /* a zero byte follows the text */
	return parse_identity(reading->data_dir, (const char *)text, reading->error_out);
}

/* The number of this start, durable before it is used. On a full disk the node starts all the same, to be read: should the next
 * start take the same number, gossip puts it right (refutation). */
static int count_start(struct data_dir *data_dir, bool is_new, struct rpc_error *error_out)
{
	int status;

	data_dir->boot = data_dir->starts++;
	status = store_identity(data_dir, data_dir->cluster_id, data_dir->starts, data_dir->receiving, error_out);
	return status && (is_new || !fs_is_passing(status)) ? status : 0;
}

static int load_identity(struct data_dir *data_dir, uint64_t new_node_id, struct rpc_error *error_out)
{
	struct identity_reading reading = {data_dir, error_out};
	int status = fs_check_file(data_dir->fs, data_dir->node_path, IDENTITY_SIZE_MAX, check_identity, &reading);
	bool is_new = status == -ENOENT;

	if (is_new) {
		data_dir->node_id = new_node_id;
		status = check_unused(data_dir, error_out);
	} else if (status) {
		return fail_reading(data_dir->node_path, status, IDENTITY_SIZE_MAX, error_out);
	}
	return status ? status : count_start(data_dir, is_new, error_out);
}

/* ---- open and close ----------------------------------------------------------------------------------------- */

static int sync_parent(const struct fs *fs, const char *directory)
{
	char *parent = strdup(directory), *slash;
	int status;

	if (parent == NULL)
		return -ENOMEM;
	for (size_t length = strlen(parent); length > 1 && parent[length - 1] == '/'; length--)
		parent[length - 1] = 0;
	slash = strrchr(parent, '/');
	if (slash != NULL)
		slash[slash == parent] = 0; /* "/data" -> "/" */
	status = fs->sync_dir(fs, slash != NULL ? parent : ".");
	free(parent);
	return status;
}

static int make_directory(const struct data_dir *data_dir, struct rpc_error *error_out)
{
	int status = data_dir->fs->mkdir(data_dir->fs, data_dir->directory);
	int synced = sync_parent(data_dir->fs, data_dir->directory); /* also when it was made before a crash */

	if (!status)
		status = synced;
	if (status && status != -EEXIST)
		return fail(error_out, status,
			    "%s: cannot be made: %s; make the directory above it, writable for this user",
			    data_dir->directory, strerror(-status));
	return 0;
}

static int lock_directory(struct data_dir *data_dir, struct rpc_error *error_out)
{
	int status = data_dir->fs->lock(data_dir->fs, data_dir->lock_path, &data_dir->lock);

	if (status == -EWOULDBLOCK)
		return fail(error_out, status,
			    "%s: another process uses this directory: stop it, or give this node its own",
			    data_dir->directory);
	if (status == -ENOTDIR)
		return fail(error_out, status, "%s: is a file: give the node a directory", data_dir->directory);
	if (status)
		return fail(error_out, status, "%s: cannot be locked: %s", data_dir->lock_path, strerror(-status));
	return 0;
}

int data_dir_open(const struct fs *fs, const char *directory, uint64_t new_node_id, struct data_dir **out,
		  struct rpc_error *error_out)
{
	struct data_dir *data_dir = calloc(1, sizeof *data_dir);
	int status;

	*out = NULL;
	if (data_dir == NULL)
		return -ENOMEM;
	data_dir->fs = fs;
	data_dir->directory = strdup(directory);
	data_dir->lock_path = join(directory, "lock");
	data_dir->node_path = join(directory, "node");
	data_dir->ring_path = join(directory, "ring");
	data_dir->register_path = join(directory, "register");
	data_dir->members_path = join(directory, "members");
	data_dir->transfer_path = join(directory, "transfer");
	data_dir->engine_path = join(directory, "engine");
	if (data_dir->directory == NULL || data_dir->lock_path == NULL || data_dir->node_path == NULL ||
	    data_dir->ring_path == NULL || data_dir->register_path == NULL || data_dir->members_path == NULL ||
	    data_dir->transfer_path == NULL || data_dir->engine_path == NULL)
		status = -ENOMEM;
	else
		status = make_directory(data_dir, error_out);
	if (!status)
		status = lock_directory(data_dir, error_out);
	if (!status)
		status = load_identity(data_dir, new_node_id, error_out);
	if (status)
		data_dir_close(&data_dir);
	*out = data_dir;
	return status;
}

void data_dir_close(struct data_dir **data_dir_in)
{
	struct data_dir *data_dir = *data_dir_in;

	*data_dir_in = NULL;
	if (data_dir == NULL)
		return;
	if (data_dir->lock != NULL)
		data_dir->fs->close(data_dir->lock);
	free(data_dir->directory);
	free(data_dir->lock_path);
	free(data_dir->node_path);
	free(data_dir->ring_path);
	free(data_dir->register_path);
	free(data_dir->members_path);
	free(data_dir->transfer_path);
	free(data_dir->engine_path);
	free(data_dir);
}

uint64_t data_dir_node_id(const struct data_dir *data_dir)
{
	return data_dir->node_id;
}

uint64_t data_dir_cluster_id(const struct data_dir *data_dir)
{
	return data_dir->cluster_id;
}

uint64_t data_dir_incarnation(const struct data_dir *data_dir)
{
	return data_dir->starts;
}

uint64_t data_dir_boot(const struct data_dir *data_dir)
{
	return data_dir->boot;
}

bool data_dir_is_receiving(const struct data_dir *data_dir)
{
	return data_dir->receiving;
}

const char *data_dir_register_path(const struct data_dir *data_dir)
{
	return data_dir->register_path;
}

const char *data_dir_members_path(const struct data_dir *data_dir)
{
	return data_dir->members_path;
}

const char *data_dir_engine_directory(const struct data_dir *data_dir)
{
	return data_dir->engine_path;
}

const char *data_dir_ring_path(const struct data_dir *data_dir)
{
	return data_dir->ring_path;
}

int data_dir_set_cluster(struct data_dir *data_dir, uint64_t cluster_id, struct rpc_error *error_out)
{
	if (cluster_id == data_dir->cluster_id)
		return 0;
	if (data_dir->cluster_id != 0 || cluster_id == 0)
		return fail(error_out, -EPERM,
			    "%s: belongs to cluster %016" PRIx64 ", not %016" PRIx64
			    ": give the node a directory of its own",
			    data_dir->directory, data_dir->cluster_id, cluster_id);
	return store_identity(data_dir, cluster_id, data_dir->starts, data_dir->receiving, error_out);
}

int data_dir_set_receiving(struct data_dir *data_dir, uint64_t boot, struct rpc_error *error_out)
{
	uint64_t starts = boot > data_dir->starts ? boot : data_dir->starts;

	if (data_dir->receiving && starts == data_dir->boot)
		return 0;
	return store_identity(data_dir, data_dir->cluster_id, starts, true, error_out);
}

int data_dir_accept_restored(struct data_dir *data_dir, struct rpc_error *error_out)
{
	if (!data_dir->receiving)
		return 0;
	return store_identity(data_dir, data_dir->cluster_id, data_dir->starts, false, error_out);
}

int data_dir_ring_store(struct data_dir *data_dir, struct rpc_slice document, struct rpc_error *error_out)
{
	return replace_file(data_dir, data_dir->ring_path, document, error_out);
}

int data_dir_ring_load(struct data_dir *data_dir, uint8_t **bytes_out, size_t *size_out, struct rpc_error *error_out)
{
	int status = fs_read_file(data_dir->fs, data_dir->ring_path, RING_DOCUMENT_SIZE_MAX, bytes_out, size_out);

	if (status == -ENOENT)
		return 0;
	return status ? fail_reading(data_dir->ring_path, status, RING_DOCUMENT_SIZE_MAX, error_out) : 1;
}

int data_dir_register_store(struct data_dir *data_dir, struct rpc_slice bytes, struct rpc_error *error_out)
{
	return replace_file(data_dir, data_dir->register_path, bytes, error_out);
}

int data_dir_register_load(struct data_dir *data_dir, uint8_t **bytes_out, size_t *size_out,
			   struct rpc_error *error_out)
{
	int status = fs_read_file(data_dir->fs, data_dir->register_path, REGISTER_SIZE_MAX, bytes_out, size_out);

	if (status == -ENOENT)
		return 0;
	return status ? fail_reading(data_dir->register_path, status, REGISTER_SIZE_MAX, error_out) : 1;
}

int data_dir_members_store(struct data_dir *data_dir, struct rpc_slice bytes, struct rpc_error *error_out)
{
	return replace_file(data_dir, data_dir->members_path, bytes, error_out);
}

int data_dir_members_load(struct data_dir *data_dir, uint8_t **bytes_out, size_t *size_out, struct rpc_error *error_out)
{
	int status = fs_read_file(data_dir->fs, data_dir->members_path, MEMBERS_SIZE_MAX, bytes_out, size_out);

	if (status == -ENOENT)
		return 0;
	return status ? fail_reading(data_dir->members_path, status, MEMBERS_SIZE_MAX, error_out) : 1;
}

int data_dir_transfer_store(struct data_dir *data_dir, struct rpc_slice bytes, struct rpc_error *error_out)
{
	return replace_file(data_dir, data_dir->transfer_path, bytes, error_out);
}

int data_dir_transfer_load(struct data_dir *data_dir, uint8_t **bytes_out, size_t *size_out,
			   struct rpc_error *error_out)
{
	int status = fs_read_file(data_dir->fs, data_dir->transfer_path, TRANSFER_SIZE_MAX, bytes_out, size_out);

	if (status == -ENOENT)
		return 0;
	return status ? fail_reading(data_dir->transfer_path, status, TRANSFER_SIZE_MAX, error_out) : 1;
}
