/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/staged.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1 };

static const struct {
	Kvring__V1__ChangeKind kind;
	const char *word, *sentence;
} WORDS[] = {
	{KVRING__V1__CHANGE_KIND__JOIN, "join", "joins"},
	{KVRING__V1__CHANGE_KIND__LEAVE, "leave", "leaves"},
	{KVRING__V1__CHANGE_KIND__REPLACE, "replace", "is replaced"},
	{KVRING__V1__CHANGE_KIND__REWEIGHT, "weight", "changes its weight"},
	{KVRING__V1__CHANGE_KIND__REMOVE, "remove", "is removed"},
	{KVRING__V1__CHANGE_KIND__DRAIN, "drain", "is drained"},
};
enum { WORD_COUNT = sizeof WORDS / sizeof *WORDS };

static int fail(struct rpc_error *error_out, int error, const char *path, const char *what)
{
	snprintf(error_out->text, sizeof error_out->text, "%s: %s", path, what);
	return error;
}

static char *copy_string(const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		abort();
	return copy;
}

/* ---- words ---------------------------------------------------------------------------------------------------- */

const char *staged_word(Kvring__V1__ChangeKind kind)
{
	for (size_t i = 0; i < WORD_COUNT; i++)
		if (WORDS[i].kind == kind)
			return WORDS[i].word;
	return "?";
}

static Kvring__V1__ChangeKind kind_of(const char *word)
{
	for (size_t i = 0; i < WORD_COUNT; i++)
		if (!strcmp(WORDS[i].word, word))
			return WORDS[i].kind;
	return KVRING__V1__CHANGE_KIND__CHANGE_UNSPECIFIED;
}

void staged_say(const struct staged_change *change, FILE *file)
{
	for (size_t i = 0; i < WORD_COUNT; i++)
		if (WORDS[i].kind == change->kind)
			fprintf(file, "%s %s", change->node, WORDS[i].sentence);
	if (change->replacement != NULL)
		fprintf(file, " by %s", change->replacement);
	if (change->weight > 0)
		fprintf(file, "%s %" PRIu32, change->kind == KVRING__V1__CHANGE_KIND__JOIN ? " with weight" : " to",
			change->weight);
}

/* ---- where ---------------------------------------------------------------------------------------------------- */

/* The directory of the file. The caller frees it. */
static int make_path(char **out, struct rpc_error *error_out)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	bool has_state = state != NULL && *state == '/'; /* the specification: others are ignored */
	*out = NULL;
	if (!has_state && (home == NULL || *home != '/'))
		return fail(error_out, -ENOENT, "staged changes",
			    "there is no place for them: set XDG_STATE_HOME or HOME to an absolute path");
	if (asprintf(out, "%s%s/kvctl", has_state ? state : home, has_state ? "" : "/.local/state") < 0)
		abort();
	return 0;
}

static int make_file_path(uint64_t cluster_id, char **out, struct rpc_error *error_out)
{
	char *directory;
	int error = make_path(&directory, error_out);
	*out = NULL;
	if (error == 0 && asprintf(out, "%s/%016" PRIx64 ".json", directory, cluster_id) < 0)
		abort();
	free(directory);
	return error;
}

/* With those above it. */
static int make_directory(const char *directory, struct rpc_error *error_out)
{
	int error = 0;
	char *path = copy_string(directory);
	for (char *at = path; error == 0 && at != NULL;) {
		at = strchr(at + 1, '/');
		if (at != NULL)
			*at = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			error = fail(error_out, -errno, path, strerror(errno));
		if (at != NULL)
			*at = '/';
	}
	free(path);
	return error;
}

/* ---- read ----------------------------------------------------------------------------------------------------- */

static bool read_hash(const json_t *object, const char *name, uint64_t *out)
{
	const char *text = json_string_value(json_object_get(object, name));
	char *end;
	errno = 0;
	*out = text != NULL ? strtoull(text, &end, 16) : 0;
	return text != NULL && end != text && !*end && !errno;
}

