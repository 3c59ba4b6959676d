// SPDX-License-Identifier: MIT
/*
 * Guarantee: the guest offers what the other programs lean on. Were one of these missing, a test
 * of a race, of a limit or of a refused user could pass without having tried anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

static long type_of(const char *folder)
{
	struct statfs fs;

	return statfs(folder, &fs) ? -1 : (long)fs.f_type;
}

TEST(two_processors_run)
{
	EXPECT_LE(2, sysconf(_SC_NPROCESSORS_ONLN));
}

TEST(debugfs_and_tracefs_are_mounted)
{
	EXPECT_EQ(DEBUGFS_MAGIC, type_of("/sys/kernel/debug"));
	EXPECT_EQ(TRACEFS_MAGIC, type_of("/sys/kernel/tracing"));
}

TEST(the_memory_controller_is_on_cgroup2)
{
	char list[256] = "";
	FILE *file = fopen("/sys/fs/cgroup/cgroup.controllers", "r");

	ASSERT_NE(NULL, file);
	ASSERT_NE(NULL, fgets(list, sizeof(list), file));
	fclose(file);
	EXPECT_NE(NULL, strstr(list, "memory"));
}

TEST(loopback_is_up)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, SIOCGIFFLAGS, &request));
	EXPECT_EQ(IFF_UP, request.ifr_flags & IFF_UP);
	close(fd);
}

TEST(an_unprivileged_user_is_refused_what_root_may)
{
	int status = 0;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		if (setgid(1000) || setuid(1000) || !geteuid())
			_exit(1);
		_exit(open("/dev/kmem-of-root", O_RDWR | O_CREAT, 0600) < 0 && errno == EACCES ? 0 : 2);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

TEST(tmp_can_be_written)
{
	char name[] = "/tmp/guest.XXXXXX";
	int fd = mkstemp(name);

	ASSERT_LE(0, fd);
	EXPECT_EQ(TMPFS_MAGIC, type_of("/tmp"));
	EXPECT_EQ(0, unlink(name));
	close(fd);
}

TEST(the_root_of_the_host_cannot_be_written)
{
	EXPECT_EQ(-1, open("/etc/guest-wrote-here", O_RDWR | O_CREAT, 0600));
	EXPECT_EQ(EROFS, errno);
}

TEST_HARNESS_MAIN
