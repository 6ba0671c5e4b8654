/* SPDX-License-Identifier: Apache-2.0 */
/* Priority at start, fewer privileges after it. Each capability kept says what for; a test compares them with the process's. */
#include "privilege.h"

#include "base/clean.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* With 17 busy threads a processor the slowest scrape fell from 440 to 90 ms; -5 was not seen to help. */
#define HURRY (-10)

static const cap_value_t kept[] = {
	CAP_PERFMON,            /* open the event of a processor that came back */
	CAP_BPF,                /* row chunks made on demand, batch reads */
	CAP_SYS_PTRACE,         /* /proc/PID/maps, root and map_files of other users' processes */
	CAP_DAC_READ_SEARCH,    /* files of containers, runtimes' state */
	CAP_SYSLOG,             /* addresses in /proc/kallsyms */
	CAP_CHECKPOINT_RESTORE, /* open a map_files link */
	CAP_SETUID, CAP_SETGID, /* a symbolizer that is started again drops to its own user */
	CAP_KILL,               /* end a symbolizer of that user */
};

int privilege_drop(char *error, size_t error_size)
{
	struct rlimit no_core = { 0 };
	cap_t wanted = cap_init(), have = cap_get_proc();
	int result = -ENOMEM;

	if (!wanted || !have)
		goto done;
	for (size_t i = 0; i < array_size(kept); i++) {
		cap_flag_value_t permitted = CAP_CLEAR;

		/* started with fewer (a DaemonSet): keep what there is */
		if (cap_get_flag(have, kept[i], CAP_PERMITTED, &permitted) || permitted != CAP_SET)
			continue;
		cap_set_flag(wanted, CAP_PERMITTED, 1, &kept[i], CAP_SET);
		cap_set_flag(wanted, CAP_EFFECTIVE, 1, &kept[i], CAP_SET);
	}
	result = cap_set_proc(wanted) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || setrlimit(RLIMIT_CORE, &no_core) ?
			 -errno : 0;
done:
	if (result)
		snprintf(error, error_size, "cannot give up privileges: %s", strerror(-result));
	cap_free(wanted);
	cap_free(have);
	return result;
}

void privilege_hurry(void)
{
	if (!getpriority(PRIO_PROCESS, 0))
		(void)setpriority(PRIO_PROCESS, 0, HURRY); /* refused without CAP_SYS_NICE: then it waits its turn */
}

/* On Linux "the process 0" is the calling thread; to go back needs no privilege. */
void privilege_calm(void)
{
	if (getpriority(PRIO_PROCESS, 0) < 0)
		(void)setpriority(PRIO_PROCESS, 0, 0);
}
