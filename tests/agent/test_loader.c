/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernels can freeze when user memory is read from an interrupt, and the kernel's account of a map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "loader.h"
#include "loader_private.h"

static void freezing_kernels_are_told_apart(void **state)
{
	static const struct {
		const char *release;
		bool freezes;
	} table[] = {
		{ "5.15.0", false },
		{ "5.10.0-28-amd64", false },
		{ "6.0.19", false },
		{ "6.1.0", true },
		{ "6.1.0-28-amd64", true }, /* an ABI name; the version below tells more */
		{ "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)", false },
		{ "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)", true },
		{ "#1 SMP PREEMPT_DYNAMIC Debian 6.1.37-1 (2023-07-03)", false },
		{ "#1 SMP PREEMPT_DYNAMIC Debian 6.12.9-1~bpo12+1 (2025-01-19)", false },
		{ "6.1.9", true },
		{ "6.1.35", true },
		{ "6.1.35-gentoo", true },
		{ "6.1.36", false },
		{ "6.1.192", false },
		{ "6.2.0", true },
		{ "6.2.16-20-pve", true },
		{ "6.2", true },
		{ "6.3.0", true },
		{ "6.3.9-arch1-1", true },
		{ "6.3.10", false },
		{ "6.4.0", false },
		{ "6.10.2", false },
		{ "6.12.0", false },
		{ "6.18.44-fc-v595", false },
		{ "6.20.1", false },
		{ "6.30.1", false },
		{ "16.1.5", false },
		{ "7.1.0", false },
		{ "", false },
		{ "rolling", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (loader_kernel_freezes(table[i].release) != table[i].freezes)
			fail_msg("%s: expected %d", table[i].release, table[i].freezes);
}

static void only_maps_have_a_size(void **state)
{
	int fd = open("/dev/null", O_RDONLY);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(loader_map_bytes(fd), 0);
	close(fd);
	assert_int_equal(loader_map_bytes(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(freezing_kernels_are_told_apart),
		cmocka_unit_test(only_maps_have_a_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
