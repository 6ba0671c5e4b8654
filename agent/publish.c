/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage "publish": the life of the stage and the chunks it adds to the kernel's maps. Takes unwind files and
 * processes; gives what the sampler needs to unwind. Owns the chunks' descriptors and who uses which part.
 */
#include "publish.h"

#include "base/clean.h"
#include "publish_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int publish_view_open(int fd, size_t offset, size_t bytes, struct publish_view *ret_view)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), before = offset & (page - 1);
	struct publish_view view = { .bytes = (before + bytes + page - 1) & ~(page - 1) };

	view.base = mmap(NULL, view.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(offset - before));
	if (view.base == MAP_FAILED)
		return -errno;
	view.data = (char *)view.base + before;
	*ret_view = view;
	return 0;
}

void publish_view_close(struct publish_view *view)
{
	if (view->base)
		munmap(view->base, view->bytes);
	view->base = NULL;
}

int publish_chunk_new(int outer_fd, const char *name, uint32_t index, uint32_t bytes)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	auto_fd int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), bytes, 1, &opts);

	if (fd < 0)
		return -errno;
	if (bpf_map_update_elem(outer_fd, &index, &fd, BPF_ANY))
		return -errno;
	return steal_fd(&fd);
}

int publish_new(struct loader *loader, uint64_t row_limit_bytes, struct publish **ret_publish)
{
	struct publish *publish = calloc(1, sizeof(*publish));
	int err = -ENOMEM;

	if (!publish)
		return err;
	publish->loader = loader;
	publish->row_limit_bytes = row_limit_bytes;
	pthread_mutex_init(&publish->rows_lock, NULL);
	pthread_mutex_init(&publish->tables_lock, NULL);
	STAILQ_INIT(&publish->freed);
	LIST_INIT(&publish->entries);
	TAILQ_INIT(&publish->verify);
	hmap_init(&publish->dirs, sizeof(uint32_t), sizeof(struct publish_dir), 0);
	hmap_init(&publish->ranges, sizeof(uint64_t), sizeof(uint64_t) + sizeof(void *), 0);
	publish->scratch = calloc(UNWIND_MAX_PROCESS_MAPPINGS, sizeof(*publish->scratch));
	publish->slots = calloc(UNWIND_MAX_DIRECTORY, sizeof(*publish->slots));
	if (publish->scratch && publish->slots)
		err = publish_rows_init(publish);
	if (err) {
		publish_free(publish);
		return err;
	}
	*ret_publish = publish;
	return 0;
}

void publish_free(struct publish *publish)
{
	if (!publish)
		return;
	publish_tables_done(publish);
	publish_read_done(publish);
	publish_rows_done(publish);
	for (uint32_t i = 0; i < publish->row_chunks; i++)
		close(publish->row_fds[i]);
	for (uint32_t i = 0; i < publish->space.chunks; i++)
		close(publish->mapping_fds[i]);
	hmap_done(&publish->dirs);
	hmap_done(&publish->escapes);
	hmap_done(&publish->ranges);
	pthread_mutex_destroy(&publish->rows_lock);
	pthread_mutex_destroy(&publish->tables_lock);
	free(publish->scratch);
	free(publish);
}

void publish_get_stats(struct publish *publish, struct publish_stats *ret_stats)
{
	struct publish_stats stats;

	pthread_mutex_lock(&publish->tables_lock);
	pthread_mutex_lock(&publish->rows_lock);
	stats = publish->stats;
	stats.row_limit_bytes = publish->row_limit_bytes;
	stats.map_bytes = (uint64_t)publish->row_chunks * UNWIND_CHUNK_BYTES +
			  (uint64_t)publish->space.chunks * UNWIND_MAPPING_CHUNK * sizeof(struct unwind_mapping);
	pthread_mutex_unlock(&publish->rows_lock);
	pthread_mutex_unlock(&publish->tables_lock);
	*ret_stats = stats;
}
