/*
 * ingest_jail.c — what the child may not do, once it starts to read what a camera sends.
 *
 * What holds, for both kinds of source: it dies with the recorder; no new privileges; no execve, no
 * fork, no ptrace or access to other processes' memory, no signals to others; no writing to any
 * file (RLIMIT_FSIZE 0, Landlock without a single write right); bounded memory; no inherited
 * descriptor but its six. It has no Unix sockets, so the daemons' sockets are out of reach.
 *   descriptor sources: no open and no socket of any kind.
 *   network sources: internet sockets; reading below /etc, /usr, /lib, /run/systemd/resolve
 *   (names, certificates), nothing else: not the store, not /proc, not the keys.
 * Landlock is used where the kernel has it; without it the network child keeps the recorder's read
 * rights, which is logged. seccomp is not optional.
 */
#include "engine/recorder/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEMORY_MAX (2 * GIB)

static int limit(int which, rlim_t n)
{
	struct rlimit rl = {n, n};
	return setrlimit(which, &rl) ? -errno : 0;
}

static int limits(bool network)
{
	int err = limit(RLIMIT_CORE, 0);
	if (!err)
		err = limit(RLIMIT_FSIZE, 0);
	if (!err)
		err = limit(RLIMIT_NOFILE, network ? 64 : JOB_FD_END);
#ifndef __SANITIZE_ADDRESS__
	if (!err)
		err = limit(RLIMIT_AS, MEMORY_MAX);
#endif
	return err;
}

/* ---- Landlock: no file system but a few readable folders ---- */

#define ALL_FS                                                            \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |     \
	 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |     \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |     \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |     \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |   \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)

static void allow_read(int ruleset, const char *path)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE |
	                                                            LANDLOCK_ACCESS_FS_READ_DIR};
	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return; /* not on this machine: nothing to allow */
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		log_debug("landlock: cannot allow %s: %s", path, strerror(errno));
	close(rule.parent_fd);
}

static int landlock(bool network)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_FS};
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0) {
		log_warn("this kernel has no Landlock: the child is held by seccomp alone");
		return 0;
	}
	if (network) {
		allow_read(fd, "/etc");
		allow_read(fd, "/usr");
		allow_read(fd, "/lib");
		allow_read(fd, "/lib64");
		allow_read(fd, "/run/systemd/resolve");
	}
	int err = syscall(SYS_landlock_restrict_self, fd, 0) ? -errno : 0;
	close(fd);
	return err;
}

/* ---- seccomp ---- */

/* Refused for every child. */
static const char *const never[] = {
        "execve",
        "execveat",
        "fork",
        "vfork",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kill",
        "tkill",
        "rt_sigqueueinfo",
        "rt_tgsigqueueinfo",
        "pidfd_open",
        "pidfd_getfd",
        "pidfd_send_signal",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsmount",
        "pivot_root",
        "chroot",
        "unshare",
        "setns",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "keyctl",
        "add_key",
        "request_key",
        "open_by_handle_at",
        "name_to_handle_at",
        "init_module",
        "finit_module",
        "kexec_load",
        "setuid",
        "setgid",
        "setreuid",
        "setregid",
        "setresuid",
        "setresgid",
        "setgroups",
        "setfsuid",
        "setfsgid",
        "capset",
        "chmod",
        "fchmod",
        "fchmodat",
        "chown",
        "fchown",
        "lchown",
        "fchownat",
        "unlink",
        "unlinkat",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "mkdir",
        "mkdirat",
        "rmdir",
        "mknod",
        "mknodat",
        "truncate",
        "ftruncate",
        "fallocate",
        "creat",
        "setxattr",
        "lsetxattr",
        "fsetxattr",
        "memfd_create",
        "shmget",
        "msgget",
        "mq_open",
        "socketpair",
        "bind",
        "listen",
        "accept",
        "accept4",
        "sched_setaffinity",
        "setpriority",
        "prlimit64",
        "inotify_init1",
        "fanotify_init",
        "quotactl",
        "reboot",
        "sethostname",
        "clock_settime",
        "settimeofday",
        "adjtimex",
        "clock_adjtime",
};
/* Refused as well when the source is a descriptor. */
static const char *const no_files[] = {
        "open",       "openat",   "openat2",    "socket", "connect", "sendto",
        "sendmsg",    "sendmmsg", "stat",       "lstat",  "access",  "faccessat",
        "faccessat2", "readlink", "readlinkat", "chdir",
};

static int refuse(scmp_filter_ctx ctx, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);
		if (nr == __NR_SCMP_ERROR)
			continue; /* not on this architecture */
		int err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
		if (err && err != -EDOM)
			return err;
	}
	return 0;
}

/* Rules that look at arguments. */
static int refuse_some(scmp_filter_ctx ctx, bool network)
{
	/* Threads, but no processes; clone3's flags cannot be seen, so libc falls back to clone. */
	int err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!err)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
		                       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	if (!err)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(tgkill), 1,
		                       SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));
	/* A seccomp filter cannot follow pointers, but a socket's family is a number. */
	if (!err && network)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
		                       SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	if (!err && network)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
		                       SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
	return err;
}

static int seccomp_enter(bool network)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return -ENOMEM;
	int err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = refuse(ctx, never, ARRAY_LEN(never));
	if (!err && !network)
		err = refuse(ctx, no_files, ARRAY_LEN(no_files));
	if (!err)
		err = refuse_some(ctx, network);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

int jail_enter(bool network, char *err, size_t err_bytes)
{
	const char *what = "no_new_privs";
	int e = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;

	if (!e && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		e = -errno;
	if (!e) {
		what = "Landlock";
		e = landlock(network);
	}
	if (!e) {
		what = "resource limits";
		e = limits(network);
	}
	if (!e) {
		what = "seccomp";
		e = seccomp_enter(network);
	}
	if (e)
		snprintf(err, err_bytes, "the ingest child cannot lock itself in (%s: %s)", what,
		         strerror(-e));
	return e;
}
