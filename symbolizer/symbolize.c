/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The symbolizers' parent: takes OPEN messages (an image's descriptor and the socket of its future child) and
 * forks a child for each. It reads no byte of an image and owns nothing but its socket, so that a fork copies
 * little and nothing hostile ever ran where the next child starts.
 */
#include "referee_serve.h"
#include "sandbox.h"
#include "serve_image.h"
#include "symbolizer.h"

#include "base/clean.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void serve_child(int control, pid_t parent, const struct symbolizer_request *request, int image,
			int socket)
{
	/* The parent may be gone already; then nobody would send the signal. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	close(control);
	/* What tenants' files cost must not come before the tenants. */
	if (!request->count && getpriority(PRIO_PROCESS, 0) < 0)
		(void)setpriority(PRIO_PROCESS, 0, 0);
	if (!sandbox_child()) {
		if (request->kind == SYMBOLIZER_REFEREE)
			referee_serve(socket, image);
		else
			serve_image(socket, image, request->kind);
	}
	_exit(0);
}

/* 1: a message, 0: the agent is gone, else negative errno. Descriptors are -1 where none came. */
static int receive(int control, struct symbolizer_request *request, int ret_fds[2])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} ancillary;
	struct iovec part = { request, sizeof(*request) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary,
				  .msg_controllen = sizeof(ancillary) };
	struct cmsghdr *header;
	ssize_t got;

	ret_fds[0] = ret_fds[1] = -1;
	memset(request, 0, sizeof(*request));
	got = recvmsg(control, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got <= 0)
		return got ? -errno : 0;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		memcpy(ret_fds, CMSG_DATA(header), (count > 2 ? 2 : count) * sizeof(int));
	}
	return 1;
}

/* SIGCHLD is let in only here: a child that ends at any other moment is reaped on the next turn. */
static void wait_for_message(int control)
{
	struct pollfd wait = { .fd = control, .events = POLLIN };
	sigset_t none;

	sigemptyset(&none);
	do {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	} while (ppoll(&wait, 1, NULL, &none) < 0 && errno == EINTR);
}

int symbolizer_main(int socket)
{
	struct symbolizer_request request;
	pid_t parent = getpid();
	int control = 3;
	int error = sandbox_parent(socket);

	if (error)
		return error;
	for (;;) {
		auto_fd int image = -1;
		auto_fd int child = -1;
		int fds[2], got;

		wait_for_message(control);
		got = receive(control, &request, fds);
		if (got == -EINTR || got == -EAGAIN)
			continue;
		if (got <= 0)
			return got;
		image = fds[0];
		child = fds[1];
		/* A fork that fails closes the child's socket here: the agent sees it end and asks again. */
		if (request.op == SYMBOLIZER_OPEN && image >= 0 && child >= 0 && fork() == 0)
			serve_child(control, parent, &request, image, child);
	}
}