static bool read_change(const json_t *object, struct staged *self)
{
	const char *word = json_string_value(json_object_get(object, "change"));
	const char *node = json_string_value(json_object_get(object, "node"));
	const char *by = json_string_value(json_object_get(object, "by"));
	const json_t *weight = json_object_get(object, "weight");
	Kvring__V1__ChangeKind kind = word != NULL ? kind_of(word) : KVRING__V1__CHANGE_KIND__CHANGE_UNSPECIFIED;
	if (kind == KVRING__V1__CHANGE_KIND__CHANGE_UNSPECIFIED || node == NULL || self->count == STAGED_MAX)
		return false;
	if ((kind == KVRING__V1__CHANGE_KIND__REPLACE) != (by != NULL))
		return false;
	if (weight != NULL && (json_integer_value(weight) < 1 || json_integer_value(weight) > STAGED_WEIGHT_MAX))
		return false;
	self->changes[self->count++] = (struct staged_change){
		.kind = kind,
		.node = copy_string(node),
		.replacement = by != NULL ? copy_string(by) : NULL,
		.weight = (uint32_t)json_integer_value(weight),
	};
	return true;
}

static bool read_document(const json_t *document, struct staged *self)
{
	const json_t *changes = json_object_get(document, "changes"), *planned = json_object_get(document, "planned");
	uint64_t id;
	if (json_integer_value(json_object_get(document, "kvctl_changes")) != FORMAT || !json_is_array(changes) ||
	    !read_hash(document, "cluster_id", &id) || id != self->cluster_id)
		return false;
	for (size_t i = 0; i < json_array_size(changes); i++)
		if (!read_change(json_array_get(changes, i), self))
			return false;
	self->planned = planned != NULL;
	return planned == NULL || (read_hash(planned, "parent_hash", &self->parent_hash) &&
				   read_hash(planned, "plan_hash", &self->plan_hash));
}

static int load(const char *path, struct staged *out, struct rpc_error *error_out)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return errno == ENOENT ? 0 : fail(error_out, -errno, path, strerror(errno));
	json_t *document = json_loadf(file, JSON_REJECT_DUPLICATES, NULL);
	fclose(file);
	bool right = read_document(document, out);
	json_decref(document);
	if (right)
		return 0;
	staged_fini(out);
	return fail(error_out, -EBADMSG, path,
		    "is no list of staged changes of this cluster. `kvctl cluster clear` removes it");
}

int staged_load(uint64_t cluster_id, struct staged *out, struct rpc_error *error_out)
{
	char *path;
	*out = (struct staged){.cluster_id = cluster_id};
	int error = make_file_path(cluster_id, &path, error_out);
	if (error == 0)
		error = load(path, out, error_out);
	free(path);
	return error;
}

/* ---- write ---------------------------------------------------------------------------------------------------- */

static json_t *hash_json(uint64_t hash)
{
	char text[17];
	snprintf(text, sizeof text, "%016" PRIx64, hash);
	return json_string(text);
}

json_t *staged_json(const struct staged *self)
{
	json_t *changes = json_array();
	for (unsigned i = 0; i < self->count; i++) {
		const struct staged_change *change = &self->changes[i];
		json_t *object = json_pack("{s:s, s:s}", "change", staged_word(change->kind), "node", change->node);
		if (change->replacement != NULL)
			json_object_set_new(object, "by", json_string(change->replacement));
		if (change->weight > 0)
			json_object_set_new(object, "weight", json_integer(change->weight));
		json_array_append_new(changes, object);
	}
	return changes;
}

static json_t *document_json(const struct staged *self)
{
	json_t *document = json_pack("{s:i, s:o, s:o}", "kvctl_changes", FORMAT, "cluster_id",
				     hash_json(self->cluster_id), "changes", staged_json(self));
	if (self->planned)
		json_object_set_new(document, "planned",
				    json_pack("{s:o, s:o}", "parent_hash", hash_json(self->parent_hash), "plan_hash",
					      hash_json(self->plan_hash)));
	return document;
}

static int write_document(const char *path, json_t *document)
{
	FILE *file = fopen(path, "we");
	if (file == NULL)
		return -errno;
	errno = 0;
	int failed = json_dumpf(document, file, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	failed |= fclose(file);
	return failed == 0 ? 0 : -(errno > 0 ? errno : EIO);
}

/* S2 */
static int save(const char *path, json_t *document, struct rpc_error *error_out)
{
	char *beside = NULL;
	if (asprintf(&beside, "%s.%d", path, (int)getpid()) < 0)
		abort();
	int error = write_document(beside, document);
	if (error == 0 && rename(beside, path) < 0)
		error = -errno;
	if (error < 0) {
		unlink(beside);
		(void)fail(error_out, error, path, strerror(-error));
	}
	free(beside);
	return error;
}

int staged_save(const struct staged *self, struct rpc_error *error_out)
{
	char *path;
	int error = make_file_path(self->cluster_id, &path, error_out);
	if (error < 0)
		return error;
	json_t *document = document_json(self);
	error = save(path, document, error_out);
	json_decref(document);
	free(path);
	return error;
}

/* ---- change --------------------------------------------------------------------------------------------------- */

static void release(struct staged_change *change)
{
	free(change->node);
	free(change->replacement);
}

static bool names(const struct staged_change *change, const char *node)
{
	return !strcmp(change->node, node) || (change->replacement != NULL && !strcmp(change->replacement, node));
}

/* S1 */
static void forget(struct staged *self, const char *node)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < self->count; i++) {
		if (names(&self->changes[i], node))
			release(&self->changes[i]);
		else
			self->changes[kept++] = self->changes[i];
	}
	self->count = kept;
}

static int append(struct staged *self, const struct staged_change *change, struct rpc_error *error_out)
{
	forget(self, change->node);
	if (change->replacement != NULL)
		forget(self, change->replacement);
	if (self->count == STAGED_MAX)
		return fail(error_out, -E2BIG, change->node, "too many changes at once: commit these first");
	self->changes[self->count++] = (struct staged_change){
		.kind = change->kind,
		.node = copy_string(change->node),
		.replacement = change->replacement != NULL ? copy_string(change->replacement) : NULL,
		.weight = change->weight,
	};
	return 0;
}

static int add_all(uint64_t cluster_id, const struct staged_change *changes, unsigned count, struct staged *out,
		   struct rpc_error *error_out)
{
	int error = staged_load(cluster_id, out, error_out);
	for (unsigned i = 0; error == 0 && i < count; i++)
		error = append(out, &changes[i], error_out);
	out->planned = false;
	return error == 0 ? staged_save(out, error_out) : error;
}

static int add_locked(const char *directory, const struct staged_change *changes, unsigned count, struct staged *out,
		      struct rpc_error *error_out)
{
	int lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = lock < 0 || flock(lock, LOCK_EX) < 0 ? fail(error_out, -errno, directory, strerror(errno))
							 : add_all(out->cluster_id, changes, count, out, error_out);
	if (lock >= 0)
		close(lock);
	return error;
}

int staged_add(uint64_t cluster_id, const struct staged_change *changes, unsigned count, struct staged *out,
	       struct rpc_error *error_out)
{
	char *directory;
	*out = (struct staged){.cluster_id = cluster_id};
	int error = make_path(&directory, error_out);
	if (error == 0)
		error = make_directory(directory, error_out);
	if (error == 0)
		error = add_locked(directory, changes, count, out, error_out);
	free(directory);
	return error;
}

int staged_clear(uint64_t cluster_id, struct rpc_error *error_out)
{
	char *path;
	int error = make_file_path(cluster_id, &path, error_out);
	if (error == 0 && unlink(path) < 0 && errno != ENOENT)
		error = fail(error_out, -errno, path, strerror(errno));
	free(path);
	return error;
}

void staged_fini(struct staged *self)
{
	for (unsigned i = 0; i < self->count; i++)
		release(&self->changes[i]);
	self->count = 0;
}
